// Which other files the model is shown, and when: the ring by itself, and a workspace of real files before the server.
import assert from "node:assert/strict";
import { join, toFileUrl } from "std/path/mod.js";
import type { Clock } from "../../clients/lsp/clock.ts";
import { linesAround, similarity } from "../../clients/lsp/context_chunk.ts";
import { ContextRing } from "../../clients/lsp/context_ring.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import { FakeEngine } from "../routes/fake_engine.ts";
import { openApp } from "../routes/requests.ts";
import { editorBefore, PROMPT_SETTINGS } from "./editor.ts";

function chunk(name: string, text = `def ${name}():\n    return "${name}"`) {
  return { uri: `file:///${name}.py`, filename: `${name}.py`, text };
}

function names(ring: ContextRing, text = ""): string[] {
  return ring.beside(text, "file:///here.py").map(({ filename }) => filename);
}

Deno.test("similarity() is the share of lines in common, 0 to 1", () => {
  assert.equal(similarity("a\nb", "  b\n\na"), 1);
  assert.equal(similarity("a\nb", "c\nd"), 0);
  assert.equal(similarity("a\nb", "b\nc"), 0.5);
  assert.equal(similarity("", ""), 0);
});

Deno.test("linesAround() gives 64 lines, or all", () => {
  const text = Array.from({ length: 200 }, (_, i) => `${i}`).join("\n");
  for (const [line, first] of [[0, "0"], [100, "68"], [199, "136"], [5000, "136"]] as const) {
    const lines = linesAround(text, line).split("\n");
    assert.deepEqual([lines.length, lines[0]], [64, first]);
  }
  assert.equal(linesAround("a\nb", 1), "a\nb");
});

Deno.test("ContextRing keeps what came last, the newest at the end, and nothing twice", () => {
  const ring = new ContextRing(2);
  for (const name of ["a", "b", "c"]) ring.offer(chunk(name));
  ring.takeQueued("one");
  assert.deepEqual(names(ring), ["a.py"]);
  ring.takeQueued("all");
  assert.deepEqual(names(ring), ["b.py", "c.py"]);
  ring.offer(chunk("b"));
  assert.equal(ring.hasQueued, false);
  ring.offer({ ...chunk("b"), filename: "moved.py", uri: "file:///moved.py" });
  ring.takeQueued("all");
  assert.deepEqual(names(ring), ["c.py", "moved.py"]);
});

Deno.test("ContextRing gives up what stands in the text itself", () => {
  const ring = new ContextRing(4);
  ring.offer(chunk("a"));
  ring.offer(chunk("b"));
  ring.takeQueued("all");
  assert.deepEqual(names(ring, chunk("a").text), ["b.py"]);
  assert.deepEqual(names(ring), ["b.py"]);
  const half = "x = 1\ny = 2";
  ring.offer(chunk("c", half));
  ring.takeQueued("all");
  assert.deepEqual(ring.beside("x = 1\ny = 22", "file:///d.py").map(({ filename }) => filename), [
    "b.py",
    "c.py",
  ]);
  assert.deepEqual(ring.beside("x = 1\ny = 22", "file:///c.py").map(({ filename }) => filename), ["b.py"]);
});

function nameIn({ prompt }: Pick<GenerationRequest, "prompt">): string | undefined {
  return prompt.kind === "infill" ? prompt.filename : undefined;
}

Deno.test("LanguageServer names the file by its path in the workspace, and nothing that is no file", async () => {
  const engine = new FakeEngine({ tokens: ["1"] }), app = openApp(engine);
  const fetch = async (request: Request) => await app.fetch(request);
  await using editor = await editorBefore({ fetch }, {
    settings: PROMPT_SETTINGS,
    folder: "file:///work/project",
  });
  const cases: [uri: string, name: string | undefined][] = [
    ["file:///work/project/main.py", "main.py"],
    ["file:///work/project/src/%E6%BC%A2%E5%AD%97%20a.py", "src/漢字 a.py"],
    ["file:///elsewhere/notes.py", "notes.py"],
    ["untitled:Untitled-1", undefined],
  ];
  for (const [uri, name] of cases) {
    await editor.open(uri, "x = ▮\n");
    await editor.ask();
    assert.equal(nameIn(engine.requests.at(-1)!), name, uri);
  }
  assert.equal(engine.requests.length, cases.length);
});

/** Time that passes only when told to. */
class StoppedClock implements Clock {
  #nowMs = 0;
  readonly #waiting = new Set<{ readonly atMs: number; readonly resolve: () => void }>();

  now(): number {
    return this.#nowMs;
  }

  delay(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (ms <= 0 || signal?.aborted) return resolve();
      this.#waiting.add({ atMs: this.#nowMs + ms, resolve });
      signal?.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  async pass(ms: number): Promise<void> {
    this.#nowMs += ms;
    for (const waiting of this.#waiting) {
      if (waiting.atMs > this.#nowMs) continue;
      this.#waiting.delete(waiting);
      waiting.resolve();
    }
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

const FILES: Record<string, string> = {
  "shapes.py": "class Point:\n    x = 0\n",
  "ignored/made.py": "MADE = 1\n",
  ".gitignore": "ignored/\n",
  ".env": "PASSWORD=1\n",
  "keys.py": `TOKEN = "ghp_${"a1B2".repeat(9)}"\n`,
  "main.py": "import shapes\n\np = ▮\n",
};

Deno.test("LanguageServer shows open and edited files beside the one at the cursor, no secrets, nothing ignored", async () => {
  const root = await Deno.makeTempDir();
  try {
    await Deno.mkdir(join(root, "ignored"));
    for (const [name, text] of Object.entries(FILES)) {
      await Deno.writeTextFile(join(root, name), text.replace("▮", ""));
    }
    const engine = new FakeEngine({ tokens: ["1"] });
    const app = openApp(engine), clock = new StoppedClock();
    const uriOf = (name: string) => toFileUrl(join(root, name)).href;
    await using editor = await editorBefore({
      fetch: async (request) => await app.fetch(request),
      clock,
    }, { settings: { ...PROMPT_SETTINGS, contextChunks: 16 }, folder: toFileUrl(root).href });
    for (const name of ["shapes.py", "ignored/made.py", ".env", "keys.py", "main.py"]) {
      await editor.open(uriOf(name), FILES[name]);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
    const lastExtra = () => {
      const { prompt } = engine.requests.at(-1)!;
      return prompt.kind === "infill" ? prompt.extra ?? [] : [];
    };
    assert.equal(await editor.suggestion(), "1");
    assert.deepEqual(lastExtra(), [{ filename: "shapes.py", text: FILES["shapes.py"] }]);

    // What is edited meanwhile is shown once one pauses, and the server has read it by then.
    editor.switchTo(uriOf("shapes.py"));
    await editor.edit("    y = 0\n");
    await editor.save();
    editor.switchTo(uriOf("main.py"));
    await editor.type("q");
    await editor.ask();
    assert.equal(lastExtra().length, 1, "shown at once");
    for (let second = 0; second < 5; second++) await clock.pass(1_000);
    assert.deepEqual(lastExtra().map(({ text }) => text), [
      FILES["shapes.py"],
      FILES["shapes.py"] + "    y = 0\n",
    ]);
    assert.deepEqual([engine.standings.at(-1)!.priority, engine.requests.at(-1)!.maxTokens], ["warm-up", 0]);
    // What is read ahead of time begins as what is asked for later.
    assert.deepEqual(engine.requests.map(nameIn), engine.requests.map(() => "main.py"));

    // Nothing at all is sent of a secret file.
    const asked = engine.requests.length;
    editor.switchTo(uriOf(".env"));
    await editor.type("X");
    assert.deepEqual(await editor.ask({ invoked: true }), []);
    assert.equal(engine.requests.length, asked);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("LanguageServer has nothing read ahead of time where it is switched off", async () => {
  const root = await Deno.makeTempDir(), uriOf = (name: string) => toFileUrl(join(root, name)).href;
  try {
    for (const off of [{ enabled: false }, { disabledLanguages: ["python"] }]) {
      const engine = new FakeEngine({ tokens: ["1"] }), app = openApp(engine), clock = new StoppedClock();
      const fetch = async (request: Request) => await app.fetch(request);
      const settings = { ...PROMPT_SETTINGS, contextChunks: 16, ...off };
      await using editor = await editorBefore({ fetch, clock }, { settings, folder: toFileUrl(root).href });
      for (const name of ["shapes.py", "main.py"]) {
        await Deno.writeTextFile(join(root, name), FILES[name]);
        await editor.open(uriOf(name), FILES[name]);
      }
      assert.deepEqual(await editor.ask(), []);
      editor.switchTo(uriOf("shapes.py"));
      await editor.edit("    y = 0\n");
      await editor.save();
      editor.switchTo(uriOf("main.py"));
      await editor.type("q");
      assert.deepEqual(await editor.ask(), []);
      for (let second = 0; second < 5; second++) await clock.pass(1_000);
      assert.deepEqual(engine.requests, []);
    }
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
