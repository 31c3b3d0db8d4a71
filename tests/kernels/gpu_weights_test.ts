// Weights as they arrive on a GPU, byte for byte: every way of storing them, in many pieces and shards.
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { DeviceLostError } from "../../device/device_lost_error.ts";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { Readback } from "../../device/readback.ts";
import { type GpuMatrix, rowStride } from "../../kernels/gpu_op.ts";
import { PIECE_BYTES } from "../../kernels/gpu_uploads.ts";
import { GpuWeights, type LoadWeightsOptions } from "../../kernels/gpu_weights.ts";
import type { WeightUse } from "../../kernels/graph_weights.ts";
import { GROUP, groupsOf } from "../../kernels/int4.ts";
import { loadFloat32, type TensorDtype, type WeightRef } from "../../kernels/tensor_source.ts";
import { gpuTest } from "../gpus.ts";
import { MemorySource } from "./memory_source.ts";
import { Random, testSeed } from "./random.ts";

interface Case {
  readonly dtype: TensorDtype;
  readonly rows: number;
  readonly columns: number;
  readonly storage?: LoadWeightsOptions["storage"];
  readonly reordered?: true;
}

/** More than one piece of each in its widest form. */
const MANY = Math.ceil(1.5 * PIECE_BYTES / (1024 * 4));

const CASES: readonly Case[] = [
  { dtype: "F16", rows: 2 * MANY, columns: 1024 },
  { dtype: "F32", rows: MANY, columns: 1024 },
  { dtype: "F32", rows: 50, columns: 70 },
  { dtype: "F32", rows: 50, columns: 96, storage: "f16" },
  { dtype: "F16", rows: 130, columns: 70 },
  { dtype: "F16", rows: 96, columns: 64, storage: "f32" },
  { dtype: "F16", rows: 90, columns: 64, reordered: true },
  { dtype: "BF16", rows: 70, columns: 128 },
  { dtype: "I8", rows: 200, columns: 64 },
  { dtype: "I8", rows: 33, columns: 50, reordered: true },
  { dtype: "I4", rows: 200, columns: 256 },
  { dtype: "I4", rows: 65, columns: 70 },
  { dtype: "I4", rows: 66, columns: 96, reordered: true },
];

for (const maxBindingBytes of [undefined, 4_000_000, 6_000]) {
  const limited = maxBindingBytes === undefined ? "" : `, bindings of ${maxBindingBytes} bytes`;
  gpuTest(
    `GpuWeights has the checkpoint's values in every form${limited}`,
    maxBindingBytes === undefined ? {} : { maxBindingBytes },
    async (gpu) => {
      const random = new Random(testSeed());
      for (const one of CASES) {
        // Thousands of shards would prove nothing more.
        if (one.rows > 1000 && maxBindingBytes === 6_000) continue;
        await checkCase(gpu, one, random, maxBindingBytes ?? Infinity);
      }
    },
  );
}

async function checkCase(gpu: GpuDevice, one: Case, random: Random, maxBytes: number): Promise<void> {
  const { dtype, rows, columns, storage, reordered } = one;
  const source = new MemorySource();
  const plain = source.add(
    "w",
    [rows, columns],
    Float32Array.from({ length: rows * columns }, () => random.uniform() - 0.5),
    dtype,
  );
  const ref = reordered ? { ...plain, rowOrder: reversed(rows) } : plain;
  const done: number[] = [];
  using weights = await GpuWeights.load(gpu, source, [matrixUse(ref)], {
    ...(storage && { storage }),
    onProgress: (bytes, total) => done.push(bytes / total),
  });
  const matrix = weights.matrix(ref), name = JSON.stringify(one);
  strictEqual(done.at(-1), 1, name);
  for (const { buffer, numRows } of matrix.shards) {
    ok(buffer.size <= maxBytes, name);
    ok(
      numRows % 64 === 0 || numRows < 64 || matrix.shards.at(-1)!.buffer === buffer,
      "tiles stay whole: " + name,
    );
  }
  const expected = await loadFloat32(source, ref), actual = await readMatrix(gpu, matrix);
  const wrong = actual.findIndex((value, i) => value !== narrowed(expected[i], matrix.type));
  strictEqual(wrong, -1, `${name}: element ${wrong} is ${actual[wrong]} instead of ${expected[wrong]}`);
}

gpuTest("GpuWeights stores bf16 that f16 cannot hold as f32", {}, async (gpu) => {
  const source = new MemorySource();
  const ref = source.add("w", [2, 32], new Float32Array(64).fill(1e30), "BF16");
  using weights = await GpuWeights.load(gpu, source, [matrixUse(ref)]);
  strictEqual(weights.matrix(ref).type, "f32");
  const [value] = await readMatrix(gpu, weights.matrix(ref));
  ok(Math.abs(value / 1e30 - 1) < 0.01, `${value}`);
});

gpuTest("GpuWeights.load() refuses rows that no piece can hold", {}, async (gpu) => {
  const source = new MemorySource(), columns = PIECE_BYTES / 4 + 1;
  const ref = source.add("w", [1, columns], new Float32Array(columns));
  await rejects(
    GpuWeights.load(gpu, source, [matrixUse(ref)]),
    /a row of "w" must take at most 16777216 bytes/,
  );
});

/** Fails in the middle of a matrix. */
class BrokenSource extends MemorySource {
  override async readRowsInto(name: string, start: number, end: number, target: Uint8Array<ArrayBuffer>) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (name === "b" && start > 0) throw new RangeError("it became shorter");
    await super.readRowsInto(name, start, end, target);
  }
}

gpuTest("GpuWeights.load() gives a reader's error, with nothing under way any more", {}, async (gpu) => {
  const source = new BrokenSource();
  const uses = ["a", "b", "c", "d"].map((name) =>
    matrixUse(source.add(name, [MANY, 1024], new Float32Array(MANY * 1024)))
  );
  await rejects(GpuWeights.load(gpu, source, uses), /it became shorter/);
  await gpu.wait(gpu.device.queue.onSubmittedWorkDone(), 0);
  gpu.check();
});

/** Loses the device while pieces are being read. */
class LosingSource extends MemorySource {
  readonly #gpu: GpuDevice;
  #reads = 0;

  constructor(gpu: GpuDevice) {
    super();
    this.#gpu = gpu;
  }

  override async readRowsInto(name: string, start: number, end: number, target: Uint8Array<ArrayBuffer>) {
    if (++this.#reads === 3) this.#gpu.device.destroy();
    await new Promise((resolve) => setTimeout(resolve, 1));
    await super.readRowsInto(name, start, end, target);
  }
}

gpuTest(
  "GpuWeights.load() of a device that is lost meanwhile ends, and what it says is that",
  {},
  async (gpu) => {
    const source = new LosingSource(gpu);
    const uses = ["a", "b", "c", "d"].map((name) =>
      matrixUse(source.add(name, [MANY, 1024], new Float32Array(MANY * 1024)))
    );
    await rejects(async () => {
      using _weights = await GpuWeights.load(gpu, source, uses);
      await new Promise((resolve) => setTimeout(resolve, 0));
      gpu.check(); // Where nothing is mapped, nothing fails before.
    }, DeviceLostError);
  },
);

function matrixUse(ref: WeightRef): WeightUse {
  return { ref, role: "matrix" };
}

function reversed(rows: number): Uint32Array {
  return Uint32Array.from({ length: rows }, (_, row) => rows - 1 - row);
}

function narrowed(value: number, type: GpuMatrix["type"]): number {
  return type === "f16" ? Math.f16round(value) : value;
}

/** [rows, columns] with scales applied; what fills rows up must be zero. */
async function readMatrix(gpu: GpuDevice, matrix: GpuMatrix): Promise<Float32Array> {
  const { rows, columns, shards, type } = matrix;
  const values = new Float32Array(rows * columns), stride = rowStride(columns);
  const scales = matrix.scales && new Float32Array(await readBuffer(gpu, matrix.scales));
  deepStrictEqual(shards.map(({ firstRow }) => firstRow), startsOf(shards));
  for (const { buffer, firstRow, numRows, multipliers } of shards) {
    const bytes = await readBuffer(gpu, buffer);
    const factors = multipliers && new Int8Array(await readBuffer(gpu, multipliers));
    const stored = decoded(bytes, type);
    for (let row = 0; row < numRows; row++) {
      for (let k = 0; k < stride; k++) {
        const value = stored[row * stride + k];
        if (k >= columns) strictEqual(value, 0);
        else {
          const group = row * Math.ceil(groupsOf(columns) / 4) * 4 + Math.floor(k / GROUP);
          const whole = factors ? factors[group] * value : value;
          values[(firstRow + row) * columns + k] = scales
            ? Math.fround(whole * scales[firstRow + row])
            : whole;
        }
      }
    }
  }
  return values;
}

function startsOf(shards: GpuMatrix["shards"]): number[] {
  let next = 0;
  return shards.map(({ numRows }) => (next += numRows) - numRows);
}

function decoded(bytes: ArrayBuffer, type: GpuMatrix["type"]): ArrayLike<number> {
  if (type === "f32") return new Float32Array(bytes);
  if (type === "f16") return new Float16Array(bytes);
  if (type === "i8") return new Int8Array(bytes);
  const packed = new Uint8Array(bytes);
  return Int8Array.from({ length: 2 * packed.length }, (_, i) => packed[i >> 1] << (i % 2 ? 24 : 28) >> 28);
}

const COPY = `
@group(0) @binding(0) var<storage, read> source: array<u32>;
@group(0) @binding(1) var<storage, read_write> copy: array<u32>;
@compute @workgroup_size(64) fn main(
  @builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u,
) {
  for (var i = id.x; i < arrayLength(&source); i += 64 * groups.x) { copy[i] = source[i]; }
}`;

/** As a kernel reads it: weights are not made to be copied from. */
async function readBuffer(gpu: GpuDevice, buffer: GPUBuffer): Promise<ArrayBuffer> {
  const { device } = gpu;
  const copy = device.createBuffer({
    size: buffer.size,
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC,
  });
  const module = device.createShaderModule({ code: COPY });
  const pipeline = device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
  const entries = [buffer, copy].map((buffer, binding) => ({ binding, resource: { buffer } }));
  const bindGroup = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindGroup);
  pass.dispatchWorkgroups(64);
  pass.end();
  using readback = new Readback(gpu, buffer.size);
  readback.encodeCopy(encoder, copy, buffer.size);
  device.queue.submit([encoder.finish()]);
  const bytes = await readback.read(buffer.size);
  copy.destroy();
  return bytes;
}
