// The header of a safetensors file: from untrusted bytes to a list of tensors whose ranges are proven to lie in the
// file, side by side. Pure; safetensors.ts does the reading. Format: https://github.com/huggingface/safetensors
import { z } from "zod";

/** Bytes per element of every type that the format knows; checkpoints may hold types that no model here uses. */
const ELEMENT_BYTES: Readonly<Record<string, number>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  I64: 8,
  U64: 8,
  F64: 8,
};

/** Bytes before the header: its length, u64 little-endian. */
export const LENGTH_BYTES = 8;

/** The format's own cap; the header of a model with 10 000 tensors takes 1 MB. */
const MAX_HEADER_BYTES = 100_000_000;

/** A tensor as the file stores it. `start` counts from the beginning of the file. */
export interface StoredTensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly start: number;
  readonly numBytes: number;
}

const size = z.int().nonnegative();
const headerSchema = z.record(
  z.string(),
  z.object({ dtype: z.string(), shape: z.array(size).max(8), data_offsets: z.tuple([size, size]) }),
);

/**
 * The header's length as the first 8 bytes of the file state it.
 * @param file name for the error
 * @param fileBytes size of the whole file
 * @throws {SyntaxError} when no header of that length can be in the file
 */
export function headerLength(prefix: Uint8Array, file: string, fileBytes: number): number {
  if (prefix.byteLength < LENGTH_BYTES) {
    throw broken(file, `must be at least ${LENGTH_BYTES} bytes, received ${fileBytes}`);
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  const room = Math.min(fileBytes - LENGTH_BYTES, MAX_HEADER_BYTES);
  if (length < 2n || length > BigInt(room)) {
    throw broken(file, `header must be 2 to ${room} bytes, its length says ${length}`);
  }
  return Number(length);
}

/**
 * Parses and checks a header.
 * @param bytes the header alone, without its length
 * @throws {SyntaxError} naming the file, and the tensor at fault
 */
export function parseHeader(bytes: Uint8Array, file: string, fileBytes: number): StoredTensor[] {
  const dataStart = LENGTH_BYTES + bytes.byteLength;
  const tensors = Object.entries(parseEntries(bytes, file)).map(([name, entry]) => {
    const [start, end] = entry.data_offsets;
    const numBytes = storedBytes(entry.dtype, entry.shape);
    if (numBytes === undefined) throw broken(file, `tensor "${name}" has unknown type "${entry.dtype}"`);
    if (end - start !== numBytes) {
      throw broken(
        file,
        `tensor "${name}" of shape [${entry.shape}] takes ${numBytes} bytes as ${entry.dtype}, its offsets span ${
          end - start
        }`,
      );
    }
    return { name, dtype: entry.dtype, shape: entry.shape, start: dataStart + start, numBytes };
  });
  requireTiling(tensors, file, dataStart, fileBytes);
  return tensors;
}

/** Bytes that a tensor takes, or undefined for a type that the format does not have. */
export function storedBytes(dtype: string, shape: readonly number[]): number | undefined {
  if (!Object.hasOwn(ELEMENT_BYTES, dtype)) return undefined;
  return shape.reduce((product, n) => product * n, ELEMENT_BYTES[dtype]);
}

function parseEntries(bytes: Uint8Array, file: string) {
  let json: unknown, repeated: string | undefined;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    json = JSON.parse(text);
    repeated = repeatedKey(text);
  } catch (error) {
    throw broken(file, `header must be JSON: ${(error as Error).message}`);
  }
  if (repeated !== undefined) throw broken(file, `header names "${repeated}" twice`);
  if (isRecord(json)) delete json.__metadata__;
  const parsed = headerSchema.safeParse(json);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0];
    throw broken(file, `header entry "${path.join(".")}" is wrong: ${message}`);
  }
  return parsed.data;
}

/** The tensors must tile the data: the format allows neither overlaps nor holes, so nothing can hide in a file. */
function requireTiling(
  tensors: readonly StoredTensor[],
  file: string,
  dataStart: number,
  fileBytes: number,
): void {
  let end = dataStart, before = "the header";
  // Empty tensors go first among those that start at the same byte.
  for (const tensor of tensors.toSorted((a, b) => a.start - b.start || a.numBytes - b.numBytes)) {
    if (tensor.start !== end) {
      const fault = tensor.start < end ? "overlaps" : "leaves a gap after";
      throw broken(file, `tensor "${tensor.name}" ${fault} ${before}`);
    }
    end += tensor.numBytes;
    before = `tensor "${tensor.name}"`;
    if (end > fileBytes) {
      throw broken(
        file,
        `tensor "${tensor.name}" ends at byte ${end}, the file has ${fileBytes}: is the download complete?`,
      );
    }
  }
  if (end < fileBytes) throw broken(file, `${fileBytes - end} bytes follow ${before}`);
}

/** JSON.parse keeps the last of two equal keys without a word; a checkpoint that relies on that is not to be trusted. */
function repeatedKey(text: string): string | undefined {
  const open: Set<string>[] = [];
  for (const [token, colon] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}]/g)) {
    if (token === "{") open.push(new Set());
    else if (token === "}") open.pop();
    else if (colon !== undefined) {
      const key: string = JSON.parse(token.slice(0, -colon.length));
      if (open.at(-1)!.has(key)) return key;
      open.at(-1)!.add(key);
    }
  }
}

function isRecord(json: unknown): json is Record<string, unknown> {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}

function broken(file: string, fault: string): SyntaxError {
  return new SyntaxError(`Cannot read "${file}" as safetensors: ${fault}`);
}
