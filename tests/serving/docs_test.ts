// What README.md and docs/api.md say that requests give is what they give: every curl in them, on the default model.
import assert from "node:assert/strict";
import { DEFAULT_MODEL_DIR, DEFAULT_MODEL_ID } from "../../cli/default_model.ts";
import { readPlace } from "../../cli/complete.ts";
import { GRAMMAR_LIBRARY } from "../../engine/grammar.ts";
import type { FimLayout } from "../../engine/request.ts";
import { WorkerEngine } from "../../engine/worker_engine.ts";
import { createApp } from "../../routes/app.ts";

const ROOT = new URL("../../", import.meta.url);

interface Example {
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: string;
  /** The completion that the line below it promises. */
  readonly text: string | undefined;
}

const EXAMPLE =
  /```sh\ncurl http:\/\/127\.0\.0\.1:8012(\/\S+)((?: -H '[^']*')*) -d '([^']*)'\n```\n(?:\nThe reply has `"\w+": ?("(?:[^"\\]|\\.)*"))?/g;

function examplesIn(markdown: string): Example[] {
  return [...markdown.matchAll(EXAMPLE)].map(([, path, headers, body, text]) => ({
    path,
    headers: Object.fromEntries(
      [...headers.matchAll(/'([\w-]+): ([^']*)'/g)].map(([, name, value]) => [name, value]),
    ),
    body,
    text: text === undefined ? undefined : JSON.parse(text),
  }));
}

const readDoc = (path: string) => Deno.readTextFile(new URL(path, ROOT));

for (const fimLayout of ["psm", "spm"] as const) {
  // A server may choose either, by what is cheaper at the moment.
  Deno.test(`every request in README.md and docs/api.md is served, and gives what is said below it [${fimLayout}]`, () =>
    checkExamples(fimLayout));
}

async function checkExamples(fimLayout: FimLayout): Promise<void> {
  const load = { modelDir: DEFAULT_MODEL_DIR, device: "cpu" } as const;
  await using engine = new WorkerEngine({ modelId: DEFAULT_MODEL_ID, load, fimLayout });
  const app = createApp(engine, { apiKeys: [] });
  while (engine.state.phase === "loading") await new Promise((resolve) => setTimeout(resolve, 20));
  for (const [file, count] of [["README.md", 1], ["docs/api.md", 9]] as const) {
    const markdown = await readDoc(file), examples = examplesIn(markdown);
    assert.equal(markdown.match(/^curl /gm)!.length, count, file);
    assert.equal(examples.length, count, file);
    assert.equal(
      markdown.match(/^The reply has /gm)!.length,
      examples.filter(({ text }) => text !== undefined).length,
    );
    for (const { path, headers, body, text } of examples) {
      const reply = await app.request(path, { method: "POST", headers, body });
      const json = await reply.json();
      assert.equal(reply.status, 200, JSON.stringify(json));
      const said = json.content ?? json.generated_text ?? json.response ?? json.choices[0].text;
      if (text !== undefined) assert.equal(said, text, body);
    }
  }
}

Deno.test("README.md completes at a place that there is, and the docs name the grammar library that is used", async () => {
  const [, text, file, place] = /printf '(.+)' > (\S+)\ndeno task complete (\S+:\d+)/.exec(
    await readDoc("README.md"),
  )!;
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/${file}`, text.replaceAll("\\n", "\n"));
  assert.match((await readPlace(`${folder}/${place}`)).prefix, /def push\(self, item\):$/);
  await Deno.remove(folder, { recursive: true });
  for (const file of ["docs/api.md", "docs/operations.md"]) {
    assert.ok((await readDoc(file)).includes(`deno cache ${GRAMMAR_LIBRARY}`), file);
  }
});
