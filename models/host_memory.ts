// How much of the machine's memory may hold blocks that have to give way on a GPU.
import process from "node:process";

const GIB = 2 ** 30;
/** Of what is free when the model is loaded; the rest is for the weights' files in the page cache, and for others. */
const DEFAULT_SHARE = 1 / 4;
const DEFAULT_MOST = 4 * GIB;

/** What is taken unless a size is given. @param free bytes */
export function defaultHostBytes(free = freeBytes()): number {
  return Math.floor(Math.min(DEFAULT_MOST, free * DEFAULT_SHARE));
}

/** @throws {RangeError} when the machine has less than that */
export function requireHostBytes(bytes: number, free = freeBytes()): number {
  if (bytes <= free) return bytes;
  throw new RangeError(
    `Cannot load model: --host-cache-memory must be at most ${free} bytes, what this machine has free, received ${bytes}`,
  );
}

/** Of the machine, or of the container whose limit is lower (0 or a huge number where there is none). */
function freeBytes(): number {
  return Math.min(process.availableMemory(), process.constrainedMemory() || Infinity);
}
