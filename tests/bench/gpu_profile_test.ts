// What bench/gpu/profile.ts makes of profiles: kinds beside the roofline, and a trace.
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { chromeTrace, type CompleteEvent } from "../../bench/gpu/chrome_trace.ts";
import { formatKinds, kindOf, kindsOf, passUs } from "../../bench/gpu/profile_table.ts";
import { leastTime, type Roofline } from "../../bench/gpu/roofline.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import type { DispatchTime, StepProfile } from "../../kernels/step_profile.ts";
import { gpuTest } from "../gpus.ts";
import { Random, testSeed } from "../kernels/random.ts";
import { buildTwoLayers, stepOf } from "../kernels/two_layers.ts";

/** 1 TB/s, 100 TFLOP/s on matrix units, 10 without. */
const ROOFLINE: Roofline = { bandwidth: 1e12, rates: { matrix: 1e14, f32: 1e13 } };

Deno.test("kindOf() folds layers and nothing else", () => {
  const kinds = [
    [
      "linear h.7.back.weight, sum of parts, h.8.ln_1.weight",
      "linear h.back.weight, sum of parts, h.ln_1.weight",
    ],
    ["linear h.11.mlp.2.weight, matrix units, 128x64", "linear h.mlp.2.weight, matrix units, 128x64"],
    ["linear h.0.fc.weight, 8 rows", "linear h.fc.weight, 8 rows"],
    ["attention 23 split, matrix units", "attention split, matrix units"],
    ["linear wte.weight, 1 rows", "linear wte.weight, 1 rows"],
  ];
  deepEqual(kinds.map(([label]) => kindOf(label)), kinds.map(([, kind]) => kind));
});

Deno.test("leastTime() takes the longer of memory's time and the time of what does the arithmetic", () => {
  const work = { bytes: 3e6, flop: 2e8 } as const;
  deepEqual(leastTime({ ...work, units: "f32" }, ROOFLINE), { us: 20, bound: "f32" });
  deepEqual(leastTime({ ...work, units: "matrix" }, ROOFLINE), { us: 3, bound: "memory" });
  deepEqual(leastTime({ bytes: 0, flop: 2e8, units: "matrix" }, ROOFLINE), { us: 2, bound: "matrix" });
});

/** Of two layers, each a product and one that moves; `slower`: how many times as slow. */
function profile(slower: number): StepProfile {
  const labels = ["linear h.0.w, 1 rows", "attention 0 merge", "linear h.1.w, 1 rows", "attention 1 merge"];
  let begin = 0;
  const after = (label: string, us: number): DispatchTime => {
    const dispatch = { label, begin, end: begin + us * 1000 };
    begin = dispatch.end + 500;
    return dispatch;
  };
  const dispatches = labels.map((label, i) =>
    i % 2
      ? { ...after(label, 7 * slower), work: { bytes: 1e6, flop: 0, units: "f32" as const } }
      : { ...after(label, 17 * slower), work: { bytes: 4e6, flop: 5e7, units: "f32" as const } }
  );
  return { start: 1000n, dispatches, empty: [after("empty", 6.8), after("empty", 7), after("empty", 30)] };
}

Deno.test("kindsOf() takes medians, folds layers and leaves out what an empty dispatch takes", () => {
  const profiles = [profile(1), profile(1), profile(9)];
  equal(passUs(profiles), 7);
  deepEqual(kindsOf(profiles, ROOFLINE), [
    {
      kind: "linear h.w, 1 rows",
      count: 2,
      us: 34,
      workUs: 20,
      need: { bytes: 8e6, flop: 1e8, us: 10, bound: "f32" },
    },
    {
      kind: "attention merge",
      count: 2,
      us: 14,
      workUs: 0,
      need: { bytes: 2e6, flop: 0, us: 2, bound: "memory" },
    },
  ]);
});

Deno.test("formatKinds() gives rates of the work alone, none where passes hide it, and the sum", () => {
  const kinds = kindsOf([profile(1)], ROOFLINE);
  const rows = formatKinds([...kinds, { kind: "unknown", count: 1, us: 10, workUs: 3, need: undefined }], 7)
    .split("\n").slice(2).map((row) => row.split("|").slice(1, -1).map((cell) => cell.trim()));
  deepEqual(rows, [
    ["linear h.w, 1 rows", "2", "17.00", "34", "20", "0.400", "5.00", "50.0 %", "f32"],
    ["attention merge", "2", "7.00", "14", "0", "", "", "", "memory"],
    ["unknown", "1", "10.00", "10", "3", "", "", "", ""],
    ["all", "5", "11.60", "58", "23", "0.435", "4.35", "52.2 %", "f32"],
  ]);
});

gpuTest("chromeTrace() holds what the table sums up, step after step", { profile: "fast" }, async (gpu) => {
  const { graph, source, limits } = buildTwoLayers(new Random(testSeed()));
  using plan = await GpuPlan.create(gpu, graph, source, {
    limits,
    kvType: "f16",
    sampling: { suppressed: [] },
  });
  const batch = stepOf([12, 40], [9, 1]);
  const profiles = await Promise.all([plan.profile(batch), plan.profile(batch), plan.profile(batch)]);
  const { traceEvents } = JSON.parse(chromeTrace(profiles.toReversed(), "a GPU"));
  const [named, ...events] = traceEvents as [{ ph: string; args: { name: string } }, ...CompleteEvent[]];
  deepEqual([named.ph, named.args.name], ["M", "a GPU"]);
  for (const { ph, pid, tid, ts, dur } of events) {
    deepEqual([ph, pid, tid], ["X", 0, 0]);
    ok(ts >= 0 && dur >= 0);
  }
  const steps = events.filter(({ cat }) => cat === "step");
  deepEqual(steps.map(({ name }) => name), ["step 0", "step 1", "step 2"]);
  profiles.forEach((profile, i) => {
    const { ts, dur } = steps[i], end = steps[i + 1]?.ts ?? Infinity;
    const within = events.filter((event) => event.cat === "dispatch" && event.ts >= ts && event.ts < end);
    equal(within.length, profile.dispatches.length);
    ok(within.every((event) => event.ts + event.dur <= ts + dur + 1e-3));
    for (const { kind, us, count } of kindsOf([profile], ROOFLINE)) {
      const ofKind = within.filter(({ name }) => name === kind);
      equal(ofKind.length, count);
      ok(Math.abs(ofKind.reduce((sum, event) => sum + event.dur, 0) - us) < 1e-3, kind);
      match(String(ofKind[0].args?.bytes), /^\d+$/);
    }
  });
});
