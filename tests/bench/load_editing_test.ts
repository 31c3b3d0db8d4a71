// The editors of the keystroke replay: what a buffer holds and sends, what a trace types, what a report shows.
import assert from "node:assert/strict";
import { applyAction, editTrace, type KeyPress } from "../../bench/load/edit_trace.ts";
import { EditorBuffer } from "../../bench/load/editor_buffer.ts";
import { htmlReport } from "../../bench/load/html_report.ts";
import { randomJob } from "../../bench/load/random_job.ts";
import { SeededRandom } from "../../bench/load/seeded_random.ts";
import { linearTicks, logTicks, svgChart } from "../../bench/load/svg_chart.ts";
import fc from "../fast_check.ts";

const LINES = [
  "function add(a, b) {",
  "  return a + b;",
  "}",
  "",
  "export const three = add(1, 2);",
  "// 🙂 end",
];

function take(seed: number, count: number): KeyPress[] {
  return editTrace(LINES, new SeededRandom(seed)).take(count).toArray();
}

Deno.test("editTrace() is the same for a seed, at a person's speed, with every kind of action", () => {
  assert.deepEqual(take(5, 300), take(5, 300));
  const presses = take(5, 3000), kinds = new Set(presses.map(({ action }) => action.kind));
  const all = ["accept", "backspace", "deleteLine", "jump", "openLine", "type", "undo"];
  assert.deepEqual([...kinds].sort(), all);
  const gaps = presses.map(({ gapMs }) => gapMs).sort((a, b) => a - b);
  assert.ok(gaps[0] > 0 && gaps[1500] > 150 && gaps[1500] < 300 && gaps.at(-1)! <= 8000);
});

Deno.test("editTrace() rewrites the file as it was, where nothing is accepted", () => {
  fc.assert(fc.property(fc.nat(), (seed) => {
    const buffer = new EditorBuffer(LINES.join("\n"));
    for (const { action } of take(seed, 400)) {
      // At a jump the edit before is done; an accept of nothing changes nothing.
      if (action.kind === "jump") assert.equal(buffer.text.trimEnd(), LINES.join("\n"));
      applyAction(buffer, action, "");
    }
  }));
});

Deno.test("EditorBuffer: undo takes back every change, and a cursor never parts a character", () => {
  const actions = fc.array(fc.oneof(
    fc.record({ kind: fc.constant("type" as const), text: fc.string({ unit: "grapheme" }) }),
    fc.record({ kind: fc.constantFrom("backspace", "deleteLine", "openLine", "accept" as const) }),
  ));
  fc.assert(fc.property(actions, fc.nat(9), (actions, line) => {
    const buffer = new EditorBuffer(LINES.join("\n"));
    buffer.jumpToLine(line);
    const { cursor } = buffer;
    for (const action of actions) {
      applyAction(buffer, action, "🙂\n");
      assert.ok(buffer.text.isWellFormed() && buffer.text.slice(0, buffer.cursor).isWellFormed());
    }
    for (const _ of actions) buffer.undo();
    assert.deepEqual([buffer.text, buffer.cursor], [LINES.join("\n"), cursor]);
  }));
});

Deno.test("EditorBuffer.job() sends whole lines around the cursor, all of the text where they suffice", () => {
  fc.assert(fc.property(fc.nat(), fc.nat(3), fc.nat(3), (seed, linesBefore, linesAfter) => {
    const files = [{ path: "a.ts", lines: LINES }];
    const narrow = randomJob(files, new SeededRandom(seed), { linesBefore, linesAfter }, 1);
    const wide = randomJob(files, new SeededRandom(seed), { linesBefore: 99, linesAfter: 99 }, 1);
    assert.equal(wide.before + wide.lineStart + wide.after, LINES.join("\n"));
    assert.ok(wide.before.endsWith(narrow.before) && wide.after.startsWith(narrow.after));
    assert.ok(narrow.before.split("\n").length <= linesBefore + 1);
    assert.ok(narrow.after.split("\n").length <= linesAfter + 1);
  }));
});

Deno.test("ticks enclose the values in few steps", () => {
  const values = fc.double({ min: 1e-3, max: 1e6, noNaN: true });
  fc.assert(fc.property(values, values, (a, b) => {
    const low = Math.min(a, b), high = Math.max(a, b);
    for (const ticks of [linearTicks(high), logTicks(low, high)]) {
      assert.ok(ticks.length >= 2 && ticks.length <= 12, `${ticks}`);
      assert.ok(ticks[0] <= low * 1.001 && ticks.at(-1)! >= high * 0.999, `${ticks} for ${low} to ${high}`);
    }
  }));
});

Deno.test("htmlReport() escapes, loads nothing, and draws charts without points", () => {
  const chart = { name: "c", title: "<c>", x: { label: "s" }, y: { label: "ms", log: true }, series: [] };
  const page = htmlReport({
    mode: "soak",
    command: "deno task load soak --extra '<script>'",
    machine: { cpu: "c", cores: 1, os: "o", deno: "d", commit: "e", date: "f" },
    tables: [{ title: "t", columns: ["a"], rows: [["<b>"], [undefined], [1.234]] }],
    charts: [chart, { ...chart, series: [{ label: "x", points: [[1, 2], [3, 4]] }] }],
    notes: [],
    records: [],
    faults: ["f & g"],
  });
  assert.ok(!/<script|<b>|<c>|NaN|undefined/.test(page));
  assert.ok(!/\b(?:src|href)=|@import|url\(/.test(page));
  assert.match(svgChart(chart), /^<svg [^]*<\/svg>$/);
});

Deno.test("svgChart() has its light colours outside of style sheets, and room for the last tick's number", () => {
  const svg = svgChart({
    ...{ name: "c", title: "t", x: { label: "ms", log: true }, y: { label: "%" } },
    series: [{ label: "x", points: [[1, 2], [100_000, 4]] }],
    marks: [{ x: 10, label: "m" }],
  });
  const shapes = svg.replace(/<style>[^]*<\/style>/, "").match(/<(?:text|path|rect|line)[^>]*>/g)!;
  for (const shape of shapes) assert.match(shape, /(?:fill|stroke)="#[0-9a-f]{3,6}"/);
  const [, right] = /x="([\d.]+)" y="[\d.]+">100,000</.exec(svg)!;
  assert.ok(Number(right) + 22 <= 640, right);
});
