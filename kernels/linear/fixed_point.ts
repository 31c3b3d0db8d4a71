// x of the one-row form of linear as whole numbers, for weights in int4: the device then multiplies bytes, and adds them up,
// four at a time, and nothing has to be unpacked to floats. Each group of x has a scale of its own and keeps 15 bits and
// the sign, more than f16 has; they lie in two bytes, so a product is two, which are added up exactly.
/** Bytes that x takes for a word of the weight, which is a group. */
export const BYTES_PER_WORD = 4 * 16 + 4;
/** Of a group's largest |x|: both bytes stay within -128 to 127. */
const LARGEST = 127 * 256;

/** WGSL: a word of x, and what makes it and multiplies it. */
export const FIXED_POINT = `/** Nibbles of a byte are an even and an odd column, so x is sorted so. */
struct WholeWord {
    evenHigh: vec4<u32>,
    oddHigh: vec4<u32>,
    evenLow: vec4<u32>,
    oddLow: vec4<u32>,
    /** What a sum of products is worth: they are 16 times too large. */
    scale: f32,
}
/** Four columns of a group whose largest magnitude is size. */
fn wholeOf(four: vec4<f32>, size: f32) -> vec4<i32> {
    return vec4<i32>(round(four * select(${LARGEST}.0 / size, 0.0, size == 0.0)));
}
/** Their high bytes; what they and 256 times these differ by is the low ones. */
fn highOf(whole: vec4<i32>) -> vec4<i32> { return (whole + 128) >> vec4<u32>(8u); }
fn scaleOf(size: f32) -> f32 { return size / ${16 * LARGEST}.0; }
fn dotOf(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}
/** Of a word of the weight by one of x. A nibble in the high half of its byte is 16 times its number, sign and all. */
fn productOf(weight: vec4<u32>, x: WholeWord) -> f32 {
    let even = (weight << vec4<u32>(4u)) & vec4<u32>(0xf0f0f0f0u);
    let odd = weight & vec4<u32>(0xf0f0f0f0u);
    let high = dotOf(even, x.evenHigh) + dotOf(odd, x.oddHigh);
    let low = dotOf(even, x.evenLow) + dotOf(odd, x.oddLow);
    return f32((high << 8u) + low);
}`;

/** Parts of a word, in the order of `WholeWord`, and u32 of each. */
const PARTS = 4;
const PART_WORDS = 4;

/** WGSL: where so many words of x lie. */
export function fixedPointMemory(words: number): string {
  const part = (i: number) => {
    const first = `${PART_WORDS}u * (${i * words}u + at)`;
    return `vec4<u32>(brought[${first}], brought[${first} + 1u], brought[${first} + 2u], brought[${first} + 3u])`;
  };
  return `var<workgroup> brought: array<u32, ${PARTS * PART_WORDS * words}>;
var<workgroup> wordScale: array<f32, ${words}>;
fn broughtWord(at: u32) -> WholeWord {
    return WholeWord(${Array.from({ length: PARTS }, (_, i) => part(i)).join(", ")}, wordScale[at]);
}`;
}

/** Where `fixedPointMemory` has them. */
export function broughtPlace(words: number): WordPlace {
  return {
    parts: "brought",
    words,
    storeScale: (scale) => `wordScale[word] = ${scale};`,
  };
}

/** Where words of x are stored. */
export interface WordPlace {
  /** Name of an array<u32>: the first parts of all words, then the second ones, and so on. */
  readonly parts: string;
  readonly words: number;
  /** WGSL that stores the scale of `word`, an expression. */
  storeScale(scale: string): string;
}

/** WGSL for all threads: stores the four columns that are the `quad<i>`th; eight neighbouring lanes have a word. */
export function storeFixedPoint(
  i: number,
  value: string,
  held: string,
  { parts, words, storeScale }: WordPlace,
): string {
  const place = (part: string) =>
    `${parts}[${PART_WORDS}u * (${part} * ${words}u + word) + quad${i} % 8u / 2u]`;
  return `    {
        let four = select(vec4<f32>(), ${value}, ${held});
        // By their bits, which no NaN or infinity gets lost in.
        let bits = bitcast<vec4<u32>>(four) & vec4<u32>(0x7fffffffu);
        var most = max(max(bits.x, bits.y), max(bits.z, bits.w));
        most = max(most, subgroupShuffleXor(most, 1u));
        most = max(most, subgroupShuffleXor(most, 2u));
        most = max(most, subgroupShuffleXor(most, 4u));
        let size = bitcast<f32>(most);
        let whole = wholeOf(four, size);
        let high = highOf(whole);
        let low = whole - (high << vec4<u32>(8u));
        let even = pack4xI8(vec4<i32>(high.x, high.z, low.x, low.z));
        let odd = pack4xI8(vec4<i32>(high.y, high.w, low.y, low.w));
        // Of two lanes one gets the even columns of both and the other the odd ones.
        let isOdd = lane & 1u;
        let other = subgroupShuffleXor(select(odd, even, isOdd == 1u), 1u);
        let first = select(even, other, isOdd == 1u);
        let second = select(other, odd, isOdd == 1u);
        let word = quad${i} / 8u;
        if (${held}) {
            ${place("isOdd")} = (first & 0xffffu) | (second << 16u);
            ${place("(2u + isOdd)")} = (first >> 16u) | (second & 0xffff0000u);
            if (lane % 8u == 0u) { ${storeScale("scaleOf(size)")} }
        }
    }`;
}
