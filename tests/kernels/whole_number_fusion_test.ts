// Which values are left as whole numbers: those that nothing but linears' products read. What comes of it
// is in dense_cases.ts, against the float64 reference.
import { deepEqual, ok } from "node:assert/strict";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import type { LinearNode, Value } from "../../kernels/graph.ts";
import type { WholeType } from "../../kernels/linear/fixed_point.ts";
import { wholeNumbers } from "../../kernels/whole_number_fusion.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { gpuTest, matrixUnitsTest } from "../gpus.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import { DENSE_CASES } from "./dense_cases.ts";
import { problem } from "./dense_problem.ts";
import { MemorySource } from "./memory_source.ts";
import { Random, testSeed } from "./random.ts";

const WIDTH = 32;

/** Ids of the values that are left so, of those that `build` names. */
function left(
  build: (graph: GraphBuilder, linear: (x: Value, name: string, residual?: Value) => Value) => {
    readonly output: Value;
    readonly named: Readonly<Record<string, Value>>;
  },
  typeOf: (reader: LinearNode) => WholeType | undefined = () => "i4",
): string[] {
  const source = new MemorySource(), builder = new GraphBuilder();
  const linear = (x: Value, name: string, residual?: Value) =>
    builder.linear(x, source.add(name, [WIDTH, WIDTH], new Float32Array(WIDTH * WIDTH)), {
      ...(residual && { residual }),
    });
  const { output, named } = build(builder, linear);
  const whole = wholeNumbers(builder.build(output), ({ op }) => op !== "input", typeOf);
  return Object.keys(named).filter((name) => whole.has(named[name].id));
}

Deno.test("wholeNumbers() has what is made for linears, once or twice, and not the graph's output", () => {
  const names = left((graph, linear) => {
    const x = graph.input("x", WIDTH), a = linear(x, "a"), b = linear(a, "b"), c = linear(a, "c", b);
    return { output: c, named: { x, a, b, c } };
  });
  deepEqual(names, ["a"], "b is read as a residual, c is the output");
});

Deno.test("wholeNumbers() leaves out what another op reads, or a linear that takes floats", () => {
  const source = new MemorySource();
  const scale = source.add("scale", [WIDTH], new Float32Array(WIDTH));
  const names = left((graph, linear) => {
    const a = linear(graph.input("x", WIDTH), "a"), b = linear(a, "b"), c = linear(b, "floats");
    const normed = graph.layerNorm(a, scale, scale, 1e-5);
    return { output: linear(normed, "d", c), named: { a, b, c, normed } };
  }, ({ weight }) => weight.name === "floats" ? undefined : "i4");
  deepEqual(names, ["normed"], "a is read by a norm, b by a linear that takes floats");
});

Deno.test("wholeNumbers() leaves out what linears read as different whole numbers", () => {
  const build: Parameters<typeof left>[0] = (graph, linear) => {
    const a = linear(graph.input("x", WIDTH), "a"), b = linear(a, "b"), c = linear(a, "c", b);
    return { output: c, named: { a } };
  };
  deepEqual(left(build, () => "i8"), ["a"]);
  deepEqual(left(build, ({ weight }) => weight.name === "b" ? "i8" : "i4"), []);
});

const STAYS = "A row that is not finite stays so where it may be multiplied as whole numbers";
gpuTest(STAYS, { profile: "fast" }, checkNotFinite);
matrixUnitsTest(STAYS, {}, checkNotFinite);

async function checkNotFinite(gpu: GpuDevice): Promise<void> {
  for (const storage of ["I4", "I8"]) await checkNotFiniteIn(gpu, storage);
}

async function checkNotFiniteIn(gpu: GpuDevice, storage: string): Promise<void> {
  const { build } = DENSE_CASES.find(({ name }) =>
    name.startsWith(`two linears in ${storage} and ${storage}`)
  )!;
  const { graph, source, limits, steps: [{ batch, inputs }] } = build(new Random(1));
  using plan = await GpuPlan.create(gpu, graph, source, { limits, kvType: "f32" });
  for (const value of [Infinity, -Infinity, NaN]) {
    const x = inputs.x.slice();
    x[3] = value;
    const { logits } = await plan.step(batch, { ...inputs, x });
    ok(logits!.every((logit) => !Number.isFinite(logit)), `${value} gave ${logits}`);
  }
}

/** Widths that are whole words, but not whole rows as they are stored. */
const NARROW = [16, 48];

matrixUnitsTest(
  "Whole numbers are finite beside what earlier steps left, and leave none of theirs",
  {},
  async (gpu) => {
    for (const inner of NARROW) {
      const random = new Random(testSeed()), width = 384, outWidth = 33;
      const source = new MemorySource(), graph = new GraphBuilder();
      const matrix = (name: string, rows: number, columns: number) =>
        source.add(name, [rows, columns], random.normals(rows * columns, 0, 0.1), "I8");
      const hidden = graph.linear(graph.input("x", width), matrix("up", inner, width));
      const output = graph.linear(hidden, matrix("down", outWidth, inner));
      const { graph: built, limits, steps } = problem(random, graph, output, source, [2, 1, 2, 1]);
      // The first row of two steps.
      for (const step of [0, 1]) steps[step].inputs.x.fill(Infinity, 0, width);
      const reference = await ReferenceExecutor.create(built, source);
      using plan = await GpuPlan.create(gpu, built, source, { limits, kvType: "f32" });
      for (const { batch, inputs } of steps) {
        const expected = reference.step(batch, inputs).output, { logits } = await plan.step(batch, inputs);
        const finite = (values: ArrayLike<number>) => Array.from(values, (value) => Number.isFinite(value));
        deepEqual(finite(logits!), finite(expected));
      }
    }
  },
);
