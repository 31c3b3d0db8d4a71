// What an editor may expect of the language server and the default model together, on the CPU: the checks that the best
// editor clients' behaviour suggests, with the tokens that they cost. (Clients that leave: routes/socket_test.ts; what they held
// is free within a step: engine/cancellation_test.ts.)
import assert from "node:assert/strict";
import { DEFAULT_MODEL_DIR } from "../../cli/default_model.ts";
import { WorkerEngine } from "../../engine/worker_engine.ts";
import { createApp } from "../../routes/app.ts";
import { type Editor, editorBefore, PROMPT_SETTINGS } from "./editor.ts";

/** Of the CPU's infill prompts: --infill-context. */
const MAX_PROMPT_TOKENS = 1024;

interface Exchange {
  readonly priority: string | undefined;
  readonly cached: number;
  readonly computed: number;
  readonly content: string;
}

/** The real application; what it computed for each infill is kept. */
class Server implements AsyncDisposable {
  readonly #engine = new WorkerEngine({
    modelId: "hyades",
    load: { modelDir: DEFAULT_MODEL_DIR, device: "cpu" },
  });
  readonly #app = createApp(this.#engine, { apiKeys: [] });
  readonly exchanges: Exchange[] = [];

  async loaded(): Promise<void> {
    while (this.#engine.state.phase === "loading") await sleep(20);
    assert.equal(this.#engine.state.phase, "ready");
  }

  async editor(settings: Record<string, unknown> = {}): Promise<Editor> {
    const fetch = (request: Request) => this.#fetch(request);
    return await editorBefore({ fetch }, { settings: { ...PROMPT_SETTINGS, maxTokens: 24, ...settings } });
  }

  async infill(body: Record<string, unknown>): Promise<Exchange> {
    await this.#fetch(
      new Request("http://hyades.test/infill", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ n_predict: 16, temperature: 0, clean: true, ...body }),
      }),
    );
    return this.exchanges.at(-1)!;
  }

  /** Until nothing is computed any more, ahead of time neither. */
  async quiet(): Promise<void> {
    for (let steps = -1, now = (await this.#engine.stats()).steps; steps !== now;) {
      steps = now;
      await sleep(150);
      now = (await this.#engine.stats()).steps;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine[Symbol.asyncDispose]();
  }

  async #fetch(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const asked = pathname === "/infill" ? await request.clone().json() : undefined;
    const response = await this.#app.fetch(request);
    if (asked && response.ok) {
      const [reply] = [await response.clone().json()].flat();
      this.exchanges.push({
        priority: asked.priority,
        cached: reply["timings/cache_n"] ?? reply.timings.cache_n,
        computed: reply["timings/prompt_n"] ?? reply.timings.prompt_n,
        content: reply.content,
      });
    }
    return response;
  }
}

/** A class of so many methods, and one that is being written. */
function fileOf(numMethods: number): string {
  const methods = Array.from(
    { length: numMethods },
    (_, i) =>
      `    def method_${i}(self, value):\n        self.field_${i} = value\n        return self.field_${i}\n\n`,
  );
  return `class Thing:\n${methods.join("")}    def last(self, value):\n        self.last_value = ▮\n\n` +
    "    def total(self):\n        return sum(self.values)\n";
}

const FILE = fileOf(12), LONG_FILE = fileOf(60);

let uris = 0;
const newUri = () => `file:///work/file_${uris++}.py`;

Deno.test("an editor before the default model", async (t) => {
  await using server = new Server();
  await server.loaded();

  await t.step("six keys that match what is shown cost one prompt, and the text stays", async () => {
    await using editor = await server.editor();
    await editor.open(
      newUri(),
      "class Point:\n    def __init__(self, x, y):\n        self.x = x\n        ▮\n",
    );
    const shown = (await editor.suggestion())!;
    assert.ok(shown.length > 6, shown);
    const before = server.exchanges.length;
    for (let typed = 1; typed <= 6; typed++) {
      await editor.type(shown[typed - 1]);
      assert.equal(await editor.suggestion(), shown.slice(typed));
    }
    assert.equal(server.exchanges.length, before);
  });

  await t.step("after Tab the next suggestion's prompt costs what was accepted", async () => {
    await using editor = await server.editor();
    await editor.open(newUri(), FILE);
    const [item] = await editor.ask();
    const first = server.exchanges.at(-1)!;
    await server.quiet();
    await editor.accept(item);
    await editor.type("\n");
    await editor.ask();
    const next = server.exchanges.at(-1)!;
    const accepted = (item.insertText as string).length;
    // In the layout that has it last the text after the cursor is read again.
    const after = editor.text.length - editor.cursor;
    assert.ok(first.cached + first.computed > 250);
    assert.ok(next.computed < accepted + after / 2, `${next.computed} computed after ${accepted} characters`);
  });

  await t.step("three steps back and the same keys again cost nothing", async () => {
    await using editor = await server.editor();
    await editor.open(newUri(), FILE);
    const shown = (await editor.suggestion())!;
    await editor.type(shown.slice(0, 4));
    const before = server.exchanges.length;
    for (let i = 0; i < 3; i++) await editor.backspace();
    await editor.type(shown.slice(1, 4));
    assert.equal(await editor.suggestion(), shown.slice(4));
    assert.equal(server.exchanges.length, before);
    // A client without a memory of its own is answered from the server's.
    const [prefix, suffix] = FILE.split("▮");
    const again = await server.infill({
      ...{ input_prefix: prefix + shown.slice(0, 1), input_suffix: suffix },
      filename: editor.uri.slice(editor.uri.lastIndexOf("/") + 1),
    });
    assert.ok(again.computed <= 8, `${again.computed} computed`);
  });

  await t.step(
    "a line put in above costs no more than a prompt may have, and what stands above it is known",
    async () => {
      await using editor = await server.editor();
      await editor.open(newUri(), LONG_FILE);
      await editor.ask();
      const first = server.exchanges.at(-1)!;
      assert.ok(
        first.cached + first.computed > 0.9 * MAX_PROMPT_TOKENS,
        "the file is longer than what is shown",
      );
      const { cursor } = editor, line = "    # what follows was put in\n";
      // In the middle of what is shown.
      editor.cursor = editor.text.lastIndexOf("    def method_", cursor - 1500);
      await editor.edit(line);
      editor.cursor = cursor + line.length;
      const before = server.exchanges.length;
      assert.ok(await editor.suggestion());
      assert.equal(server.exchanges.length, before + 1);
      const { cached, computed } = server.exchanges.at(-1)!;
      assert.ok(
        cached + computed <= 1.5 * MAX_PROMPT_TOKENS && computed <= 0.75 * MAX_PROMPT_TOKENS && cached > 256,
        `${cached} + ${computed}`,
      );
    },
  );

  await t.step("two editors that both say id_slot 0 keep what the server knows of each", async () => {
    const [prefix, suffix] = FILE.split("▮");
    const files = ["A", "B"].map((name) => ({
      input_prefix: prefix.replaceAll("method", `name${name}`),
      input_suffix: suffix,
      id_slot: 0,
    }));
    for (const file of files) await server.infill(file);
    for (const file of files) {
      const { cached, computed } = await server.infill({ ...file, input_prefix: file.input_prefix + "v" });
      assert.ok(computed <= 8 && cached > 250, `${cached} + ${computed}`);
    }
  });

  await t.step("what stands right of the cursor or below it is not written again", async () => {
    await using editor = await server.editor();
    const cases = [
      "numbers = [1, 2, 3]\nprint(sum(numbers▮)\n",
      "def f(items):\n    for item in items:\n        print(item▮)\n",
      "settings = {\n    'name': 'a',\n    'size': ▮\n}\n",
    ];
    for (const text of cases) {
      await editor.open(newUri(), text);
      const [before, after] = text.split("▮");
      const items = await editor.ask({ invoked: true });
      assert.ok(items.length > 0, text);
      for (const item of items) {
        const closers = /^\n?[)}]/.exec(after)![0];
        const inserted = item.insertText as string;
        const open = (inserted.match(/[({[]/g) ?? []).length,
          closed = (inserted.match(/[)}\]]/g) ?? []).length;
        const owed = (before.match(/\(/g) ?? []).length - (before.match(/\)/g) ?? []).length - 1;
        assert.ok(!inserted.endsWith(closers) || closed <= open + Math.max(0, owed), `${text} + ${inserted}`);
      }
    }
  });

  await t.step("a file with CRLF gets CRLF, and the same suggestion as with LF", async () => {
    await using editor = await server.editor();
    const text =
      "def area(width, height):\n    ▮\n\n\ndef volume(width, height, depth):\n    return width * height * depth\n";
    await editor.open("file:///unix/area.py", text);
    const [unix] = await editor.ask();
    await editor.open("file:///windows/area.py", text.replaceAll("\n", "\r\n"));
    const [windows] = await editor.ask();
    assert.equal(windows.insertText, (unix.insertText as string).replaceAll("\n", "\r\n"));
    await editor.accept(windows);
    assert.doesNotMatch(editor.text, /\r\r|[^\r]\n|\r[^\n]/);
  });

  await t.step("tabs, a block's end, an empty file, long lines, emoji and CJK are answered", async () => {
    await using editor = await server.editor();
    const cases = {
      tabs: "def f(a):\n\tif a:\n\t\treturn 1\n\t▮\n",
      "a block's end": "def f(a):\n    return a\n\n▮\n",
      "an empty file": "▮",
      "a line of 5000 characters": `x = [${"1, ".repeat(1700)}▮\n`,
      emoji: "faces = ['🙂', '🙃']\nfor face in faces:\n    print('🙂', ▮)\n",
      "CJK": "# 名前を印刷する\n名前 = '漢字'\nprint(▮)\n",
    };
    for (const [name, text] of Object.entries(cases)) {
      await editor.open(newUri(), text);
      const before = server.exchanges.length;
      const items = await editor.ask({ invoked: text === "▮" });
      assert.ok(server.exchanges.length > before, `${name}: the model was asked`);
      for (const item of items) {
        assert.ok((item.insertText as string).isWellFormed(), name);
        assert.doesNotMatch(item.insertText as string, /\uFFFD/, name);
      }
      const status = editor.statuses.at(-1)!;
      assert.equal(status.state, "ready", `${name}: ${status.message}`);
    }
  });

  await t.step("infill tokens and the end of the text are never visible", async () => {
    const control = [...Array(19).keys()]; // All of the vocabulary's special tokens.
    for (const id of control) {
      const { content } = await server.infill({
        input_prefix: "x = ",
        input_suffix: "\n",
        logit_bias: { [id]: 100 },
        clean: false,
      });
      assert.doesNotMatch(
        content,
        /<\||\|>|<(fim|file|repo|jupyter|commit|issue|gh_|empty|reponame|filename)/,
      );
    }
  });
});

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
