// The language server before an LSP client, over the application with an engine that tells what a script says.
import assert from "node:assert/strict";
import { createApp } from "../../routes/app.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import { FakeEngine, type Script } from "../routes/fake_engine.ts";
import { openApp } from "../routes/requests.ts";
import { type Editor, editorBefore, type EditorOptions, PROMPT_SETTINGS } from "./editor.ts";

const URI = "file:///work/a.py";

async function openEditor(engine: FakeEngine, options?: EditorOptions): Promise<Editor> {
  const app = openApp(engine);
  return await editorBefore({ fetch: async (request) => await app.fetch(request) }, options);
}

/** An engine whose completions are these texts, one after the other, the last one for ever. */
function writing(...texts: string[]): FakeEngine {
  let asked = 0;
  return new FakeEngine((): Script => ({ tokens: [...texts[Math.min(asked++, texts.length - 1)]] }));
}

function infillOf(
  request: Pick<GenerationRequest, "prompt">,
): { prefix: string; suffix: string; extra: unknown } {
  assert.equal(request.prompt.kind, "infill");
  const { prefix, suffix, extra } = request.prompt as Extract<
    GenerationRequest["prompt"],
    { kind: "infill" }
  >;
  return { prefix, suffix, extra };
}

Deno.test("LanguageServer says what it does when it is initialised", async () => {
  await using editor = await openEditor(new FakeEngine());
  const { capabilities, serverInfo } = editor.initialized;
  assert.equal(capabilities.inlineCompletionProvider, true);
  assert.deepEqual(capabilities.executeCommandProvider?.commands, ["hyades.accepted", "hyades.dismissed"]);
  assert.equal(serverInfo?.name, "hyades");
  const status = await editor.statusWith({ state: "ready", model: "fake/model-1" });
  assert.equal(status.server, "test");
});

Deno.test("LanguageServer asks for a clean infill of the text around the cursor, the likeliest one", async () => {
  const engine = writing("turn 1");
  await using editor = await openEditor(engine);
  await editor.open(URI, "def f():\n    re▮\n\nprint(f())\n");
  const items = await editor.ask();
  const position = { line: 1, character: 6 };
  assert.equal(items.length, 1);
  assert.equal(items[0].insertText, "turn 1");
  assert.deepEqual(items[0].range, { start: position, end: position });
  assert.equal(items[0].command!.command, "hyades.accepted");
  const [request] = engine.requests;
  assert.deepEqual(infillOf(request), { prefix: "def f():\n    re", suffix: "\n\nprint(f())\n", extra: [] });
  assert.deepEqual([request.temperature, request.maxTokens], [0, 128]);
  assert.deepEqual(request.outputRules, {
    scope: "auto",
    trimRepeats: true,
    trimSuffix: true,
    trimBlanks: true,
    keepCrlf: true,
  });
  assert.equal(request.deadlines?.predictMs, 500);
  assert.match(engine.standings[0].requester!.session!, /^lsp-/);
});

Deno.test("LanguageServer answers keys that match what is shown, backspaces, and the same keys again, by itself", async () => {
  const engine = writing("turn value");
  await using editor = await openEditor(engine);
  await editor.open(URI, "def f(value):\n    re▮\n");
  assert.equal(await editor.suggestion(), "turn value");
  let left = "turn value";
  for (const key of "turn v") {
    await editor.type(key);
    left = left.slice(1);
    assert.equal(await editor.suggestion(), left);
  }
  for (let i = 0; i < 3; i++) await editor.backspace();
  assert.equal(await editor.suggestion(), "n value");
  await editor.type("n v");
  assert.equal(await editor.suggestion(), "alue");
  assert.equal(engine.requests.length, 1);
});

Deno.test("LanguageServer asks anew where another key is typed", async () => {
  const engine = writing("turn value", "member(value)");
  await using editor = await openEditor(engine);
  await editor.open(URI, "def f(value):\n    re▮\n");
  await editor.suggestion();
  await editor.type("m");
  assert.equal(await editor.suggestion(), "member(value)");
  assert.equal(infillOf(engine.requests[1]).prefix, "def f(value):\n    rem");
});

Deno.test("LanguageServer has the rest of a completion stand in place of a bracket that the editor closed", async () => {
  const engine = writing("f(x)\nelse:");
  await using editor = await openEditor(engine);
  await editor.open(URI, "a = 1\nb = ▮\n");
  await editor.suggestion();
  await editor.edit("f()");
  editor.cursor--;
  const [item] = await editor.ask();
  assert.equal(item.insertText, "x)\nelse:");
  assert.deepEqual(item.range, { start: { line: 1, character: 6 }, end: { line: 1, character: 7 } });
  await editor.accept(item);
  assert.equal(editor.text, "a = 1\nb = f(x)\nelse:\n");
  assert.equal(engine.requests.length, 1);
});

Deno.test("LanguageServer suggests nothing unasked where one is not writing", async () => {
  const engine = writing("x");
  await using editor = await openEditor(engine);
  for (const text of ["", "a = ▮b", "a = ▮ + some + more\n", "  \n▮\n"]) {
    await editor.open(`file:///work/${crypto.randomUUID()}.py`, text);
    assert.deepEqual(await editor.ask(), [], text);
  }
  assert.equal(engine.requests.length, 0);
  await editor.open(URI, "ab▮");
  await editor.backspace();
  assert.deepEqual(await editor.ask(), []);
  assert.equal(engine.requests.length, 0);
  assert.equal((await editor.ask({ invoked: true })).length, 1);
});

Deno.test("LanguageServer asks for one line in comments and beside a selected item, as the settings say elsewhere", async () => {
  const engine = writing("x");
  await using editor = await openEditor(engine);
  const scopeOf = async (text: string) => {
    await editor.open(`file:///work/${crypto.randomUUID()}.py`, text);
    await editor.ask();
    return engine.requests.at(-1)!.outputRules!.scope;
  };
  assert.equal(await scopeOf("# adds ▮\n"), "line");
  assert.equal(await scopeOf("def f():\n▮"), "auto");
  await editor.configure({ ...PROMPT_SETTINGS, multiLine: "always" });
  assert.equal(await scopeOf("# adds ▮\n"), "block");
  await editor.configure({ ...PROMPT_SETTINGS, multiLine: "never" });
  assert.equal(await scopeOf("def f():\n▮"), "line");
});

Deno.test("LanguageServer continues the item that is selected in the editor's own list", async () => {
  const engine = writing("(x)");
  await using editor = await openEditor(engine);
  await editor.open(URI, "y = abs(1)\nz = ab▮\n");
  const range = { start: { line: 1, character: 4 }, end: { line: 1, character: 6 } };
  const [item] = await editor.ask({ selected: { range, text: "abs" } });
  assert.equal(item.insertText, "abs(x)");
  assert.deepEqual(item.range, range);
  assert.equal(infillOf(engine.requests[0]).prefix, "y = abs(1)\nz = abs");
  assert.equal(engine.requests[0].outputRules!.scope, "line");
});

Deno.test("LanguageServer gives several completions to whoever asks by hand, the likeliest first, no text twice", async () => {
  const engine = new FakeEngine((request) => ({ tokens: request.temperature === 0 ? ["b"] : ["a"] }));
  await using editor = await openEditor(engine);
  await editor.open(URI, "x = ▮\n");
  const items = await editor.ask({ invoked: true });
  assert.deepEqual(items.map(({ insertText }) => insertText), ["b", "a"]);
  assert.deepEqual(engine.requests.map(({ n }) => n).sort(), [1, 2]);
  assert.notEqual(engine.standings[0].requester!.session, engine.standings[1].requester!.session);
});

Deno.test("LanguageServer ends a request when the editor cancels it, and when a newer one comes", async () => {
  const never = new Promise<void>(() => {});
  const engine = new FakeEngine({
    tokens: ["a", "b"],
    beforeToken: (index) => index === 1 ? never : undefined,
  });
  await using editor = await openEditor(engine);
  await editor.open(URI, "x = ▮\n");
  const cancel = new AbortController();
  const asked = editor.ask({ cancel: cancel.signal });
  await until(() => engine.active === 1);
  cancel.abort();
  await assert.rejects(asked, /Another key was typed/);
  await until(() => engine.cancelled === 1 && engine.active === 0);
  const older = editor.ask();
  await until(() => engine.active === 1);
  await editor.type("y");
  engine.script = { tokens: ["z"] };
  assert.equal(await editor.suggestion(), "z");
  assert.deepEqual(await older, []);
  await until(() => engine.cancelled === 2 && engine.active === 0);
});

Deno.test("LanguageServer waits for a pause in typing, and sends one request for many keys", async () => {
  const engine = writing("abc");
  await using editor = await openEditor(engine, { settings: { ...PROMPT_SETTINGS, debounce: 150 } });
  await editor.open(URI, "x = ▮\n");
  const asked: Promise<unknown>[] = [];
  let cancel = new AbortController();
  for (const key of "value") {
    cancel.abort();
    cancel = new AbortController();
    await editor.type(key);
    asked.push(editor.ask({ cancel: cancel.signal }));
  }
  const outcomes = await Promise.allSettled(asked);
  assert.deepEqual(outcomes.map(({ status }) => status), [...Array(4).fill("rejected"), "fulfilled"]);
  assert.equal(engine.requests.length, 1);
  assert.equal(infillOf(engine.requests[0]).prefix, "x = value");
});

Deno.test("LanguageServer asks ahead for what follows a completion, and has it when that is accepted", async () => {
  const engine = writing("first", "\nsecond");
  await using editor = await openEditor(engine, { settings: { ...PROMPT_SETTINGS, speculative: true } });
  await editor.open(URI, "x = ▮\n");
  const [item] = await editor.ask();
  await until(() => engine.requests.length === 2 && engine.active === 0);
  assert.equal(infillOf(engine.requests[1]).prefix, "x = first");
  assert.equal(engine.standings[1].priority, "speculative");
  await editor.accept(item);
  assert.equal(await editor.suggestion(), "\nsecond");
});

Deno.test("LanguageServer does not show again what was dismissed, unless it is asked for", async () => {
  const engine = writing("value + 1");
  await using editor = await openEditor(engine);
  await editor.open(URI, "x = ▮\n");
  const [item] = await editor.ask();
  await editor.execute("hyades.dismissed", [item.command!.arguments![0]]);
  assert.deepEqual(await editor.ask(), []);
  await editor.type("v");
  assert.deepEqual(await editor.ask(), []);
  assert.equal((await editor.ask({ invoked: true }))[0].insertText, "alue + 1");
  assert.equal(engine.requests.filter(({ temperature }) => temperature === 0).length, 1);
});

Deno.test("LanguageServer suggests nothing where it is switched off, and names a wrong setting", async () => {
  const engine = writing("x");
  await using editor = await openEditor(engine, { settings: { ...PROMPT_SETTINGS, enabled: false } });
  await editor.statusWith({ state: "off" });
  await editor.open(URI, "x = ▮\n");
  assert.deepEqual(await editor.ask(), []);
  await editor.configure({ ...PROMPT_SETTINGS, disabledLanguages: ["python"] });
  assert.deepEqual(await editor.ask(), []);
  await editor.configure({ ...PROMPT_SETTINGS, maxTokens: "many" });
  await until(() => editor.messages.length > 0);
  assert.match(editor.messages[0], /^Hyades: Cannot take setting "maxTokens": .*expected number/);
  assert.equal(engine.requests.length, 0);
});

Deno.test("LanguageServer shows nothing of what it knows once the language is switched off", async () => {
  await using editor = await openEditor(writing("value"), { settings: PROMPT_SETTINGS });
  await editor.open(URI, "x = ▮\n");
  assert.equal((await editor.ask())[0].insertText, "value");
  await editor.configure({ ...PROMPT_SETTINGS, disabledLanguages: ["python"] });
  assert.deepEqual(await editor.ask(), []);
  assert.equal((await editor.ask({ invoked: true }))[0].insertText, "value");
});

Deno.test("LanguageServer tells what the server says is wrong, and goes on", async () => {
  const engine = writing("x");
  const app = createApp(engine, { apiKeys: [{ key: "k", name: "k" }] });
  let broken = true;
  await using editor = await editorBefore({
    fetch: (request) =>
      broken ? Promise.reject(new TypeError("no route")) : Promise.resolve(app.fetch(request)),
    apiKey: "wrong",
  });
  const { message } = await editor.statusWith({ state: "error" });
  assert.equal(message, "No server answers at http://hyades.test: no route");
  broken = false;
  await editor.open(URI, "x = ▮\n");
  assert.deepEqual(await editor.ask(), []);
  assert.match(editor.statuses.at(-1)!.message!, /key/i);
});

Deno.test("LanguageServer completes in documents that are no files, and whose addresses are odd", async () => {
  const engine = writing("1");
  await using editor = await openEditor(engine);
  for (
    const uri of [
      "untitled:Untitled-1",
      "file:///work/100%.py",
      "file:///%FF.py",
      "file:///",
      "vscode-vfs://a/b",
    ]
  ) {
    await editor.open(uri, "x = ▮\n");
    assert.equal(await editor.suggestion(), "1", uri);
  }
  assert.equal(editor.statuses.at(-1)!.state, "ready");
});

Deno.test("LanguageServer says so where something else than a completion server answers", async () => {
  await using editor = await editorBefore({ fetch: () => Promise.resolve(new Response("<html>")) });
  const { message } = await editor.statusWith({ state: "error" });
  assert.match(message!, /is no completion server$/);
  await editor.open(URI, "x = ▮\n");
  assert.deepEqual(await editor.ask(), []);
});

Deno.test("LanguageServer says that the model loads, and completes once it has", async () => {
  const engine = writing("1");
  engine.state = { phase: "loading", progress: 0.5 };
  await using editor = await openEditor(engine);
  await editor.statusWith({ state: "loading" });
  assert.ok(!editor.statuses.some(({ state }) => state === "ready"), "nothing can be answered yet");
  await editor.open(URI, "x = ▮\n");
  engine.state = { phase: "ready" };
  await editor.statusWith({ state: "ready", model: "fake/model-1" });
  assert.equal(await editor.suggestion(), "1");
  const { latencyMs } = editor.statuses.findLast(({ state }) => state === "ready")!;
  assert.ok(latencyMs! >= 0);
});

Deno.test("LanguageServer answers what was typed while the model loaded once it has, and by hand says so", async () => {
  const engine = writing("1");
  engine.state = { phase: "loading", progress: 0.5 };
  await using editor = await openEditor(engine);
  await editor.open(URI, "x = ▮\n");
  const left = new AbortController(), leaving = editor.ask({ cancel: left.signal });
  await editor.statusWith({ state: "loading" });
  left.abort();
  await assert.rejects(leaving, /Another key was typed/);
  assert.deepEqual(await editor.ask({ invoked: true }), []);
  assert.match(editor.messages[0], /^Hyades: Loading model/);
  const told = editor.statuses.length, waiting = editor.suggestion();
  await until(() => editor.statuses.slice(told).some(({ state }) => state === "loading"));
  engine.state = { phase: "ready" };
  assert.equal(await waiting, "1");
});

async function until(isSo: () => boolean): Promise<void> {
  for (let tries = 0; !isSo(); tries++) {
    if (tries > 500) throw new Error(`still not so: ${isSo}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
