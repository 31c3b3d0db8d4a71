// LayerNorm on the CPU: output = (x - mean) / sqrt(var + epsilon) * scale + bias; without bias the mean counts as zero.
//   in, out  f32 [rows][stride]
//   task     one row. Reference: layerNorm() in reference.ts
// The mean is taken out twice, the second time of what is left: it may be large against the spread.
// AssemblyScript; compiled into cpu.wasm (cpu.wasm.ts).
import { IN_WIDTH, INPUT, INPUT_STRIDE, NORM_BIAS, NORM_EPSILON, NORM_SCALE, OUTPUT, OUTPUT_STRIDE } from "../cpu_layout";
import { sumLanes } from "../cpu_math.wasm";
import { rowAt, word } from "../cpu_step.wasm";

export function layerNorm(call: usize, row: u32): void {
  const width = word(call, IN_WIDTH), bytes = <usize>width << 2;
  const input = rowAt(call, INPUT, INPUT_STRIDE, row), output = rowAt(call, OUTPUT, OUTPUT_STRIDE, row);
  const scale = <usize>word(call, NORM_SCALE), bias = <usize>word(call, NORM_BIAS);
  const roughly = bias ? sumOf(input, bytes, 0) / <f32>width : <f32>0;
  const rest = bias ? sumOf(input, bytes, roughly) / <f32>width : <f32>0;
  const variance = sumOfSquares(input, bytes, roughly, rest) / <f32>width;
  const factor = <f32>1 / sqrt<f32>(variance + load<f32>(call + NORM_EPSILON));

  const roughly4 = f32x4.splat(roughly), rest4 = f32x4.splat(rest), factor4 = f32x4.splat(factor);
  let at: usize = 0;
  for (; at + 16 <= bytes; at += 16) {
    const centred = f32x4.sub(f32x4.sub(v128.load(input + at), roughly4), rest4);
    const added = bias ? v128.load(bias + at) : f32x4.splat(0);
    const y = f32x4.relaxed_madd(f32x4.mul(centred, factor4), v128.load(scale + at), added);
    v128.store(output + at, y);
  }
  for (; at < bytes; at += 4) {
    const centred = load<f32>(input + at) - roughly - rest;
    store<f32>(output + at, centred * factor * load<f32>(scale + at) + (bias ? load<f32>(bias + at) : <f32>0));
  }
}

function sumOf(input: usize, bytes: usize, offset: f32): f32 {
  const offset4 = f32x4.splat(offset);
  let sum = f32x4.splat(0), at: usize = 0;
  for (; at + 16 <= bytes; at += 16) sum = f32x4.add(sum, f32x4.sub(v128.load(input + at), offset4));
  let total = sumLanes(sum);
  for (; at < bytes; at += 4) total += load<f32>(input + at) - offset;
  return total;
}

function sumOfSquares(input: usize, bytes: usize, roughly: f32, rest: f32): f32 {
  const roughly4 = f32x4.splat(roughly), rest4 = f32x4.splat(rest);
  let sum = f32x4.splat(0), at: usize = 0;
  for (; at + 16 <= bytes; at += 16) {
    const centred = f32x4.sub(f32x4.sub(v128.load(input + at), roughly4), rest4);
    sum = f32x4.relaxed_madd(centred, centred, sum);
  }
  let total = sumLanes(sum);
  for (; at < bytes; at += 4) {
    const centred = load<f32>(input + at) - roughly - rest;
    total += centred * centred;
  }
  return total;
}
