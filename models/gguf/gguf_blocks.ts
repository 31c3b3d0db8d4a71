// How GGUF stores numbers: types of ggml (ggml-common.h, ggml-quants.c of llama.cpp describe them), whole blocks of some
// columns each. Quantised ones are read as f16: a block's scale is f16 itself, so the rounding is far below the
// quantisation's own.

/** `read` writes the values of the block that begins at `at` into `out` from `to` on. */
interface BlockType {
  readonly name: string;
  /** Columns of a block. */
  readonly columns: number;
  readonly bytes: number;
  read(bytes: DataView, at: number, out: Float16Array, to: number): void;
}

/** Types that are stored as they are read. */
const PLAIN = { 0: "F32", 1: "F16", 30: "BF16" } as const;

/** By ggml's number. */
const BLOCKS: Readonly<Record<number, BlockType>> = {
  2: { name: "Q4_0", columns: 32, bytes: 18, read: readQ4_0 },
  3: { name: "Q4_1", columns: 32, bytes: 20, read: readQ4_1 },
  6: { name: "Q5_0", columns: 32, bytes: 22, read: readQ5_0 },
  7: { name: "Q5_1", columns: 32, bytes: 24, read: readQ5_1 },
  8: { name: "Q8_0", columns: 32, bytes: 34, read: readQ8_0 },
  12: { name: "Q4_K", columns: 256, bytes: 144, read: readQ4_K },
  13: { name: "Q5_K", columns: 256, bytes: 176, read: readQ5_K },
  14: { name: "Q6_K", columns: 256, bytes: 210, read: readQ6_K },
};

export function plainType(type: number): "F32" | "F16" | "BF16" | undefined {
  return PLAIN[type as keyof typeof PLAIN];
}

/** @throws {TypeError} naming the tensor, when no code reads its type, or its rows are not whole blocks */
export function blockType(type: number, tensor: string, columns: number): BlockType {
  const block = BLOCKS[type];
  if (!block) {
    const names = [...Object.values(PLAIN), ...Object.values(BLOCKS).map(({ name }) => name)].join(", ");
    throw new TypeError(
      `Cannot load model: tensor "${tensor}" must be of a GGUF type among ${names}, received number ${type}`,
    );
  }
  if (columns % block.columns === 0) return block;
  throw new TypeError(
    `Cannot load model: rows of "${tensor}" must be whole blocks of ${block.columns} for ${block.name}, received ${columns}`,
  );
}

/** The values of whole blocks, one after the other. */
export function dequantise(
  { columns, bytes: blockBytes, read }: BlockType,
  bytes: Uint8Array,
): Float16Array<ArrayBuffer> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = bytes.length / blockBytes, out = new Float16Array(count * columns);
  for (let block = 0; block < count; block++) read(view, block * blockBytes, out, block * columns);
  return out;
}

function readQ4_0(bytes: DataView, at: number, out: Float16Array, to: number): void {
  const scale = bytes.getFloat16(at, true);
  for (let i = 0; i < 16; i++) {
    const pair = bytes.getUint8(at + 2 + i);
    out[to + i] = scale * ((pair & 15) - 8);
    out[to + 16 + i] = scale * ((pair >> 4) - 8);
  }
}

function readQ4_1(bytes: DataView, at: number, out: Float16Array, to: number): void {
  const scale = bytes.getFloat16(at, true), least = bytes.getFloat16(at + 2, true);
  for (let i = 0; i < 16; i++) {
    const pair = bytes.getUint8(at + 4 + i);
    out[to + i] = scale * (pair & 15) + least;
    out[to + 16 + i] = scale * (pair >> 4) + least;
  }
}

/** A fifth bit of each number lies in the word before the fours. */
function readFives(bytes: DataView, high: number, i: number): [first: number, second: number] {
  const fifths = bytes.getUint32(high, true), pair = bytes.getUint8(high + 4 + i);
  return [(pair & 15) | (fifths >>> i & 1) << 4, (pair >> 4) | (fifths >>> (i + 16) & 1) << 4];
}

function readQ5_0(bytes: DataView, at: number, out: Float16Array, to: number): void {
  const scale = bytes.getFloat16(at, true);
  for (let i = 0; i < 16; i++) {
    const [first, second] = readFives(bytes, at + 2, i);
    out[to + i] = scale * (first - 16);
    out[to + 16 + i] = scale * (second - 16);
  }
}

function readQ5_1(bytes: DataView, at: number, out: Float16Array, to: number): void {
  const scale = bytes.getFloat16(at, true), least = bytes.getFloat16(at + 2, true);
  for (let i = 0; i < 16; i++) {
    const [first, second] = readFives(bytes, at + 4, i);
    out[to + i] = scale * first + least;
    out[to + 16 + i] = scale * second + least;
  }
}

function readQ8_0(bytes: DataView, at: number, out: Float16Array, to: number): void {
  const scale = bytes.getFloat16(at, true);
  for (let i = 0; i < 32; i++) out[to + i] = scale * bytes.getInt8(at + 2 + i);
}

/** Of eight sub-blocks: scale and minimum of 6 bits each, packed into 12 bytes. */
function subScales(bytes: DataView, at: number, j: number): [scale: number, least: number] {
  const byte = (i: number) => bytes.getUint8(at + i);
  if (j < 4) return [byte(j) & 63, byte(j + 4) & 63];
  return [(byte(j + 4) & 15) | byte(j - 4) >> 6 << 4, byte(j + 4) >> 4 | byte(j) >> 6 << 4];
}

/** Low and high halves of 32 bytes are two sub-blocks of 32. */
function readQ4_K(bytes: DataView, at: number, out: Float16Array, to: number): void {
  const all = bytes.getFloat16(at, true), allLeast = bytes.getFloat16(at + 2, true);
  for (let j = 0; j < 8; j++) {
    const [scale, least] = subScales(bytes, at + 4, j), shift = 4 * (j & 1);
    for (let i = 0; i < 32; i++) {
      const number = bytes.getUint8(at + 16 + 32 * (j >> 1) + i) >> shift & 15;
      out[to + 32 * j + i] = all * scale * number - allLeast * least;
    }
  }
}

/** As Q4_K, with bit j of 32 bytes before them as the fifth bit of sub-block j. */
function readQ5_K(bytes: DataView, at: number, out: Float16Array, to: number): void {
  const all = bytes.getFloat16(at, true), allLeast = bytes.getFloat16(at + 2, true);
  for (let j = 0; j < 8; j++) {
    const [scale, least] = subScales(bytes, at + 4, j), shift = 4 * (j & 1);
    for (let i = 0; i < 32; i++) {
      const low = bytes.getUint8(at + 48 + 32 * (j >> 1) + i) >> shift & 15;
      const number = low | (bytes.getUint8(at + 16 + i) >> j & 1) << 4;
      out[to + 32 * j + i] = all * scale * number - allLeast * least;
    }
  }
}

/** Two halves of 128; in each, four bits of a number in `low`, two in `high`; a scale for every 16. */
function readQ6_K(bytes: DataView, at: number, out: Float16Array, to: number): void {
  const all = bytes.getFloat16(at + 208, true);
  for (let half = 0; half < 2; half++) {
    const low = at + 64 * half, high = at + 128 + 32 * half, scales = at + 192 + 8 * half;
    for (let quarter = 0; quarter < 4; quarter++) {
      for (let i = 0; i < 32; i++) {
        const four = bytes.getUint8(low + 32 * (quarter & 1) + i) >> 4 * (quarter >> 1) & 15;
        const two = bytes.getUint8(high + i) >> 2 * quarter & 3;
        const scale = bytes.getInt8(scales + 2 * quarter + (i >> 4));
        out[to + 128 * half + 32 * quarter + i] = all * scale * ((four | two << 4) - 32);
      }
    }
  }
}
