// The second table of bench/gpu/run_all.sh, from what its parts leave in a folder.
import { deepEqual } from "node:assert/strict";
import { join } from "node:path";
import { formatAsked, readAsked } from "../../bench/gpu/asked_table.ts";

const FILES = {
  "int4.jsonl": [
    { label: "random on dawn (card)", batch: 1, context: 512, decodeMs: 3, weightBytes: 1e9 },
    { label: "random on dawn (card)", batch: 1, context: 512, decodeMs: 1.24, weightBytes: 1e9 },
    { label: "random on dawn (card)", batch: 8, context: 512, decodeMs: 9, weightBytes: 1e9 },
    { label: "random on dawn (card)", batch: 1, context: 512, prefillMs: 8 },
    { label: "random-int4 on dawn (card)", batch: 1, context: 512, decodeMs: 0.8, weightBytes: 3e8 },
    { label: "random-int4 on webgpu (card)", batch: 1, context: 512, decodeMs: 7, weightBytes: 3e8 },
  ],
  "large.jsonl": [
    { label: "large on dawn (card)", batch: 1, context: 512, decodeMs: 10, weightBytes: 2.15e10 },
    { label: "large-int4 on dawn (card)", batch: 1, context: 512, decodeMs: 5, weightBytes: 8e9 },
  ],
  "gemm.jsonl": [
    { profile: "fast", shape: "2048x8192x2048", type: "f16", kernel: "halves", us: 16 },
    {
      profile: "fast",
      shape: "2048x8192x2048",
      type: "f16",
      kernel: "matrix units",
      us: 350,
      teraflops: 196.4,
    },
    { profile: "safe", shape: "2048x8192x2048", type: "f16", kernel: "tiled", us: 2600, teraflops: 26.4 },
  ],
  "server.jsonl": [{ loop: { tokensPerSecond: 1000 }, engine: 900, server: { tokensPerSecond: 840 } }],
  "greedy.jsonl": [
    { label: "random on dawn", tokens: 64, equal: true },
    { label: "random on dawn", batch: 1, context: 64, decodeMs: 1, weightBytes: 1e9 },
    { label: "random on webgpu", tokens: 64, equal: false },
  ],
};
const LOGS = {
  kernels: "ok | 3 passed | 0 failed (1s)\nok | 162 passed | 0 failed | 90 filtered out (2m32s)\n",
  models: "FAILED | 170 passed | 2 failed | 347 filtered out (1m27s)\n",
};

async function formatted(names: readonly string[]) {
  const folder = await Deno.makeTempDir();
  for (const [name, lines] of Object.entries(FILES)) {
    if (!names.includes(name)) continue;
    await Deno.writeTextFile(join(folder, name), lines.map((line) => JSON.stringify(line)).join("\n"));
  }
  for (const [suite, log] of Object.entries(LOGS)) {
    if (!names.includes(suite)) continue;
    await Deno.mkdir(join(folder, suite));
    await Deno.writeTextFile(join(folder, suite, "suites.log"), log);
  }
  const table = formatAsked(await readAsked(folder));
  await Deno.remove(folder, { recursive: true });
  return table.split("\n").slice(2).map((row) => row.split("|").map((cell) => cell.trim()).slice(1, -1));
}

Deno.test("readAsked() has the latest figures beside what is asked for", async () => {
  deepEqual(await formatted([...Object.keys(FILES), ...Object.keys(LOGS)]), [
    ["15.5 B, f16, batch 1: share of the bandwidth", "0.500", "0.7", "short"],
    ["int4 against f16, 1.1 B, batch 1", "1.55", "1.5", "reached"],
    ["int4 against f16, 15.5 B, batch 1", "2.00", "2.5", "short"],
    ["product of 2048x8192x2048, TFLOP/s", "196", "80", "reached"],
    ["whole server: share of the bare loop", "0.840", "0.85", "short"],
    ["64 greedy tokens, random on dawn", "the reference's", "", "reached"],
    ["64 greedy tokens, random on webgpu", "others", "", "short"],
    ["tests/kernels", "162 passed, 0 failed", "", "reached"],
    ["tests/models", "170 passed, 2 failed", "", "short"],
  ]);
});

Deno.test("readAsked() has no rows of parts that were not run", async () => {
  deepEqual(await formatted(["large.jsonl", "models"]), [
    ["15.5 B, f16, batch 1: share of the bandwidth", "0.500", "0.7", "short"],
    ["int4 against f16, 15.5 B, batch 1", "2.00", "2.5", "short"],
    ["tests/models", "170 passed, 2 failed", "", "short"],
  ]);
  deepEqual(await formatted([]), []);
});
