// How much of the machine's memory may hold blocks that have to give way on a GPU.
import process from "node:process";

const GIB = 2 ** 30;
/** Of what is free when the model is loaded; the rest is for the weights' files in the page cache, and for others. */
const DEFAULT_SHARE = 1 / 4;
const DEFAULT_MOST = 4 * GIB;

/** What is taken unless a size is given. @param available bytes that are free */
export function defaultHostBytes(available = process.availableMemory()): number {
  return Math.floor(Math.min(DEFAULT_MOST, available * DEFAULT_SHARE));
}

/** @throws {RangeError} when the machine has less than that */
export function requireHostBytes(bytes: number, available = process.availableMemory()): number {
  if (bytes <= available) return bytes;
  throw new RangeError(
    `Cannot load model: --host-cache-memory must be at most ${available} bytes, what this machine has free, received ${bytes}`,
  );
}
