// x of the one-row form of linear as whole numbers, for weights in int4 and int8: the device then multiplies bytes, and adds
// them up, four at a time, and nothing has to be unpacked to floats. Each word of x has a scale of its own and keeps 15 bits
// and the sign, more than f16 has; they lie in two bytes, so a product is two, which are added up exactly.
import { ELEMENTS_PER_16_BYTES } from "../wgsl.ts";

/** Storage of the weights that are multiplied so. */
export type WholeType = "i4" | "i8";

/** Columns of a word of x, which are those of 16 bytes of the weight. */
export const WORD_COLUMNS: Readonly<Record<WholeType, number>> = ELEMENTS_PER_16_BYTES;
/**
 * Parts of a word, of 16 bytes each: high bytes, then low ones, for int4 first those of the even columns and then those of
 * the odd ones, as nibbles of a byte are.
 */
export const WORD_PARTS: Readonly<Record<WholeType, number>> = { i4: 4, i8: 2 };
const PART_WORDS = 4;
/** Of a word's largest |x|: both bytes stay within -128 to 127. */
const LARGEST = 127 * 256;

/** Bytes that a word of x takes, with its scale. */
export function bytesPerWord(type: WholeType): number {
  return WORD_PARTS[type] * 16 + 4;
}

/** In int4 a nibble in the high half of its byte is 16 times its number, sign and all. */
const WORDS: Readonly<Record<WholeType, string>> = {
  i4: `struct WholeWord {
    evenHigh: vec4<u32>,
    oddHigh: vec4<u32>,
    evenLow: vec4<u32>,
    oddLow: vec4<u32>,
    scale: f32,
}
/** Of a word of the weight by one of x: whole, before the scale. */
fn productOf(weight: vec4<u32>, x: WholeWord) -> f32 {
    let even = (weight << vec4<u32>(4u)) & vec4<u32>(0xf0f0f0f0u);
    let odd = weight & vec4<u32>(0xf0f0f0f0u);
    let high = dotOf(even, x.evenHigh) + dotOf(odd, x.oddHigh);
    let low = dotOf(even, x.evenLow) + dotOf(odd, x.oddLow);
    return f32((high << 8u) + low);
}`,
  i8: `struct WholeWord {
    high: vec4<u32>,
    low: vec4<u32>,
    scale: f32,
}
/** Of a word of the weight by one of x: whole, before the scale. */
fn productOf(weight: vec4<u32>, x: WholeWord) -> f32 {
    return f32((dotOf(weight, x.high) << 8u) + dotOf(weight, x.low));
}`,
};

/** What a sum of products by such a weight is too large by. */
const PRODUCT_FACTOR: Readonly<Record<WholeType, number>> = { i4: 16, i8: 1 };

/** WGSL: a word of x, and what makes it and multiplies it. */
export function fixedPointCode(type: WholeType): string {
  return `${WORDS[type]}
fn dotOf(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}
/** Four columns of a word whose largest magnitude is size. */
fn wholeOf(four: vec4<f32>, size: f32) -> vec4<i32> {
    return vec4<i32>(round(four * select(${LARGEST}.0 / size, 0.0, size == 0.0)));
}
/** Their high bytes; what they and 256 times these differ by is the low ones. */
fn highOf(whole: vec4<i32>) -> vec4<i32> { return (whole + 128) >> vec4<u32>(8u); }`;
}

/** WGSL: where so many words of x lie. */
export function fixedPointMemory(type: WholeType, words: number): string {
  const parts = Array.from({ length: WORD_PARTS[type] }, (_, i) => {
    const first = `${PART_WORDS}u * (${i * words}u + at)`;
    return `vec4<u32>(brought[${first}], brought[${first} + 1u], brought[${first} + 2u], brought[${first} + 3u])`;
  });
  return `var<workgroup> brought: array<u32, ${WORD_PARTS[type] * PART_WORDS * words}>;
var<workgroup> wordScale: array<f32, ${words}>;
fn broughtWord(at: u32) -> WholeWord {
    return WholeWord(${parts.join(", ")}, wordScale[at]);
}`;
}

/** Where words of x are stored. */
export interface WordPlace {
  readonly type: WholeType;
  /** Name of an array<u32>: the first parts of all words, then the second ones, and so on. */
  readonly parts: string;
  readonly words: number;
  /** WGSL that stores the scale of `word`, an expression. */
  storeScale(scale: string): string;
}

/** Where `fixedPointMemory` has them. */
export function broughtPlace(type: WholeType, words: number): WordPlace {
  return { type, parts: "brought", words, storeScale: (scale) => `wordScale[word] = ${scale};` };
}

/** WGSL for all threads: stores the four columns that are the `quad<i>`th; neighbouring lanes have a word. */
export function storeFixedPoint(i: number, value: string, held: string, place: WordPlace): string {
  const { type, parts, words, storeScale } = place, lanes = WORD_COLUMNS[type] / 4;
  const at = (part: string, word: string) =>
    `${parts}[${PART_WORDS}u * (${part} * ${words}u + word) + ${word}]`;
  const shuffles = Array.from(
    { length: Math.log2(lanes) },
    (_, level) => `        most = max(most, subgroupShuffleXor(most, ${1 << level}u));`,
  );
  return `    {
        let four = select(vec4<f32>(), ${value}, ${held});
        // By their bits, which no NaN or infinity gets lost in.
        let bits = bitcast<vec4<u32>>(four) & vec4<u32>(0x7fffffffu);
        var most = max(max(bits.x, bits.y), max(bits.z, bits.w));
${shuffles.join("\n")}
        let size = bitcast<f32>(most);
        let whole = wholeOf(four, size);
        let high = highOf(whole);
        let low = whole - (high << vec4<u32>(8u));
        let word = quad${i} / ${lanes}u;
${type === "i4" ? EVEN_AND_ODD : ""}
        if (${held}) {
            ${
    type === "i4"
      ? `${at("isOdd", `quad${i} % 8u / 2u`)} = (first & 0xffffu) | (second << 16u);
            ${at("(2u + isOdd)", `quad${i} % 8u / 2u`)} = (first >> 16u) | (second & 0xffff0000u);`
      : `${at("0u", `quad${i} % 4u`)} = pack4xI8(high);
            ${at("1u", `quad${i} % 4u`)} = pack4xI8(low);`
  }
            if (lane % ${lanes}u == 0u) { ${storeScale(`size / ${PRODUCT_FACTOR[type] * LARGEST}.0`)} }
        }
    }`;
}

const EVEN_AND_ODD = `        let even = pack4xI8(vec4<i32>(high.x, high.z, low.x, low.z));
        let odd = pack4xI8(vec4<i32>(high.y, high.w, low.y, low.w));
        // Of two lanes one gets the even columns of both and the other the odd ones.
        let isOdd = lane & 1u;
        let other = subgroupShuffleXor(select(odd, even, isOdd == 1u), 1u);
        let first = select(even, other, isOdd == 1u);
        let second = select(other, odd, isOdd == 1u);`;
