// Halves of characters that clients escape: no reply has any.
import assert from "node:assert/strict";
import { parseJsonText } from "../../routes/json_text.ts";
import fc from "../fast_check.ts";
import { FakeEngine } from "./fake_engine.ts";
import { openApp, post } from "./requests.ts";

const pieces = fc.constantFrom(
  "\uD83D",
  "\uDE00",
  "\uDBFF",
  "\\",
  "\\u",
  "\\uD83D",
  "u",
  "dE00",
  "é",
  '"',
  "\n",
  "a",
);
const texts = fc.array(pieces, { maxLength: 8 }).map((parts) => parts.join(""));

Deno.test("parseJsonText() reads half a character as U+FFFD, in names too, and all else as JSON.parse() does", () => {
  fc.assert(fc.property(texts, fc.boolean(), (text, escaped) => {
    const json = JSON.stringify({ [text]: [text] });
    const sent = escaped
      ? json.replace(/[\uD800-\uDFFF]/g, (half) => `\\u${half.charCodeAt(0).toString(16)}`)
      : json;
    const whole = text.toWellFormed();
    assert.deepEqual(parseJsonText(sent), { [whole]: [whole] });
  }));
  assert.throws(() => parseJsonText('{"a":"\\uD83D'), SyntaxError);
});

const HALF = "\uD83D";

Deno.test("No reply, of an error or not, repeats half a character that a client has sent", async () => {
  const app = openApp(new FakeEngine());
  const sent: [path: string, body: object, status: number][] = [
    ["/v1/completions", { prompt: HALF, model: `x${HALF}y` }, 404],
    ["/v1/completions", { prompt: HALF, logit_bias: { [HALF]: 1 } }, 400],
    ["/v1/completions", { prompt: HALF, temperature: HALF }, 400],
    ["/v1/completions", { prompt: HALF, echo: true, max_tokens: 1 }, 200],
    ["/completion", { prompt: HALF, stop: [HALF], n_predict: 1 }, 200],
    ["/generate", { inputs: HALF, parameters: { return_full_text: true, max_new_tokens: 1 } }, 200],
    ["/api/show", { model: HALF }, 404],
  ];
  for (const [path, body, status] of sent) {
    const reply = await post(app, path, body);
    assert.equal(reply.status, status, reply.text);
    assert.doesNotMatch(reply.text, /\\u[dD]83[dD]/, path);
  }
});
