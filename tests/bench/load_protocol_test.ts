// What the load test sends and reads: event streams, dialects, metrics, and whom it may be put on.
import assert from "node:assert/strict";
import { dialectOf } from "../../bench/load/dialect.ts";
import { parseOptions } from "../../bench/load/options.ts";
import { pooledReplays } from "../../bench/load/pooled_replays.ts";
import { countersOf, growth, parseMetrics } from "../../bench/load/server_counters.ts";
import { SseParser } from "../../bench/load/sse_parser.ts";
import { requireLoopback } from "../../bench/load/target.ts";
import fc from "../fast_check.ts";

function parse(bytes: Uint8Array, cuts: readonly number[]): string[] {
  const parser = new SseParser();
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
  const events = places.slice(1).flatMap((end, i) => parser.push(bytes.subarray(places[i], end)));
  return [...events, ...parser.end()];
}

Deno.test("SseParser reads the same events wherever the chunks are cut, with any line end", () => {
  const texts = fc.array(fc.string({ unit: "grapheme", minLength: 1 }).map((text) => JSON.stringify(text)));
  const cuts = fc.array(fc.nat(1000));
  fc.assert(fc.property(texts, cuts, fc.constantFrom("\n", "\r\n", "\r"), (texts, cuts, end) => {
    const stream = texts.map((text) => `: comment${end}data: ${text}${end}${end}`).join("");
    assert.deepEqual(parse(new TextEncoder().encode(stream), cuts), texts);
  }));
});

Deno.test("SseParser takes data without a blank, several lines of it, and a last event without its end", () => {
  const stream = "event: x\ndata:a\ndata: b\n\n\n\ndata: [DONE]";
  assert.deepEqual(parse(new TextEncoder().encode(stream), []), ["a\nb", "[DONE]"]);
});

const JOB = { before: "a\n", lineStart: "b", after: "c\n", maxTokens: 4 };

Deno.test("dialectOf() speaks /infill, /v1/completions with a suffix, and StarCoder's tokens in a prompt", () => {
  const infill = dialectOf({ dialect: "infill", suffixForm: "field", extra: { fim_layout: "psm" } });
  assert.partialDeepStrictEqual(infill.body(JOB, true), {
    ...{ input_prefix: "a\n", prompt: "b", input_suffix: "c\n", n_predict: 4, stream: true },
    fim_layout: "psm",
  });
  const field = dialectOf({ dialect: "openai", suffixForm: "field", extra: {} });
  assert.partialDeepStrictEqual(field.body(JOB, false), { prompt: "a\nb", suffix: "c\n", max_tokens: 4 });
  const tokens = dialectOf({ dialect: "openai", suffixForm: "tokens", model: "m", extra: {} });
  assert.partialDeepStrictEqual(tokens.body(JOB, true), {
    prompt: "<fim_prefix>a\nb<fim_suffix>c\n<fim_middle>",
    model: "m",
    stream_options: { include_usage: true },
  });
});

Deno.test("Dialect.piece() reads text, end and cached tokens, and throws at an error", () => {
  const infill = dialectOf({ dialect: "infill", suffixForm: "field", extra: {} });
  assert.deepEqual(infill.piece({ content: "x", stop: false }), { text: "x", done: false });
  assert.deepEqual(infill.piece({ content: "", stop: true, timings: { prompt_n: 3, cache_n: 7 } }), {
    ...{ text: "", done: true, promptTokens: 10, cachedTokens: 7 },
  });
  const openai = dialectOf({ dialect: "openai", suffixForm: "field", extra: {} });
  assert.deepEqual(openai.piece({ choices: [{ text: "x", finish_reason: "stop" }], usage: null }), {
    ...{ text: "x", done: true },
  });
  assert.deepEqual(openai.piece({ choices: [], usage: { prompt_tokens: 5 } }), {
    ...{ text: "", done: false, promptTokens: 5 },
  });
  assert.throws(() => openai.piece({ error: { message: "no" } }), /ended with an error/);
});

Deno.test("parseMetrics() adds labels up and skips comments", () => {
  const text = '# HELP a b\n# TYPE a counter\na{x="1",y="} 2"} 3\na{x="2"} 4.5\nb 1e3 1700000000\nc NaN\n';
  assert.deepEqual([...parseMetrics(text)], [["a", 7.5], ["b", 1000]]);
});

Deno.test("countersOf() counts prefilled tokens by llama.cpp's name, else by vLLM's", () => {
  const vllm = 'vllm:prompt_tokens_total{m="a"} 100\nvllm:prefix_cache_hits_total{m="a"} 60\n';
  assert.equal(countersOf(vllm).prefilledTokens, 40);
  assert.equal(countersOf(`${vllm}llamacpp:prompt_tokens_total 38\n`).prefilledTokens, 38);
  assert.equal(countersOf("").prefilledTokens, undefined);
});

Deno.test("countersOf() has tokens of broken-off prompts too: of Hyades by its steps, of llama.cpp by its counter", () => {
  // 100 rows, 30 tokens drawn of which 4 came of their prompts' last rows; one more answer needed no rows.
  const hyades =
    "hyades_step_tokens_total 100\nhyades_drawn_tokens_total 30\nvllm:generation_tokens_total 26\n" +
    "llamacpp:prompt_tokens_total 50\n" +
    "vllm:time_to_first_token_seconds_count 5\nhyades_type_through_hits_total 1\n";
  assert.equal(countersOf(hyades).computedPromptTokens, 74);
  const llama = "llamacpp:prompt_tokens_total 38\n";
  assert.equal(countersOf(llama).computedPromptTokens, undefined);
  assert.partialDeepStrictEqual(countersOf(`${llama}llamacpp:prompt_tokens_cached_total 62\n`), {
    ...{ computedPromptTokens: 38, cachedTokens: 62, queriedTokens: 100 },
  });
});

Deno.test("pooledReplays() puts rounds of one server together and adds its counters up", () => {
  const replay = { label: "a", editors: 1, flood: 0, startedAt: 100, outcomes: [], samples: [] };
  const counters = (tokens: number) => countersOf(`llamacpp:prompt_tokens_total ${tokens}\n`);
  const rounds = [
    { ...replay, accepted: 1, floodCompleted: 0, before: counters(0), after: counters(7) },
    { ...replay, label: "b", accepted: 5, floodCompleted: 0, before: undefined, after: undefined },
    { ...replay, accepted: 2, floodCompleted: 0, before: counters(3), after: counters(5) },
  ];
  const [a, b] = pooledReplays(rounds);
  assert.deepEqual([a.label, a.accepted, b.label, b.accepted], ["a", 3, "b", 5]);
  assert.equal(growth("prefilledTokens", a.before, a.after), 9);
  assert.equal(growth("prefilledTokens", b.before, b.after), undefined);
});

Deno.test("requireLoopback() lets this machine alone through", () => {
  for (const url of ["http://127.0.0.1:1", "http://localhost:8012/", "http://[::1]:1"]) requireLoopback(url);
  for (const url of ["http://10.0.0.1", "http://127.0.0.1.example.org", "https://example.org", "nonsense"]) {
    assert.throws(() => requireLoopback(url), RangeError);
  }
});

Deno.test("parseOptions() takes flags of a server as they are, and names what is wrong", () => {
  const options = parseOptions([
    "keystrokes",
    "--serve",
    "--device cpu",
    "--editors",
    "1,8",
    "--speed",
    "2.5",
  ])!;
  assert.deepEqual([options.target.serve, options.editors, options.speed], [["--device cpu"], [1, 8], 2.5]);
  assert.equal(parseOptions(["--help"]), undefined);
  assert.throws(() => parseOptions(["dance"]), /the mode must be one of/);
  assert.throws(() => parseOptions(["soak", "--requests", "-1"]), /requests/);
  assert.throws(() => parseOptions(["soak", "--requests=1.5"]), /whole number/);
  assert.throws(() => parseOptions(["soak", "--extra", "[]"]), /JSON object/);
});
