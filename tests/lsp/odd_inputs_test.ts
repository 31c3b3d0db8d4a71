// Odd inputs in the language server: what an editor shows of a file is what the engine is asked about, columns count UTF-16
// units whatever stands before them, and an accepted completion stands where the cursor was. The model is a script.
import assert from "node:assert/strict";
import { createApp } from "../../routes/app.ts";
import { byteIds } from "../engine/tiny_tokenizer.ts";
import { openFakeEngine } from "../engine/fake_model.ts";
import { FakeEngine } from "../routes/fake_engine.ts";
import { ODD_HOLES } from "../routes/odd_holes.ts";
import { openApp } from "../routes/requests.ts";
import { editorBefore, PROMPT_SETTINGS } from "./editor.ts";

/** One request a question: nobody is offered a choice. */
const SETTINGS = { ...PROMPT_SETTINGS, alternatives: 1 };

Deno.test("LanguageServer asks about odd files as they are, and completes at UTF-16 columns", async () => {
  const engine = new FakeEngine(), app = openApp(engine);
  const fetch = async (request: Request) => await app.fetch(request);
  await using editor = await editorBefore({ fetch }, { settings: SETTINGS });
  assert.ok(["utf-16", undefined].includes(editor.initialized.capabilities.positionEncoding));
  for (const [kind, { prefix, suffix, text }] of Object.entries(ODD_HOLES)) {
    engine.script = { tokens: [text] };
    engine.requests.length = 0;
    await editor.open(`file:///odd/${encodeURIComponent(kind)}.py`, `${prefix}▮${suffix}`);
    const items = await editor.ask({ invoked: true });
    assert.deepEqual(items.map(({ insertText }) => insertText), [text], kind);
    const { prompt } = engine.requests[0]!;
    assert.ok(engine.requests.length === 1 && prompt.kind === "infill", kind);
    assert.deepEqual([prompt.prefix, prompt.suffix], [prefix, suffix], kind);

    const line = prefix.split(/\r\n|\r|\n/).at(-1)!;
    const { start, end } = items[0]!.range!;
    assert.deepEqual([start, end], [start, start], `${kind}: the completion takes nothing away`);
    assert.deepEqual([start.line, start.character], [prefix.split("\n").length - 1, line.length], kind);
    await editor.accept(items[0]!);
    assert.equal(editor.text, prefix + text + suffix, kind);
    assert.equal(editor.cursor, (prefix + text).length, kind);
  }
});

Deno.test("LanguageServer goes on where an odd completion is typed letter by letter", async () => {
  const engine = new FakeEngine(), app = openApp(engine);
  const fetch = async (request: Request) => await app.fetch(request);
  await using editor = await editorBefore({ fetch }, { settings: SETTINGS });
  const text = "'🙂漢', b\r\n\t'👍🏽'";
  engine.script = { tokens: [text] };
  await editor.open("file:///odd/typed.py", "# 漢字\r\nfaces = [▮\r\n");
  assert.equal(await editor.suggestion(), text);
  let left = text;
  // An editor sends what one key makes in one change: both units of a character, both of a line break.
  for (const key of text.match(/\r\n|./gsu)!.slice(0, -1)) {
    await editor.edit(key);
    left = left.slice(key.length);
    assert.equal(await editor.suggestion(), left);
  }
  assert.equal(left, "'");
  assert.equal(engine.requests.length, 1);
});

Deno.test("LanguageServer completes nothing between the two units of a character, and asks nobody", async () => {
  const engine = new FakeEngine(), app = openApp(engine);
  const fetch = async (request: Request) => await app.fetch(request);
  await using editor = await editorBefore({ fetch }, { settings: SETTINGS });
  await editor.open("file:///odd/half.py", "x = '🙂▮'\n");
  editor.cursor--;
  assert.deepEqual(await editor.ask({ invoked: true }), []);
  assert.equal(engine.requests.length, 0);
});

/** Documents, what the model writes there, and what is inserted. */
const CLEANED: readonly [document: string, written: readonly number[], inserted: string][] = [
  ["f(▮)\n", byteIds("a)"), "a"],
  ["f(▮)\n", byteIds("g())"), "g()"],
  ["print(len(x▮)\n", byteIds("))"), ")"],
  ["a = [\n  ▮\n]\n", byteIds("1\n]\n"), "1"],
  ["if a:\n\tb = ▮\n\tc()\n", byteIds("1\n\tc()\n"), "1"],
  ["a = {\r\n  ▮\r\n}\r\n", byteIds("1: 2,\n  3: 4\n}"), "1: 2,\r\n  3: 4"],
  ["x = '🙂▮'\n", byteIds("漢'"), "漢"],
  // Control tokens, of which the vocabulary has these, end the text or have none.
  ...Array.from(
    { length: 19 },
    (_, id) => ["x = ▮\n", [...byteIds("a"), id], "a"] as [string, number[], string],
  ),
];

Deno.test("LanguageServer inserts nothing that stands there already, no other line breaks, and no control token", async () => {
  let written: readonly number[] = [];
  await using model = await openFakeEngine({
    limits: { maxBlocksPerSequence: 8 },
    next: (_, { counter }) => written[counter] ?? 0,
  });
  const app = createApp(model.engine, { apiKeys: [] });
  const fetch = async (request: Request) => await app.fetch(request);
  await using editor = await editorBefore({ fetch }, { settings: { ...SETTINGS, maxTokens: 24 } });
  for (const [index, [document, ids, inserted]] of CLEANED.entries()) {
    written = ids;
    // The same text again would be answered from what was given for it.
    await editor.open(`file:///odd/${index}.py`, document.replace("x =", `x${index} =`));
    const [item] = await editor.ask({ invoked: true });
    assert.equal(item?.insertText, inserted, `${JSON.stringify(document)}: ${ids}`);
    await editor.accept(item!);
    if (document.includes("\r\n")) assert.doesNotMatch(editor.text, /\r\r|(?<!\r)\n|\r(?!\n)/);
  }
});
