// Completes a .wgsl file for one use: constants in front, `//#name` lines replaced by snippets, and the reading of
// weights from storage. WGSL has no preprocessor and the built-in provider counts the turns of every loop, so sizes
// known at plan time become constants and inner loops are written out.
import type { StorageType } from "./gpu_op.ts";

/** Prefixes `constants` (u32 unless given as a string such as "1e-5f"), then the code with `//#name` lines replaced by snippets. */
export function specialise(
  code: string,
  constants: Readonly<Record<string, number | string>>,
  snippets: Readonly<Record<string, string>> = {},
): string {
  const head = Object.entries(constants)
    .map(([name, value]) =>
      typeof value === "number" ? `const ${name} = ${value}u;` : `const ${name} = ${value};`
    )
    .join("\n");
  const body = code.replace(/^[ \t]*\/\/#(\w+)$/gm, (_, name: string) => {
    if (!(name in snippets)) throw new TypeError(`Cannot specialise kernel: snippet "${name}" is missing`);
    return snippets[name];
  });
  return `${head}\n${body}`;
}

/** `line(0)` to `line(count - 1)`, one below the other: a loop without its counter. */
export function unroll(count: number, line: (i: number) => string): string {
  return Array.from({ length: count }, (_, i) => line(i)).join("\n");
}

/** Elements of a stored matrix in 16 bytes, the widest load there is. Rows are whole multiples of it. */
export const ELEMENTS_PER_16_BYTES: Record<StorageType, number> = { f32: 4, f16: 8, i8: 16, i4: 32 };

/**
 * Reads weights four at a time: `Quad` is what four neighbours of a row are stored in (bind `array<Quad>`), `unpackQuad`
 * their values, for i8 before the row's scale. Both names get `suffix`, for kernels that read several matrices. Bits are
 * unpacked by hand so that no kernel needs the f16 extension. Four of i4 are no whole word:
 * linear/int4.wgsl reads those.
 */
export function quadSnippet(type: StorageType, suffix = ""): string {
  const { stored, values } = storedQuad(type);
  return `alias Quad${suffix} = ${stored};
fn unpackQuad${suffix}(quad: Quad${suffix}) -> vec4<f32> { return ${values}; }`;
}

function storedQuad(type: StorageType): { stored: string; values: string } {
  switch (type) {
    case "f32":
      return { stored: "vec4<f32>", values: "quad" };
    case "f16":
      return { stored: "vec2<u32>", values: halves("quad.x", "quad.y") };
    case "i8":
      return { stored: "u32", values: bytes("quad") };
    case "i4":
      throw new TypeError("Cannot read int4 in fours: two of them share a word");
  }
}

/** The `i`th four elements of `word`, a vec4<u32> of 16 stored bytes, as a vec4<f32> expression; of i4 by linear/int4.wgsl. */
export function quadOfWord(type: StorageType, word: string, i: number): string {
  switch (type) {
    case "f32":
      return `bitcast<vec4<f32>>(${word})`;
    case "f16":
      return i === 0 ? halves(`${word}.x`, `${word}.y`) : halves(`${word}.z`, `${word}.w`);
    case "i8":
      return bytes(`${word}.${"xyzw"[i]}`);
    case "i4":
      return quadOfInt4(`${word}.${"xyzw"[i >> 1]}`, i % 2);
  }
}

/** The first or second four of the eight int4 in `word`, a u32. */
export function quadOfInt4(word: string, i: number): string {
  return `unpackNibbles(${i === 0 ? word : `${word} >> 16u`})`;
}

function halves(low: string, high: string): string {
  return `vec4<f32>(unpack2x16float(${low}), unpack2x16float(${high}))`;
}

/** Four signed bytes: each is moved to the top of its own word, then back with its sign. */
function bytes(word: string): string {
  return `vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(${word}) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u))`;
}
