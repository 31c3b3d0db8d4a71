import assert from "node:assert/strict";
import { EngineUnavailableError, InvalidRequestError } from "../../../engine/errors.ts";
import { CODE_RULES } from "../../../engine/output_rules.ts";
import type { GenerationRequest } from "../../../engine/request.ts";
import { tgiReply, tgiStreamEvent } from "../../../routes/tgi/schema.ts";
import { FakeEngine, type Script } from "../fake_engine.ts";
import { openApp, post, type Reply } from "../requests.ts";

async function generate(script: Script, parameters = {}, path = "/generate", extra = {}): Promise<Reply> {
  return await post(openApp(new FakeEngine(script)), path, { inputs: "x", parameters, ...extra });
}

async function submitted(body: Record<string, unknown>, path = "/generate"): Promise<GenerationRequest> {
  const engine = new FakeEngine();
  const reply = await post(openApp(engine), path, { inputs: "x", ...body });
  assert.equal(reply.status, 200, reply.text);
  return engine.requests[0]!;
}

/** TGI's events have no blank after the colon. */
// deno-lint-ignore no-explicit-any
function events({ text }: Reply): any[] {
  assert.match(text, /^(data:\{[^\n]*\}\n\n)*$/);
  return text.split("\n\n").slice(0, -1).map((event) => JSON.parse(event.slice("data:".length)));
}

const GREEDY: GenerationRequest = {
  prompt: { kind: "text", text: "x", parseSpecial: true },
  temperature: 0,
  stop: [],
};

const ACCEPTED: [name: string, body: Record<string, unknown>, expected: Partial<GenerationRequest>][] = [
  ["no parameters as greedy", {}, {}],
  ["null as absent", { parameters: null, stream: null }, {}],
  ["llm-ls's nested parameters, and what else is unknown", {
    parameters: { parameters: { return_full_text: false } },
    x: 1,
  }, {}],
  [
    "nulls among parameters",
    { parameters: { temperature: null, stop: null, seed: null, grammar: null } },
    {},
  ],
  ["max_new_tokens", { parameters: { max_new_tokens: 7 } }, { maxTokens: 7 }],
  ["a temperature", { parameters: { temperature: 0.2, top_p: 0.95 } }, { temperature: 0.2, topP: 0.95 }],
  ["a temperature of 1 alone as greedy", { parameters: { temperature: 1 } }, {}],
  ["do_sample", { parameters: { do_sample: true } }, { temperature: 1 }],
  ["top_k", { parameters: { top_k: 5 } }, { temperature: 1, topK: 5 }],
  ["typical_p as drawn", { parameters: { typical_p: 0.9 } }, { temperature: 1 }],
  ["what it ignores", { parameters: { repetition_penalty: 1.2, watermark: true, adapter_id: "a" } }, {}],
  ["frequency_penalty", { parameters: { frequency_penalty: 0.5 } }, { frequencyPenalty: 0.5 }],
  ["seed", { parameters: { seed: 5 } }, { seed: 5 }],
  ["stop", { parameters: { stop: ["a", ""] } }, { stop: ["a"] }],
  ["details, for which scores are needed", { parameters: { details: true } }, { logprobs: 0 }],
  ["top_n_tokens", { parameters: { top_n_tokens: 3 } }, { logprobs: 3 }],
  ["decoder_input_details", { parameters: { details: true, decoder_input_details: true } }, {
    logprobs: 0,
    echoPrompt: true,
  }],
  ["best_of", { parameters: { best_of: 3, do_sample: true, token_healing: true } }, {
    n: 3,
    temperature: 1,
    rankSamples: true,
    tokenHealing: true,
  }],
  ["truncate, from the end", { inputs: "abcd", parameters: { truncate: 2 } }, {
    prompt: { kind: "text", text: "abcd", parseSpecial: true, keep: 2 },
  }],
  ["a regular expression", { parameters: { grammar: { type: "regex", value: "a+" } } }, {
    grammar: { field: "parameters.grammar", kind: "regex", pattern: "a+" },
  }],
  ["a JSON schema", { parameters: { grammar: { type: "json", value: { type: "object" } } } }, {
    grammar: { field: "parameters.grammar", kind: "jsonSchema", schema: '{"type":"object"}' },
  }],
  ["a named JSON schema", {
    parameters: { grammar: { type: "json_schema", value: { name: "a", schema: true } } },
  }, {
    grammar: { field: "parameters.grammar", kind: "jsonSchema", schema: "true" },
  }],
  ["clean", { parameters: { clean: true, token_healing: true } }, {
    outputRules: CODE_RULES,
    tokenHealing: true,
  }],
  ["cache_salt", { parameters: { cache_salt: "me" } }, { cacheSalt: "me" }],
];

for (const [name, body, expected] of ACCEPTED) {
  Deno.test(`/generate reads ${name}`, async () => {
    assert.deepEqual(await submitted(body), { ...GREEDY, ...expected });
  });
}

const REJECTED: [body: Record<string, unknown>, message: RegExp][] = [
  [{ inputs: undefined }, /^"inputs" is required$/],
  [{ inputs: "" }, /^"inputs" must not be empty$/],
  [{ inputs: 5 }, /^"inputs" must be a string, received 5$/],
  [{ parameters: "x" }, /^"parameters" must be an object, received "x"$/],
  [{ parameters: { temperature: 0 } }, /^"parameters.temperature" must be more than 0/],
  [{ parameters: { temperature: "warm" } }, /^"parameters.temperature" must be a number, received "warm"$/],
  [{ parameters: { top_p: 1 } }, /^"parameters.top_p" must be less than 1, received 1$/],
  [{ parameters: { top_k: 0 } }, /^"parameters.top_k" must be more than 0/],
  [{ parameters: { top_n_tokens: 6 } }, /^"parameters.top_n_tokens" must be at most 5/],
  [
    { parameters: { stop: ["a", "b", "c", "d", "e"] } },
    /^"parameters.stop" must be an array of at most 4 items/,
  ],
  [{ parameters: { stop: Array(5000).fill(1) } }, /^"parameters.stop" must have at most 4096 items/],
  [{ parameters: { stop: "a" } }, /^"parameters.stop" must be an array, received "a"$/],
  [{ parameters: { max_new_tokens: -1 } }, /^"parameters.max_new_tokens" must be at least 0/],
  [{ parameters: { best_of: 2 } }, /^"parameters.best_of" above 1 needs sampling: set do_sample$/],
  [{ parameters: { best_of: 2, do_sample: true, seed: 1 } }, /cannot be combined with a seed/],
  [
    { parameters: { grammar: { type: "regex", value: {} } } },
    /^"parameters.grammar.value" must be a regular expression/,
  ],
  [{ parameters: { grammar: { type: "json", value: 5 } } }, /must be a JSON schema/],
  [
    { parameters: { grammar: { type: "json", value: "{" } } },
    /^"parameters.grammar.value" must be a JSON schema/,
  ],
  [
    { parameters: { grammar: { type: "json_schema", value: "x" } } },
    /must be an object with a JSON schema in its "schema"/,
  ],
  [{ parameters: { grammar: { type: "bnf", value: "x" } } }, /^"parameters.grammar.type" must be one of/],
  [{ parameters: { token_healing: true, details: true } }, /cannot be combined with "details"/],
];

for (const [body, message] of REJECTED) {
  Deno.test(`/generate rejects ${JSON.stringify(body).slice(0, 70)} in TGI's shape`, async () => {
    const reply = await post(openApp(new FakeEngine()), "/generate", { inputs: "x", ...body });
    assert.equal(reply.status, 422, reply.text);
    assert.match(reply.json.error, message);
    assert.deepEqual(reply.json, { error: reply.json.error, error_type: "validation" });
  });
}

Deno.test("/generate answers with the text alone, and says in headers what it took", async () => {
  const reply = await generate({ tokens: ["a", "b"], heldBack: "c" }, { max_new_tokens: 9 });
  assert.equal(reply.text, '{"generated_text":"abc"}');
  const header = (name: string) => reply.headers.get(name);
  assert.deepEqual(
    ["x-compute-type", "x-compute-characters", "x-queue-time", "x-inference-time", "x-time-per-token"].map(
      header,
    ),
    ["cpu+test", "1", "1", "70", "35"],
  );
  assert.deepEqual(["x-prompt-tokens", "x-generated-tokens"].map(header), ["1", "2"]);
  for (const name of ["x-compute-time", "x-total-time", "x-validation-time"]) {
    assert.match(header(name)!, /^[\d.]+$/);
  }
});

Deno.test("/generate begins with the inputs when asked to", async () => {
  assert.equal((await generate({ tokens: ["a"] }, { return_full_text: true })).json.generated_text, "xa");
});

Deno.test("/generate tells all tokens when asked for details, and the inputs' too", async () => {
  const parameters = { details: true, decoder_input_details: true, top_n_tokens: 1, seed: 3 };
  const { json } = await generate({ tokens: ["a"] }, parameters, "/generate", { inputs: "xy" });
  assert.deepEqual(json, {
    generated_text: "a",
    details: {
      finish_reason: "eos_token",
      generated_tokens: 1,
      seed: 3,
      prefill: [{ id: 120, text: "x", logprob: null }, { id: 121, text: "y", logprob: -0.5 }],
      tokens: [{ id: 97, text: "a", logprob: -0.25, special: false }],
      top_tokens: [[{ id: 65, text: "A", logprob: -1, special: false }]],
    },
  });
  tgiReply.parse(json);
});

for (
  const [reason, told] of [["eos", "eos_token"], ["stop", "stop_sequence"], ["rule", "stop_sequence"], [
    "length",
    "length",
  ]] as const
) {
  Deno.test(`/generate calls the engine's "${reason}" ${told}`, async () => {
    assert.equal((await generate({ reason }, { details: true })).json.details.finish_reason, told);
  });
}

Deno.test("/generate sends the likeliest of what it drew, and the others in details", async () => {
  const script = { tokens: ["t"], sampleLogprobs: [-3, -1, -2] };
  const { json } = await generate(script, { best_of: 3, do_sample: true, details: true });
  assert.equal(json.generated_text, "t1");
  const others = json.details.best_of_sequences.map((each: { generated_text: string }) =>
    each.generated_text
  );
  assert.deepEqual(others, ["t2", "t0"]);
  assert.equal(json.details.tokens[0].logprob, -1);
  tgiReply.parse(json);
});

Deno.test("/generate_stream sends an event a token, the last with the whole text, without [DONE]", async () => {
  const script = { tokens: ["a", "b"], heldBack: "c" };
  const reply = await generate(script, { max_new_tokens: 2, details: true }, "/generate_stream");
  assert.equal(
    reply.text,
    'data:{"index":1,"token":{"id":97,"text":"a","logprob":-0.25,"special":false},"generated_text":null,"details":null}\n\n' +
      'data:{"index":2,"token":{"id":98,"text":"bc","logprob":-0.25,"special":false},"generated_text":"abc",' +
      '"details":{"finish_reason":"length","generated_tokens":2,"seed":null,"input_length":1}}\n\n',
  );
  assert.match(reply.headers.get("content-type")!, /^text\/event-stream/);
  assert.equal(reply.headers.get("x-accel-buffering"), "no");
  for (const event of events(reply)) tgiStreamEvent.parse(event);
});

Deno.test("/generate_stream has an event of the end's token for a text that ends at once", async () => {
  const [only, ...others] = events(await generate({ tokens: [] }, {}, "/generate_stream"));
  assert.deepEqual(others, []);
  assert.deepEqual(only.token, { id: 0, text: "", logprob: 0, special: true });
  assert.equal(only.generated_text, "");
});

Deno.test("/generate_stream has scores where they are asked for, and else a prompt that can be healed", async () => {
  for (
    const [parameters, logprob] of [[{}, null], [{ details: true }, -0.25], [
      { top_n_tokens: 2 },
      -0.25,
    ]] as const
  ) {
    const engine = new FakeEngine();
    const [first] = events(await post(openApp(engine), "/generate_stream", { inputs: "x", parameters }));
    assert.equal(first.token.logprob, logprob);
    assert.equal("logprobs" in engine.requests[0]!, logprob !== null);
    assert.equal(first.top_tokens?.length, "top_n_tokens" in parameters ? 2 : undefined);
  }
});

Deno.test("/generate_stream refuses what only a whole reply has", async () => {
  for (const parameters of [{ best_of: 2, do_sample: true }, { decoder_input_details: true }]) {
    const reply = await generate({}, parameters, "/generate_stream");
    assert.equal(reply.status, 422);
    assert.match(reply.json.error, /is not supported in streams: leave it out$/);
  }
});

Deno.test("POST / and /models/ID answer with a list, or stream when told to", async () => {
  for (const path of ["/", "/models/bigcode/starcoder"]) {
    assert.deepEqual((await generate({ tokens: ["a"] }, {}, path)).json, [{ generated_text: "a" }]);
    const stream = events(await generate({ tokens: ["a"] }, {}, path, { stream: true }));
    assert.equal(stream.at(-1).generated_text, "a");
  }
});

Deno.test("/generate tells what is wrong with the engine in TGI's words", async () => {
  const cases: [error: Error, status: number, type: string][] = [
    [new EngineUnavailableError("full", "queue_full"), 429, "overloaded"],
    [new EngineUnavailableError("loading", "loading"), 503, "unhealthy"],
    [
      new InvalidRequestError("Cannot admit request: prompt must be at most 9 tokens, received 10", {
        field: "prompt",
        reason: "context_length_exceeded",
      }),
      422,
      "validation",
    ],
  ];
  for (const [error, status, type] of cases) {
    const reply = await generate({ failure: { at: 0, error } });
    assert.equal(reply.status, status);
    assert.equal(reply.json.error_type, type);
    if (status === 422) {
      assert.equal(reply.json.error, 'Cannot admit request: "inputs" must be at most 9 tokens, received 10');
    } else assert.equal(reply.headers.get("retry-after"), "1");
  }
});

Deno.test("/generate_stream sends an error after the first token as the last event", async () => {
  const error = new EngineUnavailableError("The device was lost", "device_lost");
  const reply = await generate({ failure: { at: 2, error } }, {}, "/generate_stream");
  const [first, last, ...others] = events(reply);
  assert.equal(first.token.text, "a");
  assert.deepEqual(last, { error: "The device was lost", error_type: "unhealthy" });
  assert.deepEqual(others, []);
});
