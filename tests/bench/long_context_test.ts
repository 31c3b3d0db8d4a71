// What bench/gpu/long_context.sh and generation.ts make of figures and of a GPU's memory.
import { deepEqual, match, ok } from "node:assert/strict";
import { fit, fittingCases, type Room } from "../../bench/gpu/generation/fitting.ts";
import { chartOf, formatTables, type Line } from "../../bench/gpu/long_context_table.ts";
import { readJson } from "../../bench/gpu/json_lines.ts";

const ROOM: Room = { blockBytes: 100, stateBytes: 7, maxBlocks: 255, keptBytes: 30_000 };

Deno.test("fit() counts blocks and states, and gives up one of many blocks that is in the way", () => {
  deepEqual(fit(64, 3, ROOM), { context: 64, batch: 3, blocks: 4, bytes: 3 * 407 });
  deepEqual(fit(1030, 3, ROOM), { context: 1030, batch: 3, blocks: 65, bytes: 3 * 6507 });
  deepEqual(fit(1024, 4, ROOM), { context: 1008, batch: 4, blocks: 63, bytes: 4 * 6307 });
});

Deno.test("fit() says what does not fit, and why", () => {
  const refused = (context: number, batch: number, room: Room) => {
    const one = fit(context, batch, room);
    return "reason" in one ? [one.bytes, one.reason] : one;
  };
  deepEqual(refused(16, 300, ROOM), [32_100, "takes 0.0000321 GB, there is room for 0.0000300 GB"]);
  deepEqual(refused(16, 256, ROOM), [
    27_392,
    "takes 0.0000274 GB, and of a layer more than WebGPU binds here",
  ]);
  deepEqual(fit(1600, 3, { ...ROOM, blockBytes: 0 }), { context: 1600, batch: 3, blocks: 100, bytes: 21 });
});

Deno.test("fittingCases() has the largest batch that fits after one that does not, none twice", () => {
  const cases = fittingCases([16, 160], [1, 64], ROOM).map((
    one,
  ) => [one.context, one.batch, "reason" in one ? "refused" : one.blocks]);
  deepEqual(cases, [[16, 1, 1], [16, 64, 1], [160, 1, 10], [160, 64, "refused"], [160, 25, 10]]);
  const single = fittingCases([160], [1, 2], { ...ROOM, keptBytes: 1100 });
  deepEqual(single.map(({ batch }) => batch), [1, 2]);
});

const OPERATORS: Line[] = [
  ...[[2048, 1], [8192, 6]].map(([length, ms]) =>
    ({ kind: "operator", by: "hyades", operator: "attention", width: 8, length, ms }) as const
  ),
  { kind: "operator", by: "hyades", operator: "hyena", width: 8, length: 8192, ms: 2 },
  { kind: "operator", by: "pytorch", operator: "convolution", width: 8, length: 8192, ms: 1 },
];
const GENERATION: Line[] = [
  {
    kind: "generation",
    family: "multi-head",
    context: 8176,
    batch: 64,
    ms: 10,
    tokensPerSecond: 6400,
    bytes: 1e11,
    otherBytes: 3e9,
  },
  { kind: "generation", family: "multi-head", context: 32768, batch: 64, bytes: 4e11, reason: "too large" },
  {
    kind: "generation",
    family: "h3",
    context: 8192,
    batch: 64,
    ms: 4,
    tokensPerSecond: 16000,
    bytes: 9e9,
    otherBytes: 3e9,
  },
];

Deno.test("formatTables() has what there is, beside what is asked for", () => {
  const tables = formatTables([...OPERATORS, ...GENERATION]);
  match(tables, /\| tokens \| attention, ours \| Hyena, ours \| FFT convolution, PyTorch \|/);
  match(tables, /\| 8192 \| 6\.00 \| 2\.00 \| 1\.00 \|/);
  match(tables, /\| 2048 \| 1\.00 \| - \| - \|/);
  match(tables, /\| attention, ours \| 8192 \| 3\.00 \| 2 \| reached \|/);
  match(tables, /\| FFT convolution, PyTorch \| 8192 \| 0\.50 \| 1 \| short \|/);
  match(tables, /\| multi-head \| 32768 \| 64 \| does not fit: too large \|/);
  match(tables, /\| h3 \| 8192 \| 64 \| 16000 \| 4\.00 \| 2\.50 \| 9\.00 \| 3\.00 \|/);
  match(tables, /h3 generates 2\.50 times as fast as multi-head .* reached\./);
  ok(formatTables([]).includes("| tokens |"));
});

Deno.test("formatTables() says from which length online sums are faster", () => {
  const line = (context: number, us: number): Line => {
    return { kind: "online", context, batch: 1, window: 128, directUs: 10, us };
  };
  const tables = formatTables([line(1024, 20), line(2048, 5), line(4096, 4)]);
  match(tables, /\| 2048 \| 1 \| 128 \| 10\.0 \| 5\.00 \| 2\.00 \|/);
  match(tables, /At batch 1 online is faster from 2048 tokens on/);
  match(formatTables([line(1024, 20)]), /faster at none/);
});

Deno.test("chartOf() has a series for each operator, by length", () => {
  const [attention] = chartOf(OPERATORS.toReversed()).series;
  deepEqual(attention, { label: "attention, ours", points: [[2048, 1], [8192, 6]] });
});

Deno.test("readJson() takes whole lines of JSON and nothing else", async () => {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, '{"a":1}\n# {"b":2}\n\n{"c":3}\n{"d":');
  deepEqual(await readJson(path), [{ a: 1 }, { c: 3 }]);
  await Deno.remove(path);
  deepEqual(await readJson(path), []);
});
