// x of the one-row form of linear as whole numbers, for weights in int4: the device then multiplies bytes, and adds them up,
// four at a time, and nothing has to be unpacked to floats. Each group of x has a scale of its own and keeps 15 bits and
// the sign, more than f16 has; they lie in two bytes, so a product is two, which are added up exactly.
import { unroll } from "../wgsl.ts";
import type { GemvForm } from "./gemv_form.ts";

/** Bytes that x takes for a word of the weight, which is a group. */
export const BYTES_PER_WORD = 4 * 16 + 4;
/** Of a group's largest |x|: both bytes stay within -128 to 127. */
const LARGEST = 127 * 256;

/** WGSL: where a row, or a slice, of so many words lies. Nibbles of a byte are an even and an odd column, so x is sorted so. */
export function fixedPointMemory(words: number): string {
  return `var<workgroup> evenHigh: array<vec4<u32>, ${words}>;
var<workgroup> oddHigh: array<vec4<u32>, ${words}>;
var<workgroup> evenLow: array<vec4<u32>, ${words}>;
var<workgroup> oddLow: array<vec4<u32>, ${words}>;
/** What a sum of products is worth: they are 16 times too large. */
var<workgroup> wordScale: array<f32, ${words}>;
/** Four columns of a group whose largest magnitude is size. */
fn wholeOf(four: vec4<f32>, size: f32) -> vec4<i32> {
    return vec4<i32>(round(four * select(${LARGEST}.0 / size, 0.0, size == 0.0)));
}
/** Their high bytes; what they and 256 times these differ by is the low ones. */
fn highOf(whole: vec4<i32>) -> vec4<i32> { return (whole + 128) >> vec4<u32>(8u); }
fn scaleOf(size: f32) -> f32 { return size / ${16 * LARGEST}.0; }
/** The bytes of columns 0 and 2, and of 1 and 3. */
fn evenAndOdd(four: vec4<i32>) -> vec2<u32> {
    let bytes = bitcast<vec4<u32>>(four) & vec4<u32>(0xffu);
    return bytes.xy | (bytes.zw << vec2<u32>(8u));
}
/** Of eight lanes with four columns each, the first gets the even ones of all and the second the odd ones. */
fn gathered(four: vec4<i32>, isOdd: bool) -> vec4<u32> {
    let own = evenAndOdd(four);
    let other = subgroupShuffleXor(select(own.y, own.x, isOdd), 1u);
    let eight = select(own.x | (other << 16u), other | (own.y << 16u), isOdd);
    return vec4<u32>(
        eight, subgroupShuffleXor(eight, 2u), subgroupShuffleXor(eight, 4u), subgroupShuffleXor(eight, 6u),
    );
}`;
}

/** WGSL for all threads: brings the four columns that are the `quad<i>`th; eight neighbouring lanes have a group. */
export function bringFixedPoint(i: number, value: string, held: string): string {
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
        let isOdd = (lane & 1u) != 0u;
        let highBytes = gathered(high, isOdd);
        let lowBytes = gathered(whole - (high << vec4<u32>(8u)), isOdd);
        let word = quad${i} / 8u;
        if (${held} && lane % 8u == 0u) {
            evenHigh[word] = highBytes;
            evenLow[word] = lowBytes;
            wordScale[word] = scaleOf(size);
        }
        if (${held} && lane % 8u == 1u) {
            oddHigh[word] = highBytes;
            oddLow[word] = lowBytes;
        }
    }`;
}

/**
 * WGSL: adds the products of weight words \`w<word>_<r>\`, with multipliers \`m<word>_<r>\`, to \`y0_<r>\`. A nibble in the high
 * half of its byte is 16 times its number, sign and all.
 */
export function multiplyFixedPoint({ teamRows }: GemvForm, word: string, at: string): string {
  const dots = (weight: string, odd: boolean, part: "High" | "Low") =>
    [..."xyzw"].map((c) => `dot4I8Packed(${weight}.${c}, ${odd ? "odd" : "even"}${part}${word}.${c})`).join(
      " + ",
    );
  return `    let evenHigh${word} = evenHigh[${at}];
    let oddHigh${word} = oddHigh[${at}];
    let evenLow${word} = evenLow[${at}];
    let oddLow${word} = oddLow[${at}];
    let scale${word} = wordScale[${at}];
${
    unroll(teamRows, (r) => {
      const name = `${word}_${r}`;
      return `    let even${name} = (w${name} << vec4<u32>(4u)) & vec4<u32>(0xf0f0f0f0u);
    let odd${name} = w${name} & vec4<u32>(0xf0f0f0f0u);
    let high${name} = ${dots(`even${name}`, false, "High")} + ${dots(`odd${name}`, true, "High")};
    let low${name} = ${dots(`even${name}`, false, "Low")} + ${dots(`odd${name}`, true, "Low")};
    y0_${r} = fma(f32((high${name} << 8u) + low${name}), scale${word} * m${name}, y0_${r});`;
    })
  }`;
}
