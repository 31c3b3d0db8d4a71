// The header of a GGUF file, read by @huggingface/gguf: metadata, and where each tensor lies.
import { RangedFile } from "../ranged_file.ts";
import { blockType, plainType } from "./gguf_blocks.ts";

/** Not a literal where it is imported, so that only those who serve GGUF files download its 6 MB. */
const GGUF_LIBRARY = "npm:@huggingface/gguf@0.4.6";

/** What of the library is used. Shapes begin with the columns. */
interface GgufLibrary {
  gguf(address: string, options: { readonly fetch: typeof fetch }): Promise<{
    readonly metadata: Readonly<Record<string, unknown>>;
    readonly tensorInfos: readonly {
      readonly name: string;
      readonly shape: readonly bigint[];
      readonly dtype: number;
      readonly offset: bigint;
    }[];
    readonly tensorDataOffset: bigint;
    readonly littleEndian: boolean;
  }>;
}

export interface GgufTensor {
  readonly name: string;
  /** ggml's number. */
  readonly type: number;
  /** Rows first, as everywhere here. */
  readonly shape: readonly number[];
  /** Of its first byte in the file. */
  readonly start: number;
  readonly rowBytes: number;
}

export interface GgufHeader {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

/**
 * @throws {SyntaxError} when the file is no GGUF
 * @throws {TypeError} when it is a part of several, big-endian, or has a tensor of a type that is not read
 */
export async function readGgufHeader(path: string): Promise<GgufHeader> {
  const { metadata, tensorInfos, tensorDataOffset, littleEndian } = await parse(path);
  if (!littleEndian) throw new TypeError(`Cannot load model: "${path}" must be little-endian`);
  if (Number(metadata["split.count"] ?? 1) > 1) {
    throw new TypeError(
      `Cannot load model: "${path}" is one of ${
        metadata["split.count"]
      } parts; join them first (llama-gguf-split --merge)`,
    );
  }
  const tensors = tensorInfos.map(({ name, shape, dtype, offset }): GgufTensor => {
    const columns = Number(shape[0] ?? 1), plain = plainType(dtype);
    const block = plain ? undefined : blockType(dtype, name, columns);
    const columnBytes = plain ? (plain === "F32" ? 4 : 2) : block!.bytes / block!.columns;
    const start = Number(tensorDataOffset + offset), isVector = shape.length === 1;
    return {
      name,
      type: dtype,
      shape: shape.map(Number).reverse(),
      start,
      rowBytes: isVector ? columnBytes : columns * columnBytes,
    };
  });
  return { metadata, tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])) };
}

/** @throws {Error} saying how to get it, where there is no network and it was never loaded */
export async function ggufLibrary(): Promise<GgufLibrary> {
  try {
    return await import(GGUF_LIBRARY);
  } catch (cause) {
    throw new Error(
      `Cannot load ${GGUF_LIBRARY}: ${cause instanceof Error ? cause.message : cause}; ` +
        `fetch it once, where there is a network: deno cache ${GGUF_LIBRARY}`,
      { cause },
    );
  }
}

async function parse(path: string): ReturnType<GgufLibrary["gguf"]> {
  const library = await ggufLibrary();
  using file = await RangedFile.open(path);
  try {
    // In a worker the library takes itself to be in a browser and opens no files, so it is given ranges of this one.
    const header = await library.gguf("https://local.invalid/", {
      fetch: (_, init) => readRange(file, init),
    });
    // What it reads past the end are zeros.
    if (header.tensorDataOffset > BigInt(file.size)) throw new RangeError("it ends within its header");
    return header;
  } catch (error) {
    throw new SyntaxError(
      `Cannot load model: "${path}" must be a GGUF file: ${error instanceof Error ? error.message : error}`,
    );
  }
}

/** The library reads ahead, past the end of a short file; what goes on for long there is a header that lies. */
const MOST_PAST_END = 2 ** 24;

async function readRange(file: RangedFile, init?: RequestInit): Promise<Response> {
  const [, start, last] = /^bytes=(\d+)-(\d+)$/.exec(new Headers(init?.headers).get("range") ?? "")!.map(
    Number,
  );
  if (start > file.size + MOST_PAST_END) throw new RangeError("it ends within its header");
  const first = Math.min(start, file.size), end = Math.min(last + 1, file.size);
  const headers = { "content-range": `bytes ${start}-${last}/${file.size}` };
  return new Response(await file.read(first, end - first), { status: 206, headers });
}
