// What the CPU plan promises beyond the ops' arithmetic: odd numbers stay where they are, limits hold, processes end.
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { CpuPlan } from "../../kernels/cpu_plan.ts";
import type { Graph } from "../../kernels/graph.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import { fasterInt8Form, INT8_FORMS, measureProductRates } from "../../kernels/linear/int8_form.ts";
import type { StepBatch } from "../../kernels/step.ts";
import { MemorySource } from "./memory_source.ts";
import { Random } from "./random.ts";

const LIMITS = { maxTokens: 8, maxSequences: 1, maxSamples: 1, maxBlocksPerSequence: 1, numBlocks: 1 };
const WIDTH = 37;

function int8Linear(): { graph: Graph; source: MemorySource; bias: Float32Array } {
  const random = new Random(5), source = new MemorySource(), builder = new GraphBuilder();
  const bias = random.normals(WIDTH);
  const weight = source.add("weight", [WIDTH, WIDTH], random.normals(WIDTH * WIDTH), "I8");
  const output = builder.linear(builder.input("x", WIDTH), weight, {
    bias: source.add("bias", [WIDTH], bias),
  });
  return { graph: builder.build(output), source, bias };
}

function batchOf(numTokens: number): StepBatch {
  const zeros = new Uint32Array(numTokens);
  return {
    tokenIds: zeros,
    positions: zeros,
    slotMapping: zeros,
    queryStart: Uint32Array.of(0, numTokens),
    contextLengths: Uint32Array.of(numTokens),
    blockTables: [Uint32Array.of(0)],
    samples: [],
  };
}

async function rowsOf(plan: CpuPlan, x: Float32Array): Promise<number[][]> {
  const rows: number[][] = [];
  await plan.step(batchOf(x.length / WIDTH), (index, row) => rows[index] = [...row], { x });
  return rows;
}

for (const int8Form of INT8_FORMS) {
  Deno.test(`An int8 linear on the CPU keeps NaN and infinity in their own rows [${int8Form}]`, async () => {
    const { graph, source } = int8Linear();
    using plan = await CpuPlan.create(graph, source, { limits: LIMITS, numThreads: 2, int8Form });
    const x = new Random(6).normals(4 * WIDTH);
    const expected = await rowsOf(plan, x);
    for (const odd of [NaN, Infinity, -Infinity]) {
      for (const column of [0, 35, 36]) {
        const changed = x.slice();
        changed[WIDTH + column] = odd;
        const rows = await rowsOf(plan, changed);
        ok(rows[1].every((y) => !Number.isFinite(y)), `${odd} in column ${column} went unnoticed`);
        deepStrictEqual([rows[0], rows[2], rows[3]], [expected[0], expected[2], expected[3]]);
      }
    }
  });

  Deno.test(`An int8 linear on the CPU takes rows of zeros, and of values too small to count, as zero [${int8Form}]`, async () => {
    const { graph, source, bias } = int8Linear();
    using plan = await CpuPlan.create(graph, source, { limits: LIMITS, numThreads: 1, int8Form });
    const x = new Float32Array(2 * WIDTH).fill(1e-38, WIDTH);
    for (const row of await rowsOf(plan, x)) deepStrictEqual(row, [...bias]);
  });
}

Deno.test("CpuPlan.step() refuses a batch beyond its limits and computes the next one", async () => {
  const { graph, source } = int8Linear();
  using plan = await CpuPlan.create(graph, source, { limits: LIMITS, numThreads: 2, int8Form: "limbs" });
  const x = new Random(7).normals(9 * WIDTH);
  await rejects(rowsOf(plan, x), {
    name: "RangeError",
    message: "Cannot run step: it may have 8 tokens, received 9",
  });
  strictEqual((await rowsOf(plan, x.subarray(0, 8 * WIDTH))).length, 8);
});

Deno.test("CpuPlan's threads do not keep a process alive", async () => {
  const program = `
    import { CpuPlan } from "${new URL("../../kernels/cpu_plan.ts", import.meta.url)}";
    import { GraphBuilder } from "${new URL("../../kernels/graph_builder.ts", import.meta.url)}";
    const b = new GraphBuilder(), graph = b.build(b.gatherRows(b.input("x", 3)));
    const limits = ${JSON.stringify(LIMITS)};
    await CpuPlan.create(graph, { find() {}, readRows() {} }, { limits, numThreads: 3 });
    console.log("made");
  `;
  const config = new URL("../../deno.json", import.meta.url).pathname;
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--ext=ts", "--config", config, program],
  }).output();
  deepStrictEqual([code, new TextDecoder().decode(stdout).trim()], [0, "made"]);
});

Deno.test("fasterInt8Form() takes limbs where a product of bytes costs at most 4/3 of a multiply-add", () => {
  const formFor = (bytesMs: number, floatsMs: number) => {
    let clock = 0;
    const probes = {
      multiplyBytes: () => void (clock += bytesMs),
      multiplyFloats: () => void (clock += floatsMs),
    };
    return fasterInt8Form(measureProductRates(probes, 0, () => clock += 1e-3));
  };
  deepStrictEqual([formFor(1, 1), formFor(1.3, 1), formFor(1.4, 1), formFor(2.7, 1)], [
    "limbs",
    "limbs",
    "floats",
    "floats",
  ]);
});
