// Odd inputs in every dialect: the engine is asked for exactly what the client wrote, and the client gets exactly what the
// engine has written, whole and in frames. What a model makes of them: serving/dialects_test.ts; in editors: lsp/odd_inputs_test.ts.
import assert from "node:assert/strict";
import type { Prompt } from "../../engine/request.ts";
import { createApp } from "../../routes/app.ts";
import {
  type DialectBodies,
  type DialectName,
  DIALECTS,
  framesOf,
  type Hole,
  laidOut,
} from "./dialect_bodies.ts";
import { openFakeEngine } from "../engine/fake_model.ts";
import { byteIds } from "../engine/tiny_tokenizer.ts";
import { FakeEngine, type Script } from "./fake_engine.ts";
import { ODD_HOLES } from "./odd_holes.ts";
import { get, openApp, post, type Reply } from "./requests.ts";

/** More than any of the texts has. */
const MAX_TOKENS = 64;

/** Has the engine write a text in tokens of a few characters, none of them in two; the end is held back to the last. */
function writing(text: string): Script & { readonly tokens: readonly string[] } {
  const parts = text.match(/.{1,4}/gsu)!;
  return { tokens: parts.slice(0, -1), heldBack: parts.at(-1)! };
}

const ALL = Object.entries(DIALECTS) as [DialectName, DialectBodies][];

/** Ollama's clients have a model loaded by asking for nothing. */
function isNoRequest(name: DialectName, { prefix, suffix }: Hole): boolean {
  return name === "ollama" && prefix + suffix === "";
}

function textsIn(prompt: Prompt): Hole | string {
  if (prompt.kind === "infill") return { prefix: prompt.prefix, suffix: prompt.suffix };
  assert.ok(prompt.kind === "text" && prompt.parseSpecial);
  return prompt.text;
}

/** One line of compact JSON. */
function wholeText({ text, json, status }: Reply, dialect: DialectBodies): string {
  assert.equal(status, 200, text);
  assert.equal(text, JSON.stringify(json));
  return dialect.text(json);
}

for (const [name, dialect] of ALL) {
  Deno.test(`${name}: what is odd in a file reaches the engine as it is, and so does the text the client`, async () => {
    const engine = new FakeEngine(), app = openApp(engine);
    for (const [kind, { prefix, suffix, text }] of Object.entries(ODD_HOLES)) {
      engine.script = writing(text);
      engine.requests.length = 0;
      const hole = { prefix, suffix }, reply = await post(app, dialect.path, dialect.body(hole, MAX_TOKENS));
      if (isNoRequest(name, hole)) {
        assert.deepEqual([reply.json.done_reason, engine.requests], ["load", []]);
        continue;
      }
      assert.equal(wholeText(reply, dialect), text, kind);
      // Tabby's clients leave an empty suffix out, and mean the end of a line.
      const read = name === "tabby" && suffix === "" ? { prefix, suffix: "\n" } : hole;
      const expected = dialect.laysOut ? laidOut(read) : read;
      assert.deepEqual(textsIn(engine.requests[0]!.prompt), expected, kind);
    }
  });

  const { stream } = dialect;
  if (!stream) continue;
  Deno.test(`${name}: streams of odd texts are whole frames of whole characters, and add up to the text`, async () => {
    const engine = new FakeEngine(), app = openApp(engine);
    for (const [kind, { text, ...hole }] of Object.entries(ODD_HOLES)) {
      if (isNoRequest(name, hole)) continue;
      engine.script = writing(text);
      const body = { ...dialect.body(hole, MAX_TOKENS), ...stream.body };
      const reply = await post(app, stream.path ?? dialect.path, body);
      assert.equal(reply.headers.get("content-type"), stream.contentType);
      const parts: string[] = framesOf(reply.text, stream).map(stream.part);
      assert.equal(parts.join(""), text, kind);
      assert.ok(parts.every((part) => part.isWellFormed()), kind);
      assert.ok(parts.length >= writing(text).tokens.length, `${kind}: ${parts.length} parts`);
    }
  });
}

Deno.test("no dialect shows a control token that the model writes, whole or streamed", async () => {
  let id: number;
  const [a, b] = byteIds("ab");
  await using model = await openFakeEngine({
    limits: { maxBlocksPerSequence: 8 },
    next: (_, { counter }) => [a, id, b][counter] ?? 0,
  });
  const app = createApp(model.engine, { apiKeys: [] });
  for (const [name, dialect] of ALL) {
    const { path, stream } = dialect, body = dialect.body({ prefix: "p", suffix: "s" }, 4);
    // The end of the text, infill tokens and separators end it; who goes on past them has nothing in their place.
    const ways = /^openai$|^llama/.test(name) ? [[{}, "a"], [{ ignore_eos: true }, "ab"]] : [[{}, "a"]];
    for (const [more, expected] of ways as [Record<string, unknown>, string][]) {
      for (id of CONTROL_TOKENS) {
        const asked = { ...body, ...more };
        const text = wholeText(await post(app, path, asked), dialect);
        assert.equal(text, expected, `${name}: token ${id}`);
        if (!stream) continue;
        const { text: frames } = await post(app, stream.path ?? path, { ...asked, ...stream.body });
        assert.equal(framesOf(frames, stream).map(stream.part).join(""), expected, `${name}: token ${id}`);
      }
    }
  }
});

/** Of the tiny vocabulary, which has StarCoder's: the end of the text, infill tokens, a file's separator, and the last. */
const CONTROL_TOKENS = [0, 1, 2, 3, 4, 5, 18];

Deno.test("errors of every dialect repeat no more than the beginning of a value, and no half of a character", async () => {
  const long = "a" + "🙂".repeat(5000), app = openApp(new FakeEngine());
  for (const [name, dialect] of ALL) {
    const { path, rules } = dialect, body = dialect.body({ prefix: "p", suffix: "s" }, MAX_TOKENS);
    for (
      const wrong of [
        ...[rules({ scope: long }, MAX_TOKENS), { model: long }, { logit_bias: { [long]: 1 } }],
        { structured_outputs: { [long]: 1 } },
      ]
    ) {
      const { status, text, json } = await post(app, path, { ...body, ...wrong });
      if (status === 200) { // It has no such field, or does not look at names while there is one model.
        assert.ok(!("scope" in wrong) && !/^openai/.test(name), name);
        continue;
      }
      assert.ok([400, 404, 422].includes(status), `${name}: ${status} ${text}`);
      assert.ok(text.length < 1200, `${name}: ${text.length} characters`);
      const strings = json === undefined ? [text] : stringsIn(json);
      for (const string of strings) assert.ok(string.isWellFormed(), `${name}: ${string.slice(0, 300)}`);
      assert.match(text, /🙂/, `${name}: names the value`);
    }
  }
});

function stringsIn(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(stringsIn) : [];
}

Deno.test("/tokenize and /detokenize, /slots and /v1/events take odd texts as they are", async () => {
  const engine = new FakeEngine(), app = createApp(engine, { apiKeys: [], showPrompts: true });
  for (const [kind, { prefix, suffix, text }] of Object.entries(ODD_HOLES)) {
    const content = prefix + text + suffix;
    const { tokens } = (await post(app, "/tokenize", { content })).json;
    assert.deepEqual(tokens, [...content].map((character) => character.codePointAt(0)), kind);
    assert.deepEqual((await post(app, "/detokenize", { tokens })).json, { content }, kind);
    const event = { type: "view", completion_id: content, choice_index: 0 };
    const told = await post(app, "/v1/events", event);
    assert.deepEqual([told.status, told.text], [200, ""], kind);

    engine.inFlight = [{ ...RUNNING, prompt: content }];
    const slots = await get(app, "/slots?prompt=1");
    assert.equal(slots.json[0].prompt, content, kind);
  }
});

const RUNNING = {
  ...{ requestId: "r-1", arrival: 7, sample: 0, stage: "decode", priority: "live", ageMs: 1 } as const,
  ...{ promptTokens: 1, computedTokens: 1, generatedTokens: 0, hasNewLine: false, maxTokens: 1, blocks: 1 },
  ...{ temperature: 0, topK: 0, topP: 1, minP: 0 },
};
