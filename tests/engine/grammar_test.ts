// Completions held to a grammar by the real library: what comes out follows it, whatever is drawn; what cannot be followed is
// refused; and nothing that a grammar does holds the engine up.
import assert from "node:assert/strict";
import { DEFAULT_MODEL_DIR } from "../../cli/default_model.ts";
import { EngineUnavailableError } from "../../engine/errors.ts";
import type { GrammarText } from "../../engine/grammar.ts";
import { GrammarClient } from "../../engine/grammar_client.ts";
import { GrammarPool, type GrammarPoolLimits } from "../../engine/grammar_pool.ts";
import type { GrammarThreadView } from "../../engine/grammar_thread.ts";
import { unsupportedInSchema } from "../../engine/json_schema_support.ts";
import { isPlainPattern } from "../../engine/json_string_patterns.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import { ServedModel } from "../../engine/served_model.ts";
import type { TokenConstraint } from "../../engine/token_constraint.ts";
import { Tokenizer } from "../../engine/tokenizer.ts";
import { hasToken } from "../../kernels/sampling/token_mask.ts";
import { Random, testSeed } from "../kernels/random.ts";
import { collect, complete, fakeModel, openFakeEngine, textPrompt, until } from "./fake_model.ts";
import { FakeRunner } from "./fake_runner.ts";

const TOKENIZER_JSON = JSON.parse(
  Deno.readTextFileSync(`${DEFAULT_MODEL_DIR}/tokenizer.json`),
);
const TOKENIZER = new Tokenizer(TOKENIZER_JSON);
const MODEL = new ServedModel({
  ...fakeModel(new FakeRunner()),
  vocabSize: 16384,
  suppressedTokens: [1, 2, 3, 4],
  tokenizer: { tokenizerJson: TOKENIZER_JSON, tokenizerConfig: {} },
}, { modelId: "fake" });

function makePool(limits: GrammarPoolLimits = {}): GrammarPool {
  return new GrammarPool(() => MODEL.grammarVocabulary(), () => {}, limits);
}

/** A worker that has nothing to say. */
class SilentThread implements GrammarThreadView {
  onMessage: GrammarThreadView["onMessage"] = () => {};
  readonly loaded = false;
  ended = false;

  post() {}

  [Symbol.dispose]() {
    this.ended = true;
  }
}

/** A constraint and a way to wait for its mask. */
function open(pool: GrammarPool, grammar: GrammarText) {
  let failure: Error | undefined;
  const constraint = pool.open({ field: "guided", ...grammar }, (error) => failure = error);
  const mask = async (): Promise<Uint32Array> => {
    await until(() => constraint.next !== "pending" || failure !== undefined);
    if (failure) throw failure;
    return constraint.next as Uint32Array;
  };
  return { constraint, mask };
}

/**
 * A random walk through the grammar: any token that is allowed, but the end as soon as it is. Of whole characters where
 * there are any: XGrammar lets three bytes make a surrogate, which is no character.
 */
async function walk(pool: GrammarPool, grammar: GrammarText, random: Random): Promise<string> {
  const { constraint, mask } = open(pool, grammar);
  using _ = constraint as TokenConstraint;
  const ids: number[] = [];
  while (ids.length < 200) {
    const allowed = await mask();
    const choices = Array.from({ length: 16384 }, (_, id) => id).filter((id) => hasToken(allowed, id));
    assert.ok(choices.length > 0 && !choices.some((id) => id >= 1 && id <= 4));
    const end = choices.find((id) => MODEL.endIds.has(id));
    if (end !== undefined) {
      constraint.accept(end);
      assert.ok(constraint.ended);
      return TOKENIZER.decode(ids);
    }
    const whole = choices.filter((id) => !TOKENIZER.decode([id]).includes("\ufffd"));
    // What closes something, now and then, or free texts would have no end.
    const closing = random.uniform() < (ids.length < 60 ? 0.3 : 0.9)
      ? whole.filter((id) => /^["}\]]/.test(TOKENIZER.decode([id])))
      : [];
    const among = [closing, whole, choices].find(({ length }) => length > 0)!;
    ids.push(among[random.below(among.length)]);
    constraint.accept(ids[ids.length - 1]);
  }
  throw new Error(`A walk without end: ${TOKENIZER.decode(ids)}`);
}

/** Whether a text can be drawn, token by token as it is encoded, and may end there. */
async function accepts(pool: GrammarPool, grammar: GrammarText, text: string): Promise<boolean> {
  const { constraint, mask } = open(pool, grammar);
  using _ = constraint as TokenConstraint;
  for (const id of TOKENIZER.encode(text)) {
    if (!hasToken(await mask(), id)) return false;
    constraint.accept(id);
  }
  const last = await mask();
  return [...MODEL.endIds].some((id) => hasToken(last, id));
}

const schema = (value: unknown): GrammarText => ({ kind: "jsonSchema", schema: JSON.stringify(value) });

// deno-lint-ignore no-explicit-any -- JSON of any form
type Json = any;

/** Schemas of every keyword that is let through: what they must yield, texts that fit, and texts that do not. */
const SCHEMAS: readonly (readonly [unknown, (value: Json) => boolean, string[], string[]])[] = [
  [{ type: "boolean" }, (v) => typeof v === "boolean", ["true"], ["1", '"true"']],
  [{ type: ["integer", "null"] }, (v) => v === null || Number.isInteger(v), ["null", "-12"], ["1.5"]],
  [
    { type: "string", minLength: 2, maxLength: 3 },
    (v) => [...v].length >= 2 && [...v].length <= 3,
    ['"ab"', '"é🙂"'],
    ['"a"', '"abcd"', '"a\tb"'],
  ],
  [
    { type: "array", items: { type: "string", maxLength: 1 }, maxItems: 1 },
    (v) => v.every((x: Json) => [...x].length < 2),
    ['["a"]', '[""]'],
    ['["ab"]'],
  ],
  [{ type: "string", pattern: "^[a-f]{2}\\d$" }, (v) => /^[a-f]{2}\d$/.test(v), ['"ab1"'], ['"a1"']],
  [{ type: "string", format: "date" }, (v) => /^\d{4}-\d\d-\d\d$/.test(v), ['"2026-11-24"'], ['"today"']],
  [{ enum: ["é", 1.5, null, 'a"b'] }, (v) => ["é", 1.5, null, 'a"b'].includes(v), ['"é"', '"a\\"b"'], ["2"]],
  [{ type: "integer", const: 7 }, (v) => v === 7, ["7"], ["8"]],
  [
    { type: "array", items: { enum: [1, 2] }, minItems: 1, maxItems: 3 },
    (v) => v.length >= 1 && v.length <= 3 && v.every((x: Json) => x === 1 || x === 2),
    ["[1]", "[1, 2, 1]"],
    ["[]", "[1, 1, 1, 1]", "[3]"],
  ],
  [
    { type: "array", prefixItems: [{ type: "boolean" }, { type: "null" }], items: false },
    (v) => v.length <= 2 && typeof v[0] === "boolean" && (v.length < 2 || v[1] === null),
    ["[true, null]"],
    ["[null]", "[true, null, 1]"],
  ],
  [
    {
      title: "T",
      type: "object",
      properties: { a: { const: 1, description: "d" }, b: { type: "boolean" } },
      required: ["b"],
    },
    (v) =>
      typeof v.b === "boolean" && (v.a === undefined || v.a === 1) &&
      Object.keys(v).every((k) => "ab".includes(k)),
    ['{"a": 1, "b": true}', '{"b": false}'],
    ["{}", '{"a": 2, "b": true}', '{"b": true, "c": 1}'],
  ],
  [
    { type: "object", properties: { a: { const: 1 }, b: { const: 2 } }, minProperties: 1, maxProperties: 1 },
    (v) => Object.keys(v).length === 1,
    ['{"b": 2}'],
    ["{}", '{"a": 1, "b": 2}'],
  ],
  [
    { anyOf: [{ type: "null" }, { $ref: "#/$defs/n" }], $defs: { n: { allOf: [{ enum: ["x"] }] } } },
    (v) => v === null || v === "x",
    ["null", '"x"'],
    ['"y"'],
  ],
  [
    { type: "object", additionalProperties: { type: "boolean" } },
    (v) => Object.values(v).every((x) => x === true || x === false),
    [
      '{"any": true}',
      "{}",
    ],
    ['{"any": 1}'],
  ],
];

Deno.test("A JSON schema that is let through is kept to, whatever is drawn, and keeps nothing out that fits", async () => {
  const random = new Random(testSeed());
  for (const [value, fits, good, bad] of SCHEMAS) {
    assert.equal(unsupportedInSchema(value), undefined);
    using pool = makePool();
    for (let turn = 0; turn < 4; turn++) {
      const text = await walk(pool, schema(value), random);
      assert.ok(fits(JSON.parse(text)), `${JSON.stringify(value)}: ${text}`);
    }
    for (const text of good) {
      assert.ok(await accepts(pool, schema(value), text), `${JSON.stringify(value)}: ${text}`);
    }
    for (const text of bad) {
      assert.ok(!await accepts(pool, schema(value), text), `${JSON.stringify(value)}: ${text}`);
    }
  }
});

Deno.test("A regular expression is matched as a whole, and a grammar from its root", async () => {
  const random = new Random(testSeed());
  using pool = makePool();
  for (const pattern of ["[a-z]{3,6}\\d{2}", "(?:ab|é🙂){1,3}x?", "self\\.[a-z_]{1,9}\\(\\)"]) {
    for (let turn = 0; turn < 5; turn++) {
      const text = await walk(pool, { kind: "regex", pattern }, random);
      assert.match(text, new RegExp(`^(?:${pattern})$`, "u"));
    }
  }
  const ebnf = 'root ::= expr # a comment\nexpr ::= "(" expr ")" | item\nitem ::= [a-c] item?\n';
  for (let turn = 0; turn < 5; turn++) {
    assert.match(await walk(pool, { kind: "ebnf", text: ebnf }, random), /^\(*[a-c]+\)*$/);
  }
  assert.ok(await accepts(pool, { kind: "ebnf", text: ebnf }, "((abc))"));
  assert.ok(!await accepts(pool, { kind: "ebnf", text: ebnf }, "((abc)"));
});

Deno.test("unsupportedInSchema() names what the library passes over or takes wrongly", () => {
  const cases: [unknown, RegExp][] = [
    [{ type: "integer", minimum: 3 }, /^the schema has "minimum", which is not supported$/],
    [{ type: "object", properties: { a: { not: {} } } }, /^the schema at "\/properties\/a" has "not", which/],
    [{ properties: {} }, /^the schema has "properties" without a "type": it needs "type": "object"$/],
    [{ type: "string", items: {} }, /^the schema has "items" with type "string", which is not supported$/],
    [{ type: "array", items: { type: "string" }, uniqueItems: true }, /"uniqueItems"/],
    [
      { type: "object", properties: { a: true }, additionalProperties: true },
      /"additionalProperties" beside/,
    ],
    [{ type: "object", required: ["b"] }, /requires "b"/],
    [{ type: "object", properties: { 'a"b': true } }, /quotes and backslashes/],
    [{ oneOf: [{ type: "null" }] }, /^the schema has "oneOf", which is not supported$/],
    [{ allOf: [{}, {}] }, /"allOf" with other than one/],
    [{ anyOf: [{ type: "null" }], type: "null" }, /^the schema has "type" beside "anyOf"/],
    [{ $ref: "https://example.org/x" }, /"\$ref"/],
    [{ type: "integer", enum: ["a"] }, /allows "a", which is not of its type/],
    [{ type: "string", pattern: "a", minLength: 1 }, /more than one of/],
    [{ type: "string", format: "email" }, /the "format" "email", supported are date/],
    [{ type: "string", maxLength: -1 }, /a length of -1/],
    [{ type: "string", pattern: "^.*$" }, /"pattern" that could match quotes/],
    [{ type: "text" }, /has the type "text"/],
    [{ type: "array", items: false }, /^the schema at "\/items" is false/],
    [{ $defs: { x: { if: {} } }, type: "null" }, /^the schema at "\/\$defs\/x" has "if", which/],
    [false, /^the schema is false/],
    [3, /must be an object/],
    [JSON.parse(`${'{"anyOf":['.repeat(80)}true${"]}".repeat(80)}`), /nested more than 64 deep/],
  ];
  for (const [value, message] of cases) assert.match(unsupportedInSchema(value) ?? "", message);
});

Deno.test("isPlainPattern() lets through what needs no escape in JSON, and nothing else", () => {
  for (const pattern of ["^[a-z_]+\\.\\d{2}$", "a|b", "[A-Za-z0-9 ]*", "(?:x\\-y)?", "é🙂", "[_-]"]) {
    assert.ok(isPlainPattern(pattern), pattern);
  }
  const others = [
    ".",
    "[^a]",
    "\\s",
    "\\W",
    "\\n",
    "\\x22",
    "\\\\",
    '"',
    "[ -~]",
    "[!-z]",
    "a\tb",
    "[a-\\x7f]",
    "\\",
  ];
  for (const pattern of others) assert.ok(!isPlainPattern(pattern), pattern);
});

Deno.test("GrammarPool says what is wrong with a grammar, in the library's words, and takes the next one", async () => {
  using pool = makePool();
  const faults: [GrammarText, RegExp][] = [
    [
      { kind: "regex", pattern: "(ab" },
      /Cannot follow "guided": .* refuses the regular expression and says: ".*parenthesis is not closed/,
    ],
    [{ kind: "regex", pattern: "(?=a)b" }, /Lookahead is not supported/],
    [{ kind: "ebnf", text: 'root ::= "a" b' }, /refuses the grammar and says: ".*Rule "b" is not defined/],
    [schema({ $ref: "#/$defs/none" }), /refuses the JSON schema and says/],
  ];
  for (const [grammar, message] of faults) {
    await assert.rejects(open(pool, grammar).mask(), message);
    assert.equal(pool.size, 0);
  }
  assert.ok(await accepts(pool, { kind: "regex", pattern: "ab" }, "ab"));
});

Deno.test("GrammarPool ends a grammar that takes too long, and keeps no more than it has room for", async () => {
  using slow = makePool({ compileTimeoutMs: 50 });
  await assert.rejects(
    open(slow, { kind: "regex", pattern: "((a{1,999}){1,999}){1,999}" }).mask(),
    /Cannot follow "guided": the regular expression took more than 0.05 s to compile; send a simpler one/,
  );
  assert.equal(slow.size, 0);
  using left = makePool();
  const [one, other] = [1, 2].map(() =>
    open(left, { kind: "regex", pattern: "((a{1,999}){1,999}){1,999}" }).constraint
  );
  one[Symbol.dispose]();
  assert.equal(left.size, 1);
  other[Symbol.dispose]();
  assert.equal(left.size, 0, "nobody waits for what is still being compiled");
  using pool = makePool({ maxGrammars: 2 });
  const [a, b] = ["a", "b"].map((pattern) => open(pool, { kind: "regex", pattern }));
  await Promise.all([a.mask(), b.mask()]);
  assert.throws(() => open(pool, { kind: "regex", pattern: "c" }), /2 other grammars are in use/);
  const again = open(pool, { kind: "regex", pattern: "a" });
  await again.mask();
  for (const { constraint } of [a, again]) constraint[Symbol.dispose]();
  await open(pool, { kind: "regex", pattern: "c" }).mask();
  assert.equal(pool.size, 2, "the one that nobody used made room");
});

function wanted(pattern: string, options: Partial<GenerationRequest> = {}): GenerationRequest {
  const grammar = { field: "guided_regex", kind: "regex", pattern } as const;
  return { prompt: textPrompt("x = "), maxTokens: 30, temperature: 0, grammar, ...options };
}

Deno.test("LocalEngine follows a grammar to its end, in every sample, whatever end tokens are to be ignored", async () => {
  await using fake = await openFakeEngine({}, { tokenHealing: true });
  const { text, finish, prompt } = await complete(fake.engine, wanted("[a-c]{3}d"));
  assert.match(text, /^[a-c]{3}d$/);
  assert.deepEqual([finish.reason, prompt.healed], ["eos", undefined], "a grammar goes before healing");
  const events = await collect(
    fake.engine.submit(wanted("[a-c]{3}d", { n: 3, temperature: 1, seed: 7, ignoreEos: true, logprobs: 1 })),
  );
  for (let sample = 0; sample < 3; sample++) {
    const tokens = events.filter((event) => event.kind === "token" && event.sample === sample);
    assert.match(tokens.map((event) => event.kind === "token" ? event.text : "").join(""), /^[a-c]{3}d$/);
  }
  const { freeBlocks, totalBlocks, running, waiting } = await fake.engine.stats();
  assert.deepEqual([freeBlocks, running, waiting], [totalBlocks, 0, 0]);
});

Deno.test("LocalEngine serves others while a grammar is compiled, and refuses one that is none as the request's fault", async () => {
  await using fake = await openFakeEngine();
  const held = complete(fake.engine, wanted("[a-c]{2}"));
  const ended: string[] = [];
  await Promise.all([
    held.then(() => ended.push("held")),
    complete(fake.engine, { prompt: textPrompt("y"), maxTokens: 5, ignoreEos: true }).then(() =>
      ended.push("free")
    ),
  ]);
  assert.deepEqual(ended, ["free", "held"]);
  await assert.rejects(complete(fake.engine, wanted("(")), {
    name: "InvalidRequestError",
    field: "guided_regex",
  });
  await assert.rejects(
    complete(fake.engine, wanted("", { grammar: { field: "f", kind: "jsonSchema", schema: '{"not":{}}' } })),
    /"f" cannot be followed: the schema has "not"/,
  );
  await assert.rejects(complete(fake.engine, wanted("a".repeat(70_000))), /at most 65536 characters/);
});

Deno.test("LocalEngine counts the wait for a grammar as time in the queue, not as time to read the prompt", async () => {
  const clock = { now: 0 };
  await using fake = await openFakeEngine({}, { now: () => clock.now });
  const held = complete(fake.engine, wanted("[a-c]{3}", { deadlines: { promptMs: 500 } }));
  held.catch(() => {}); // Or a failed assertion would be hidden behind the engine's end.
  await until(async () => (await fake.engine.stats()).steps === 1);
  const [{ stage, computedTokens, promptTokens }] = await fake.engine.sequences();
  assert.deepEqual([stage, computedTokens], ["prefill", promptTokens - 1], "all but the row to draw from");
  clock.now = 1000;
  const { text, finish } = await held;
  assert.match(text, /^[a-c]{3}$/);
  assert.deepEqual(finish.timings, { queueMs: 1000, promptMs: 0, predictedMs: 0 });
});

Deno.test("A worker says so when the library is neither on the machine nor to be had", async () => {
  const folder = await Deno.makeTempDir();
  const module = new URL("../../engine/grammar_thread.ts", import.meta.url);
  const script = `
    const { GrammarThread } = await import(${JSON.stringify(module)});
    const thread = new GrammarThread({ tokens: ["a"], vocabSize: 1, endIds: [], suppressed: [] });
    thread.onMessage = ({ kind }) => {
      console.log(kind);
      thread[Symbol.dispose]();
    };`;
  try {
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--cached-only", "--no-config", script],
      env: { DENO_DIR: folder, NO_COLOR: "1" },
    }).output();
    assert.equal(new TextDecoder().decode(stdout), "missing\n");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("GrammarClient names field and mend when the library is missing, or does not come", async () => {
  for (
    const [happens, message] of [
      [(thread: SilentThread) => thread.onMessage({ kind: "missing" }), /and could not be downloaded/],
      [() => {}, /or could not be loaded within 0.05 s/],
    ] as const
  ) {
    const thread = new SilentThread();
    const client = new GrammarClient({ kind: "regex", pattern: "a" }, thread, {
      ...{ vocabulary: { endIds: [0], suppressed: [] }, loadTimeoutMs: 50 },
      ...{ onReady: () => {}, onIdle: () => {}, onEnded: () => {} },
    });
    let failure: Error | undefined;
    client.open("guided_regex", (error) => failure = error);
    happens(thread);
    await until(() => failure !== undefined);
    assert.ok(failure instanceof EngineUnavailableError);
    assert.deepEqual([failure.reason, failure.field], ["no_grammar_library", "guided_regex"]);
    assert.match(failure.message, message);
    assert.match(
      failure.message,
      /^Cannot follow "guided_regex": .*: deno cache npm:@mlc-ai\/web-xgrammar@[\d.]+$/,
    );
    assert.ok(thread.ended);
  }
});

Deno.test("GrammarPool keeps a worker with the library loaded for the next grammar, once one was asked for", async () => {
  using pool = makePool({ maxGrammars: 2 });
  assert.ok(!pool.hasSpare);
  const [a, b] = ["a", "b"].map((pattern) => open(pool, { kind: "regex", pattern }));
  await Promise.all([a.mask(), b.mask()]);
  a.constraint[Symbol.dispose]();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  assert.ok(!pool.hasSpare, "not while a grammar is followed");
  b.constraint[Symbol.dispose]();
  await until(() => pool.hasSpare);
  assert.ok(await accepts(pool, { kind: "regex", pattern: "c" }, "c"));
  await until(() => pool.hasSpare);
  await assert.rejects(open(pool, { kind: "regex", pattern: "(" }).mask());
  assert.ok(!pool.hasSpare);
  await until(() => pool.hasSpare);
});

Deno.test("LocalEngine lets a request with a grammar be cancelled at any time", async () => {
  await using fake = await openFakeEngine();
  for (const delay of [0, 5, 2000]) {
    const controller = new AbortController();
    const events = collect(fake.engine.submit(wanted("[a-c]{400}", { maxTokens: 100 }), controller.signal));
    await new Promise((resolve) => setTimeout(resolve, delay));
    controller.abort(new Error("left"));
    await events.catch(() => {});
  }
  const { freeBlocks, totalBlocks, running, waiting } = await fake.engine.stats();
  assert.deepEqual([freeBlocks, running, waiting], [totalBlocks, 0, 0]);
});

Deno.test("LocalEngine ends a request whose grammar is being compiled when the device that holds its blocks is lost", async () => {
  await using fake = await openFakeEngine({}, { reopenDelaysMs: [0] });
  const { engine, runners } = fake;
  const held = complete(engine, wanted("[a-c]{3}", { prompt: textPrompt("x") })); // No row before its draw.
  await until(async () => (await engine.stats()).running === 1);
  assert.equal(runners[0].steps, 0);
  runners[0].loseDevice();
  await assert.rejects(held, { name: "EngineUnavailableError", reason: "device_lost" });
  await complete(engine, { prompt: textPrompt("y"), maxTokens: 5 });
  const { freeBlocks, totalBlocks, running, waiting } = await engine.stats();
  assert.deepEqual([freeBlocks, running, waiting], [totalBlocks, 0, 0]);
});

Deno.test("LocalEngine keeps a deadline while nothing but the compiling of a grammar goes on", async () => {
  await using fake = await openFakeEngine();
  const slow = wanted("((a{1,999}){1,999}){1,999}", { deadlines: { totalMs: 50 } });
  const { ids, finish } = await complete(fake.engine, slow);
  assert.deepEqual([ids, finish.reason], [[], "length"]);
  assert.equal((await fake.engine.stats()).running, 0);
});

Deno.test("GrammarPool ends no grammar for a mask that its own thread was too busy to read", async () => {
  using pool = makePool();
  const { constraint, mask } = open(pool, { kind: "regex", pattern: "[a-c]{3}" });
  const allowed = await mask();
  constraint.accept(Array.from({ length: 16384 }, (_, id) => id).find((id) => hasToken(allowed, id))!);
  const start = performance.now();
  while (performance.now() - start < 2_200); // As a long step does.
  assert.ok((await mask()).some((word) => word !== 0));
});
