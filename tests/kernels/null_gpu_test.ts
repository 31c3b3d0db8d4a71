// Every kernel that the lowerings write for an H200 is valid WGSL for Dawn, on any machine: with fragments of 16 x 16 x 16
// and subgroups of 32 threads, which no software GPU offers.
import { deepStrictEqual, ok, rejects } from "node:assert/strict";
import type { GpuCaps } from "../../device/caps.ts";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { openNullGpu } from "../../device/null_gpu.ts";
import { GROUP, groupsOf } from "../../kernels/int4.ts";
import type { Activation, Graph, Value } from "../../kernels/graph.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import { compileCalls } from "../../kernels/pipelines.ts";
import { GpuPlan, type PlanOptions } from "../../kernels/gpu_plan.ts";
import {
  BYTES_PER_ELEMENT,
  multiplierName,
  scaleName,
  type TensorDtype,
  type TensorInfo,
  type TensorSource,
  type WeightRef,
} from "../../kernels/tensor_source.ts";
import { ATTENTION_CASES, buildAttention } from "./attention_cases.ts";
import { buildHistory, DIVIDED_CASE, HISTORY_CASES } from "./convolution_history_cases.ts";
import { DENSE_CASES, MATRIX_CASES } from "./dense_cases.ts";
import { buildLongConvolution, LONG_CONVOLUTION_CASES, LONGEST_CASES } from "./long_convolution_cases.ts";
import { MemorySource } from "./memory_source.ts";
import { Random, testSeed } from "./random.ts";
import { RECURRENT_CASES } from "./recurrent_cases.ts";

const H200: GpuCaps = {
  provider: "dawn",
  adapter: "like an H200",
  software: false,
  f16: true,
  subgroups: true,
  subgroupMinSize: 32,
  subgroupMaxSize: 32,
  matrixFragment: { m: 16, n: 16, k: 16 },
  narrowFragment: { m: 16, n: 8, k: 16 },
  timestamps: true,
  maxBindingBytes: 2 ** 31,
  maxBufferBytes: 2 ** 40,
  maxStorageBuffers: 10,
  maxWorkgroupBytes: 48 * 1024,
  maxInvocations: 1024,
};
Deno.test("All forms of linear compile for a GPU like an H200", async () => {
  const seed = testSeed();
  console.log(`  HYADES_TEST_SEED=${seed}`);
  for (
    const [limit, cases] of Map.groupBy(new Set([...DENSE_CASES, ...MATRIX_CASES]), (c) => c.maxBindingBytes)
  ) {
    const { gpu, modules } = await openNullGpu({ ...H200, ...(limit && { maxBindingBytes: limit }) }, "fast");
    using _ = gpu;
    for (const { build } of cases) {
      const { graph, source, limits } = build(new Random(seed));
      await compilePlan(gpu, graph, source, { limits, kvType: "f32" });
    }
    if (!limit) checkUse(modules, ["linear"]);
  }
});

Deno.test("All forms of attention compile for a GPU like an H200", async () => {
  // Nothing larger can be made without a GPU.
  const { gpu, modules } = await openNullGpu({ ...H200, maxBindingBytes: 2 ** 28 }, "fast");
  using _ = gpu;
  for (const attentionCase of ATTENTION_CASES) {
    const { kvType } = attentionCase, { graph, limits } = buildAttention(attentionCase, new Random(1));
    await compilePlan(gpu, graph, new MemorySource(), { limits, kvType });
  }
  checkUse(modules, ["attention"]);
});

/** With weights in int4, which have the most buffers. */
Deno.test("No kernel binds more buffers than the device allows", async () => {
  const seed = testSeed();
  console.log(`  HYADES_TEST_SEED=${seed}`);
  const maxStorageBuffers = 8;
  const { gpu, modules } = await openNullGpu({ ...H200, maxStorageBuffers }, "fast");
  using _ = gpu;
  for (const { build } of DENSE_CASES.filter((c) => c.name.includes("I4") && !c.maxBindingBytes)) {
    const { graph, source, limits } = build(new Random(seed));
    await compilePlan(gpu, graph, source, { limits, kvType: "f32", sampling: { suppressed: [0] } });
  }
  const numBound = ({ code }: Module) => code.split("var<storage").length - 1;
  const greedy = modules.filter((module) => numBound(module) > maxStorageBuffers);
  deepStrictEqual(greedy.map(({ label }) => label), []);
  ok(modules.some((module) => numBound(module) === maxStorageBuffers));
});

Deno.test("Convolutions and SSMs compile for a GPU like an H200, and bind eight buffers at most", async () => {
  const { gpu, modules } = await openNullGpu(H200, "fast");
  using _ = gpu;
  const problems = [
    ...RECURRENT_CASES.map(({ build }) => build(new Random(1))),
    ...[...HISTORY_CASES, DIVIDED_CASE].map((c) => buildHistory(c, new Random(1))),
    ...[...LONG_CONVOLUTION_CASES, ...LONGEST_CASES].map((c) => buildLongConvolution(c, new Random(1))),
  ];
  for (const { graph, source, limits } of problems) {
    await compilePlan(gpu, graph, source, { limits, kvType: "f32" });
  }
  const { graph, source, limits } = buildHistory(HISTORY_CASES[1], new Random(1));
  const online = { window: 2048, square: 64, transformsWorth: 1000 };
  // As long as texts can be that are transformed.
  const long = { ...limits, maxBlocksPerSequence: 4096 };
  await compilePlan(gpu, graph, source, { limits: long, kvType: "f16", online });
  const numBound = ({ code }: Module) => code.split("var<storage").length - 1;
  deepStrictEqual(modules.filter((module) => numBound(module) > 8).map(({ label }) => label), []);
  const labels = modules.map(({ label }) => label!);
  for (
    const form of [
      "whole 8192",
      "65536 rows",
      "longConvolution filter, single tokens",
      "single tokens",
      "chunks' beginnings",
      "scan",
      "filter, tiles",
      "single tokens, add",
      "squares",
      "single tokens, online",
      "transformed, 65536 rows",
      "transformed, scatter",
    ]
  ) {
    ok(labels.some((label) => label.includes(form)), `no kernel for ${form}`);
  }
});

for (const storage of ["F16", "I8", "I4"] as const) {
  Deno.test(`A layer of StarCoder 1.1 B compiles for a GPU like an H200, ${storage}`, async () => {
    const { gpu, modules } = await openNullGpu(H200, "fast");
    using _ = gpu;
    const weights = new BlankWeights();
    await compilePlan(gpu, starCoderLayer(weights, storage), weights, {
      limits: {
        maxTokens: 1024,
        maxSequences: 64,
        maxSamples: 64,
        maxBlocksPerSequence: 512,
        numBlocks: 1024,
      },
      kvType: "f16",
      sampling: { suppressed: [0] },
    });
    checkUse(modules, ["linear", "attention"]);
    const leaves = modules.filter(({ code }) => code.includes("var<workgroup> outputs"));
    deepStrictEqual(leaves.map(({ label }) => label), storage === "F16" ? [] : ["linear up, 1 rows"]);
  });
}

Deno.test("A kernel that does not compile is found, fragments of the wrong shape among others", async () => {
  const { gpu } = await openNullGpu(H200, "fast");
  using _ = gpu;
  for (const [across, problem] of [[16, undefined], [8, /subgroupMatrixMultiplyAccumulate/]] as const) {
    const code = `enable f16; enable chromium_experimental_subgroup_matrix;
@compute @workgroup_size(32) fn main() {
    let left = subgroup_matrix_left<f16, 16, 16>(); let right = subgroup_matrix_right<f16, ${across}, 16>();
    _ = subgroupMatrixMultiplyAccumulate(left, right, subgroup_matrix_result<f32, 16, 16>());
}`;
    const compiled = compileCalls(gpu, [{ label: "product", code, bindings: [], grid: () => undefined }]);
    if (problem) await rejects(compiled, problem);
    else await compiled;
  }
});

type Module = GPUShaderModuleDescriptor;

/** @throws {SyntaxError} when a kernel of the plan does not compile */
async function compilePlan(
  gpu: GpuDevice,
  graph: Graph,
  source: TensorSource,
  options: PlanOptions,
): Promise<void> {
  using _ = await GpuPlan.create(gpu, graph, source, options);
  gpu.check();
}

/** That there are kernels on matrix units for each of the ops: else nothing of what matters was compiled. */
function checkUse(modules: readonly Module[], ops: readonly string[]): void {
  const onMatrixUnits = modules.filter(({ code }) => code.includes("subgroupMatrixMultiplyAccumulate"));
  console.log(`  ${modules.length} kernels, ${onMatrixUnits.length} of them on matrix units`);
  for (const op of ops) ok(onMatrixUnits.some(({ label }) => label!.startsWith(op)), `none for ${op}`);
}

/** The 1.1 B checkpoint's widths, one layer of its 24 and a twelfth of its vocabulary. */
function starCoderLayer(weights: BlankWeights, storage: TensorDtype): Graph {
  const width = 2048, innerWidth = 4 * width, heads = { numHeads: 16, numKvHeads: 1, headSize: 128 };
  const b = new GraphBuilder();
  const norm = (x: Value, name: string) =>
    b.layerNorm(x, weights.add(`${name}.scale`, [width]), weights.add(`${name}.bias`, [width]), 1e-5);
  const linear = (
    x: Value,
    name: string,
    outputs: number,
    more: { activation?: Activation; residual?: Value },
  ) =>
    b.linear(x, weights.add(name, [outputs, x.width], storage), {
      bias: weights.add(`${name}.bias`, [outputs]),
      ...more,
    });
  const table = weights.add("table", [4096, width], storage);
  const x = b.embedding(table, weights.add("positions", [8192, width], storage));
  const qkv = linear(norm(x, "norm 1"), "qkv", width + 2 * heads.headSize, {});
  const attended = b.attention(qkv, { ...heads, scale: heads.headSize ** -0.5 });
  const y = linear(attended, "projection", width, { residual: x });
  const inner = linear(norm(y, "norm 2"), "up", innerWidth, { activation: "gelu_tanh" });
  const z = linear(inner, "down", width, { residual: y });
  return b.build(b.linear(b.gatherRows(norm(z, "norm 3")), table));
}

/** Tensors of zeros, of any size. */
class BlankWeights implements TensorSource {
  readonly #tensors = new Map<string, TensorInfo>();

  add(name: string, shape: readonly number[], dtype: TensorDtype = "F32"): WeightRef {
    const [rows, columns] = shape;
    const stored = dtype === "I4" ? [rows, groupsOf(columns) * GROUP] : shape;
    this.#tensors.set(name, { name, dtype, shape: stored });
    this.#tensors.set(scaleName(name), { name: scaleName(name), dtype: "F32", shape: [rows] });
    if (dtype === "I4") {
      const multipliers = {
        name: multiplierName(name),
        dtype: "I8",
        shape: [rows, groupsOf(columns)],
      } as const;
      this.#tensors.set(multipliers.name, multipliers);
    }
    return { name, shape };
  }

  find(name: string): TensorInfo | undefined {
    return this.#tensors.get(name);
  }

  readRows(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const { shape: [, ...inner], dtype } = this.#tensors.get(name)!;
    const elements = (end - start) * inner.reduce((a, b) => a * b, 1);
    return Promise.resolve(new Uint8Array(elements * BYTES_PER_ELEMENT[dtype]));
  }

  readRowsInto(_name: string, _start: number, _end: number, target: Uint8Array<ArrayBuffer>): Promise<void> {
    target.fill(0);
    return Promise.resolve();
  }
}
