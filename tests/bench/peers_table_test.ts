// The table of bench/gpu/peers.sh, from logs as its steps leave them.
import assert from "node:assert/strict";
import { join } from "node:path";
import { chartOf, formatTable, readTimings, rowsAt } from "../../bench/gpu/peers_table.ts";

const LOGS = {
  "ours.jsonl": [
    { label: "random on dawn", batch: 1, context: 512, decodeMs: 2, prefillMs: 9 },
    { label: "random on dawn", batch: 32, context: 512, decodeMs: 4, prefillMs: 400 },
    { label: "random on dawn", batch: 1, context: 512, prefillMs: 8 },
  ],
  "pytorch.log": [
    {
      peer: "pytorch",
      version: "2",
      dtype: "float16, graph",
      batch: 1,
      context: 512,
      decode_ms: 3,
      prefill_ms: 1,
    },
    { peer: "pytorch", version: "2", dtype: "float16, eager", batch: 1, context: 512, prefill_ms: 4 },
    { peer: "pytorch", version: "2", dtype: "float16, graph", batch: 1, context: 512, prefill_ms: 2 },
  ],
  "llama.log": [
    { pl: 32, pp: 512, tg: 64, t_pp: 1, t_tg: 1 },
    {
      peer: "llama.cpp, Vulkan",
      version: "0",
      dtype: "f16",
      batch: 32,
      context: 512,
      decode_ms: 8,
      prefill_ms: 320,
    },
  ],
};

async function logged() {
  const folder = await Deno.makeTempDir();
  for (const [name, lines] of Object.entries(LOGS)) {
    const text = ["loading ...", ...lines.map((line) => JSON.stringify(line))].join("\n");
    await Deno.writeTextFile(join(folder, name), text);
  }
  const timings = await readTimings(folder);
  await Deno.remove(folder, { recursive: true });
  return timings;
}

Deno.test("formatTable() has their time over ours, beside what is asked for, and no rows of who is missing", async () => {
  const rows = formatTable(await logged(), rowsAt(512)).split("\n").slice(2);
  const cells = rows.map((row) => row.split("|").map((cell) => cell.trim()).slice(1, -1));
  assert.deepEqual(
    cells.map(([what, peer, , , ratio, must, verdict]) => [what, peer, ratio, must, verdict]),
    [
      ["decode, batch 1", "pytorch 2 (float16, graph)", "1.50", "1.4", "reached"],
      ["prefill, 1 x 512", "pytorch 2 (float16, eager)", "0.50", "0.5", "reached"],
      ["prefill, 1 x 512", "pytorch 2 (float16, graph)", "0.25", "", ""],
      ["decode, batch 32", "llama.cpp, Vulkan 0 (f16)", "2.00", "3", "short"],
      ["prefill, 32 x 512", "llama.cpp, Vulkan 0 (f16)", "0.80", "0.6", "reached"],
    ],
  );
  assert.deepEqual(cells[3].slice(2, 4), ["4.00 ms, 8000 token/s", "8.00 ms, 4000 token/s"]);
});

Deno.test("chartOf() has tokens a second by batch, of who has some", async () => {
  const { series } = chartOf(await logged(), 512);
  assert.deepEqual(series.map(({ label, points }) => [label, points]), [
    ["Hyades", [[1, 500], [32, 8000]]],
    ["PyTorch, whole step in a CUDA graph", [[1, 1000 / 3]]],
    ["llama.cpp, Vulkan", [[32, 4000]]],
  ]);
});
