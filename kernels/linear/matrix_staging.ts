// WGSL that brings the tiles of linear on matrix units into workgroup memory, as halves: each thread reads its share of
// them ahead, and keeps it in registers until the tiles before it are multiplied.
import { ELEMENTS_PER_16_BYTES, unroll } from "../wgsl.ts";
import { type MatrixForm, type MatrixSizes, threadsOf, tileColumns, tileRows } from "./matrix_form.ts";

/** `fn halvesOf`: stored elements as halves. 1024 + n is a half with n as its last bits. */
export const UNPACK: Record<MatrixSizes["type"], string> = {
  f16: "",
  i8: `fn halvesOf(bytes: u32) -> vec2<u32> {
    let shifted = bytes ^ 0x80808080u;
    let low = (shifted & 0xffu) | ((shifted & 0xff00u) << 8u) | 0x64006400u;
    let high = ((shifted >> 16u) & 0xffu) | ((shifted >> 8u) & 0xff0000u) | 0x64006400u;
    return vec2<u32>(
        bitcast<u32>(bitcast<vec2<f16>>(low) - vec2<f16>(1152.0h)),
        bitcast<u32>(bitcast<vec2<f16>>(high) - vec2<f16>(1152.0h)),
    );
}`,
  // Products of a q and its group's multiplier are whole numbers of at most 120, so nothing is rounded.
  i4: `fn pairOf(nibbles: u32, multiplier: vec2<f16>) -> u32 {
    let placed = ((nibbles & 0xfu) | ((nibbles & 0xf0u) << 12u)) ^ 0x64086408u;
    return bitcast<u32>((bitcast<vec2<f16>>(placed) - vec2<f16>(1032.0h)) * multiplier);
}
fn halvesOf(nibbles: u32, multiplier: vec2<f16>) -> vec4<u32> {
    return vec4<u32>(
        pairOf(nibbles, multiplier), pairOf(nibbles >> 8u, multiplier),
        pairOf(nibbles >> 16u, multiplier), pairOf(nibbles >> 24u, multiplier),
    );
}`,
};

export interface Staging {
  /** Where a thread reads its share of the tiles, and the registers that hold it, once for each depth on its way. */
  readonly places: string;
  /** On to the next depth. */
  readonly advance: string;
  /** A thread's share on its way into the registers of a set, and from there into workgroup memory. */
  load(set: number): string;
  keep(set: number): string;
}

/** A thread's share of the tiles, which waits in registers while the tiles before it are multiplied. */
export function stagingSnippets(form: MatrixForm, sizes: MatrixSizes): Staging {
  const { depth, ahead } = form, { type } = sizes, threads = threadsOf(form);
  const elements = ELEMENTS_PER_16_BYTES[type];
  const xWords = depth / 8, weightWords = depth / elements;
  const xCount = tileRows(form) * xWords, weightCount = tileColumns(form) * weightWords;
  const xLoads = Math.ceil(xCount / threads), weightLoads = Math.ceil(weightCount / threads);
  const guard = (count: number, i: number, line: string) =>
    (i + 1) * threads <= count ? line : `if (thread + ${i * threads}u < ${count}u) { ${line} }`;
  // A row of the weight may end within a depth: x is zero there, so that anything finite will do.
  const overruns = sizes.xWords * 8 / elements > sizes.weightWords;
  const within = (at: string, count: number) => overruns ? `min(${at}, ${count - 1}u)` : at;
  const loadWeight = (set: number, i: number) =>
    `heldWeight${set}_${i} = weight[${
      within(`weightRow${i} * WEIGHT_WORDS + weightWord${i}`, sizes.shardRows * sizes.weightWords)
    }];${
      // The 32 elements of a word are a group.
      type === "i4"
        ? `\nmultiplier${set}_${i} = multiplierOf(weightRow${i}, ${
          within(`weightWord${i}`, sizes.weightWords)
        }, WEIGHT_WORDS);`
        : ""}`;
  return {
    places: [
      unroll(xLoads, (i) =>
        `let xPlace${i} = thread + ${i * threads}u;
var xAt${i} = (tile.y * ROWS + xPlace${i} / ${xWords}u) * X_WORDS + xPlace${i} % ${xWords}u + firstStep * ${xWords}u;
${unroll(ahead, (set) => `var held${set}_${i} = vec4<u32>();`)}`),
      unroll(weightLoads, (i) =>
        `let weightPlace${i} = thread + ${i * threads}u;
let weightRow${i} = min(tile.x * COLUMNS + weightPlace${i} / ${weightWords}u, SHARD_ROWS - 1u);
var weightWord${i} = weightPlace${i} % ${weightWords}u + firstStep * ${weightWords}u;
${
          unroll(ahead, (set) =>
            `var heldWeight${set}_${i} = vec4<u32>();${
              type === "i4" ? `\nvar multiplier${set}_${i} = 0.0;` : ""
            }`)
        }`),
    ].join("\n"),
    advance: [
      unroll(xLoads, (i) => `xAt${i} += ${xWords}u;`),
      unroll(weightLoads, (i) => `weightWord${i} += ${weightWords}u;`),
    ].join("\n"),
    load: (set) =>
      [
        unroll(xLoads, (i) => guard(xCount, i, `held${set}_${i} = x[xAt${i}];`)),
        unroll(weightLoads, (i) => guard(weightCount, i, loadWeight(set, i))),
      ].join("\n"),
    keep: (set) =>
      [
        unroll(xLoads, (i) =>
          guard(
            xCount,
            i,
            `memory[xPlace${i} / ${xWords}u * STRIDE + xPlace${i} % ${xWords}u] = held${set}_${i};`,
          )),
        unroll(weightLoads, (i) => guard(weightCount, i, keepWeight(type, set, i, weightWords))),
      ].join("\n"),
  };
}

/** The held word of a weight, as halves in its place of the tile. */
function keepWeight(type: MatrixSizes["type"], set: number, i: number, weightWords: number): string {
  const words = ELEMENTS_PER_16_BYTES[type] / 8, held = `heldWeight${set}_${i}`;
  const at =
    `WEIGHT_TILE + weightPlace${i} / ${weightWords}u * STRIDE + ${words}u * (weightPlace${i} % ${weightWords}u)`;
  switch (type) {
    case "f16":
      return `memory[${at}] = ${held};`;
    case "i8":
      return `{ let at = ${at};
memory[at] = vec4<u32>(halvesOf(${held}.x), halvesOf(${held}.y));
memory[at + 1u] = vec4<u32>(halvesOf(${held}.z), halvesOf(${held}.w)); }`;
    case "i4":
      return `{ let at = ${at}; let multiplier = vec2<f16>(f16(multiplier${set}_${i}));
${unroll(4, (word) => `memory[at + ${word}u] = halvesOf(${held}.${"xyzw"[word]}, multiplier);`)} }`;
  }
}
