// What the dashboard makes of /metrics, on what the server really writes there.
import assert from "node:assert/strict";
import { createApp } from "../../routes/app.ts";
import { parseMetrics, quantileBetween } from "../../clients/playground/src/metrics_text.ts";
import { type Reading, ServerReadings } from "../../clients/playground/src/server_readings.ts";
import { FakeEngine } from "../routes/fake_engine.ts";
import { get, post } from "../routes/requests.ts";

Deno.test("parseMetrics() adds the series of several models up, of histograms bound by bound", () => {
  const series = (model: string, [low, high]: readonly [number, number]) => [
    `n{model_name="${model}"} ${high}`,
    `t_bucket{le="0.5",model_name="${model}"} ${low}`,
    `t_bucket{le="+Inf",model_name="${model}"} ${high}`,
  ];
  const metrics = parseMetrics([...series("a", [1, 3]), ...series("b", [4, 5])].join("\n"));
  assert.equal(metrics.value("n"), 8);
  assert.deepEqual(metrics.buckets("t"), [{ bound: 0.5, count: 5 }, { bound: Infinity, count: 8 }]);
});

Deno.test("ServerReadings makes rates, batches and latencies of two readings of /metrics", async () => {
  const engine = new FakeEngine(), app = createApp(engine, { apiKeys: [] }), readings = new ServerReadings();
  const read = async (at: number) => readings.add(at, parseMetrics((await get(app, "/metrics")).text));
  const { statistics: none } = engine;
  assert.equal(await read(10), undefined, "one reading says nothing");
  engine.statistics = {
    ...none,
    ...{ generatedTokens: 40, promptTokens: 300, cachedTokens: 200, steps: 10, stepSequences: 25 },
    ...{ computedTokens: 150, stepMs: 1500, running: 3, waiting: 2 },
  };
  for (let i = 0; i < 3; i++) await post(app, "/infill", { input_prefix: "a", input_suffix: "b" });
  const { firstTokenMedianMs, firstTokenP95Ms, betweenTokensMedianMs, ...rest } = (await read(12))!;
  const expected: Partial<Reading> = {
    ...{ at: 12, newTokens: 20, computedPromptTokens: 50, cachedPromptTokens: 100 },
    ...{ batch: 2.5, rows: 15, busy: 0.75, running: 3, waiting: 2 },
  };
  assert.deepEqual(rest, expected);
  for (const ms of [firstTokenMedianMs, firstTokenP95Ms, betweenTokensMedianMs]) {
    assert.ok(ms! >= 0 && ms! < 1000);
  }
  const idle = (await read(13))!;
  assert.deepEqual([idle.newTokens, idle.batch, idle.busy], [0, 0, 0]);
  assert.equal(
    (await read(60))!.firstTokenMedianMs,
    undefined,
    "what is older than half a minute is no more told",
  );
  engine.statistics = none;
  assert.equal(await read(61), undefined, "the server was started anew");
});

Deno.test("quantileBetween() counts only what was added, and draws lines within buckets", () => {
  const before = [{ bound: 1, count: 5 }, { bound: 2, count: 5 }, { bound: Infinity, count: 5 }];
  const after = [{ bound: 1, count: 5 }, { bound: 2, count: 15 }, { bound: Infinity, count: 15 }];
  assert.equal(quantileBetween(before, after, 0.5), 1.5);
  assert.equal(quantileBetween([], after, 0.2), 0.6);
  assert.equal(quantileBetween(after, after, 0.5), undefined);
  assert.equal(quantileBetween([], [{ bound: 1, count: 0 }, { bound: Infinity, count: 4 }], 0.5), 1);
});
