// Grammars that are refused, take too long or are too many, and the workers that follow them.
import assert from "node:assert/strict";
import { EngineUnavailableError } from "../../engine/errors.ts";
import type { GrammarText } from "../../engine/grammar.ts";
import { GrammarClient } from "../../engine/grammar_client.ts";
import type { GrammarThreadView } from "../../engine/grammar_thread.ts";
import { hasToken } from "../../kernels/sampling/token_mask.ts";
import { until } from "./fake_model.ts";
import { accepts, makePool, open, schema } from "./followed_grammars.ts";

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

Deno.test("GrammarPool says what is wrong with a grammar, in the library's words, and takes the next one", async () => {
  using pool = makePool();
  const faults: [GrammarText, RegExp][] = [
    [
      { kind: "regex", pattern: "(ab" },
      /Cannot follow "guided": .* refuses the regular expression and says: ".*parenthesis is not closed/,
    ],
    [{ kind: "regex", pattern: "(?=a)b" }, /Lookahead is not supported/],
    [{ kind: "ebnf", text: 'root ::= "a" b' }, /refuses the grammar and says: ".*Rule "b" is not defined/],
    [
      { kind: "regex", pattern: `${"(".repeat(1500)}a${")".repeat(1500)}` },
      /Cannot follow "guided": the grammar library breaks down over the regular expression: it may be nested too deep/,
    ],
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

Deno.test("GrammarPool ends no grammar for a mask that its own thread was too busy to read", async () => {
  using pool = makePool();
  const { constraint, mask } = open(pool, { kind: "regex", pattern: "[a-c]{3}" });
  const allowed = await mask();
  constraint.accept(Array.from({ length: 16384 }, (_, id) => id).find((id) => hasToken(allowed, id))!);
  const start = performance.now();
  while (performance.now() - start < 2_200); // As a long step does.
  assert.ok((await mask()).some((word) => word !== 0));
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
