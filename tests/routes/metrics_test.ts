import assert from "node:assert/strict";
import { EngineUnavailableError, InvalidRequestError } from "../../engine/errors.ts";
import { bareKeys } from "../../routes/api_keys.ts";
import { createApp } from "../../routes/app.ts";
import { ENGINE_METRICS } from "../../routes/engine_metrics.ts";
import { Clock } from "./clock.ts";
import { FakeEngine } from "./fake_engine.ts";
import { get, openApp, post } from "./requests.ts";

type App = ReturnType<typeof openApp>;

const MODEL = 'model_name="fake/model-1",engine="0"';

async function scrape(app: App): Promise<Map<string, number>> {
  const { status, text } = await get(app, "/metrics");
  assert.equal(status, 200, text);
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(lines.map((line) => {
    const [, series, value] = /^(\S+(?:\{.*\})?) (\S+)$/.exec(line)!;
    return [series, Number(value)];
  }));
}

/** vLLM's own names and types, from its v1 metrics; llama.cpp's from its server's README. */
const PUBLISHED: [name: string, type: string][] = [
  ["vllm:num_requests_running", "gauge"],
  ["vllm:num_requests_waiting", "gauge"],
  ["vllm:kv_cache_usage_perc", "gauge"],
  ["vllm:prompt_tokens_total", "counter"],
  ["vllm:generation_tokens_total", "counter"],
  ["vllm:prefix_cache_queries_total", "counter"],
  ["vllm:prefix_cache_hits_total", "counter"],
  ["vllm:num_preemptions_total", "counter"],
  ["vllm:spec_decode_num_drafts_total", "counter"],
  ["vllm:spec_decode_num_draft_tokens_total", "counter"],
  ["vllm:spec_decode_num_accepted_tokens_total", "counter"],
  ["vllm:spec_decode_num_accepted_tokens_per_pos_total", "counter"],
  ["vllm:request_success_total", "counter"],
  ["vllm:time_to_first_token_seconds", "histogram"],
  ["vllm:inter_token_latency_seconds", "histogram"],
  ["vllm:time_per_output_token_seconds", "histogram"],
  ["vllm:e2e_request_latency_seconds", "histogram"],
  ["vllm:request_queue_time_seconds", "histogram"],
  ["vllm:request_inference_time_seconds", "histogram"],
  ["vllm:request_prefill_time_seconds", "histogram"],
  ["vllm:request_decode_time_seconds", "histogram"],
  ["vllm:request_prompt_tokens", "histogram"],
  ["vllm:request_generation_tokens", "histogram"],
  ["llamacpp:prompt_tokens_total", "counter"],
  ["llamacpp:prompt_seconds_total", "counter"],
  ["llamacpp:tokens_predicted_total", "counter"],
  ["llamacpp:tokens_predicted_seconds_total", "counter"],
  ["llamacpp:n_decode_total", "counter"],
  ["llamacpp:n_tokens_max", "counter"],
  ["llamacpp:n_busy_slots_per_decode", "gauge"],
  ["llamacpp:prompt_tokens_seconds", "gauge"],
  ["llamacpp:predicted_tokens_seconds", "gauge"],
  ["llamacpp:requests_processing", "gauge"],
  ["llamacpp:requests_deferred", "gauge"],
];

Deno.test("/metrics has the names and types that vLLM and llama.cpp publish, each once and with help", async () => {
  const app = openApp(new FakeEngine());
  await get(app, "/metrics");
  const { text, headers } = await get(app, "/metrics");
  for (const [name, type] of PUBLISHED) {
    assert.equal(text.split(`# TYPE ${name} ${type}\n`).length, 2, name);
    assert.match(text, new RegExp(`^# HELP ${name} \\S`, "m"));
  }
  assert.match(headers.get("content-type")!, /^text\/plain; version=0\.0\.4/);
  assert.match(headers.get("process-start-time-unix")!, /^\d{10}$/);
  assert.ok(ENGINE_METRICS.length >= 20);
});

Deno.test("/metrics tells the engine's counts, under every name, again at every scrape", async () => {
  const engine = new FakeEngine();
  const app = openApp(engine);
  const counts = {
    waiting: 3,
    running: 2,
    freeBlocks: 75,
    cachedBlocks: 20,
    totalBlocks: 100,
    parkedBlocks: 30,
    totalStateSlots: 64,
    freeStateSlots: 61,
    stateSnapshots: 5,
    hostBlocks: 400,
    parks: 90,
    unparks: 50,
    steps: 10,
    promptTokens: 500,
    cachedTokens: 200,
    generatedTokens: 40,
    drawnTokens: 46,
    typeThroughHits: 7,
    preemptions: 4,
    cancelled: 6,
    cancelledIn: { queue: 1, prefill: 2, decode: 3 },
    supersededIn: { queue: 4, prefill: 5, decode: 6 },
    batchSize: 5,
    stepSequences: 25,
    computedTokens: 340,
    stepMs: 1500,
    longestContext: 123,
    drafts: 8,
    draftedTokens: 30,
    acceptedTokens: 11,
    acceptedByPlace: [7, 4],
  };
  engine.statistics = { ...counts, generatedTokens: 1 };
  await scrape(app);
  engine.statistics = counts;
  const found = await scrape(app);
  const expected: [series: string, value: number][] = [
    ["hyades_type_through_hits_total", 7],
    [`vllm:num_requests_running{${MODEL}}`, 2],
    [`vllm:num_requests_waiting{${MODEL}}`, 3],
    [`vllm:kv_cache_usage_perc{${MODEL}}`, 0.25],
    [`vllm:prompt_tokens_total{${MODEL}}`, 500],
    [`vllm:prefix_cache_queries_total{${MODEL}}`, 500],
    [`vllm:prefix_cache_hits_total{${MODEL}}`, 200],
    [`vllm:generation_tokens_total{${MODEL}}`, 40],
    [`vllm:num_preemptions_total{${MODEL}}`, 4],
    [`vllm:spec_decode_num_drafts_total{${MODEL}}`, 8],
    [`vllm:spec_decode_num_draft_tokens_total{${MODEL}}`, 30],
    [`vllm:spec_decode_num_accepted_tokens_total{${MODEL}}`, 11],
    [`vllm:spec_decode_num_accepted_tokens_per_pos_total{${MODEL},position="0"}`, 7],
    [`vllm:spec_decode_num_accepted_tokens_per_pos_total{${MODEL},position="1"}`, 4],
    [`vllm:spec_decode_num_accepted_tokens_per_pos_total{${MODEL},position="14"}`, 0],
    ["llamacpp:prompt_tokens_total", 300],
    ["llamacpp:tokens_predicted_total", 40],
    ["hyades_drawn_tokens_total", 46],
    ["llamacpp:n_decode_total", 10],
    ["llamacpp:n_tokens_max", 123],
    ["llamacpp:n_busy_slots_per_decode", 2.5],
    ["llamacpp:requests_processing", 2],
    ["llamacpp:requests_deferred", 3],
    ["llamacpp:kv_cache_usage_ratio", 0.25],
    ["hyades_kv_blocks_free", 75],
    ["hyades_kv_blocks_used", 25],
    ["hyades_kv_blocks_cached", 20],
    ["hyades_kv_blocks_total", 100],
    ["hyades_state_slots_free", 61],
    ["hyades_state_snapshots", 5],
    ["hyades_state_slots_total", 64],
    ["hyades_host_blocks_used", 30],
    ["hyades_host_blocks_total", 400],
    ["hyades_parked_blocks_total", 90],
    ["hyades_unparked_blocks_total", 50],
    ["hyades_batch_size", 5],
    ["hyades_step_tokens_total", 340],
    ["hyades_step_seconds_total", 1.5],
    ['hyades_cancellations_total{stage="queue"}', 1],
    ['hyades_cancellations_total{stage="prefill"}', 2],
    ['hyades_cancellations_total{stage="decode"}', 3],
    ['hyades_superseded_total{stage="queue"}', 4],
    ['hyades_superseded_total{stage="prefill"}', 5],
    ['hyades_superseded_total{stage="decode"}', 6],
    ["hyades_ready", 1],
  ];
  for (const [series, value] of expected) assert.equal(found.get(series), value, series);
});

/** An engine whose tokens come 10 ms apart on the test's clock, the first after 30. */
function clockedEngine(clock: Clock, tokens: string[]): FakeEngine {
  return new FakeEngine(() => ({
    tokens,
    beforeToken: (index) => clock.advance(index === 0 ? 30 : 10),
  }));
}

Deno.test("/metrics has a histogram of every time that a request spends", async () => {
  const clock = new Clock();
  const app = createApp(clockedEngine(clock, ["a", "b", "c"]), { apiKeys: [], now: clock.now });
  await post(app, "/v1/completions", { prompt: "xy" });
  await post(app, "/infill", { input_prefix: "p", input_suffix: "s", stream: true });
  const found = await scrape(app);
  // Queue, prefill and decode are the fake engine's 1, 20 and 50 ms; the rest is the clock's.
  const times: [name: string, count: number, sum: number][] = [
    ["time_to_first_token", 2, 0.06],
    ["inter_token_latency", 4, 0.04],
    ["time_per_output_token", 4, 0.04],
    ["e2e_request_latency", 2, 0.1],
    ["request_queue_time", 2, 0.002],
    ["request_prefill_time", 2, 0.04],
    ["request_decode_time", 2, 0.1],
    ["request_inference_time", 2, 0.14],
  ];
  for (const [name, count, sum] of times) {
    assert.equal(found.get(`vllm:${name}_seconds_count{${MODEL}}`), count, name);
    assert.ok(Math.abs(found.get(`vllm:${name}_seconds_sum{${MODEL}}`)! - sum) < 1e-9, name);
  }
  assert.equal(found.get(`vllm:inter_token_latency_seconds_bucket{le="0.01",${MODEL}}`), 4);
  assert.equal(found.get(`vllm:inter_token_latency_seconds_bucket{le="0.005",${MODEL}}`), 0);
  assert.equal(found.get(`vllm:request_prompt_tokens_sum{${MODEL}}`), 4);
  assert.equal(found.get(`vllm:request_generation_tokens_sum{${MODEL}}`), 6);
  assert.equal(found.get("llamacpp:prompt_seconds_total"), 0.04);
  assert.equal(found.get("llamacpp:tokens_predicted_seconds_total"), 0.1);
});

Deno.test("/metrics counts completions by how they ended, all of vLLM's reasons from the first scrape on", async () => {
  const engine = new FakeEngine();
  const app = createApp(engine, { apiKeys: [], reportError: () => {} });
  const reason = (name: string) => `vllm:request_success_total{${MODEL},finished_reason="${name}"}`;
  const before = await scrape(app);
  for (const name of ["stop", "length", "abort", "error"]) assert.equal(before.get(reason(name)), 0, name);
  await post(app, "/v1/completions", { prompt: "x", n: 2 });
  engine.script = { reason: "stop", stopString: "!" };
  await post(app, "/v1/completions", { prompt: "x" });
  await post(app, "/v1/completions", { prompt: "x", max_tokens: 2 });
  engine.script = { failure: { at: 2, error: new Error("bug") } };
  await post(app, "/v1/completions", { prompt: "x" });
  await post(app, "/v1/completions", { prompt: "x", stream: true });
  engine.script = { admitted: new Promise(() => {}) };
  const abort = new AbortController();
  const left = app.request("/v1/completions", {
    method: "POST",
    body: '{"prompt":"x"}',
    headers: { "Content-Type": "application/json" },
    signal: abort.signal,
  });
  setTimeout(() => abort.abort());
  await left;
  const after = await scrape(app);
  for (const [name, count] of [["stop", 3], ["length", 1], ["abort", 1], ["error", 2]] as const) {
    assert.equal(after.get(reason(name)), count, name);
  }
});

Deno.test("/metrics counts replies with an error by status, and no refused request as one that ended", async () => {
  const engine = new FakeEngine();
  const app = createApp(engine, { apiKeys: [], reportError: () => {} });
  await get(app, "/nowhere");
  await post(app, "/v1/completions", { prompt: 7 });
  for (
    const error of [
      new EngineUnavailableError("full", "queue_full"),
      new EngineUnavailableError("gone", "failed"),
      new InvalidRequestError("long", { field: "prompt", reason: "context_length_exceeded" }),
      new Error("bug"),
    ]
  ) {
    engine.script = { failure: { at: 0, error } };
    await post(app, "/v1/completions", { prompt: "x" });
  }
  const found = await scrape(app);
  const errors = [["404", 1], ["400", 2], ["429", 1], ["503", 1], ["500", 1]] as const;
  for (const [status, count] of errors) {
    assert.equal(found.get(`hyades_http_errors_total{status="${status}"}`), count, status);
  }
  for (const reason of ["abort", "error"]) {
    assert.equal(found.get(`vllm:request_success_total{${MODEL},finished_reason="${reason}"}`), 0);
  }
  assert.equal(found.get("hyades_http_requests_in_flight"), 0);
});

Deno.test("/metrics answers while the model loads, and when it has failed", async () => {
  const engine = new FakeEngine();
  const app = openApp(engine);
  engine.state = { phase: "loading", progress: 0 };
  const loading = await scrape(app);
  assert.equal(loading.get("hyades_ready"), 0);
  assert.ok(loading.get("process_resident_memory_bytes")! > 1e6);
  assert.equal(loading.has("llamacpp:n_decode_total"), true, "a counter without labels starts at 0");
  engine.state = { phase: "ready" };
  engine.stats = () => Promise.reject(new EngineUnavailableError("broken", "failed"));
  assert.equal((await scrape(app)).get("hyades_ready"), 1);
});

Deno.test("/metrics needs the API key where there is one", async () => {
  const app = createApp(new FakeEngine(), { apiKeys: bareKeys(["k"]) });
  assert.equal((await get(app, "/metrics")).status, 401);
  assert.equal((await get(app, "/metrics", { Authorization: "Bearer k" })).status, 200);
});
