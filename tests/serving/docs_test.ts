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
  /** The completions that the line below it promises, of the first choice, of the second ... */
  readonly texts: readonly string[];
}

const EXAMPLE =
  /```sh\ncurl http:\/\/127\.0\.0\.1:8012(\/\S+)((?: -H '[^']*')*) -d '([^']*)'\n```\n(?:\nThe reply has (`.*?)(?:\.\s|$))?/gm;

function examplesIn(markdown: string): Example[] {
  return [...markdown.matchAll(EXAMPLE)].map(([, path, headers, body, said = ""]) => ({
    path,
    headers: Object.fromEntries(
      [...headers.matchAll(/'([\w-]+): ([^']*)'/g)].map(([, name, value]) => [name, value]),
    ),
    body,
    texts: [...said.matchAll(/`(?:"\w+": ?)?("(?:[^"\\]|\\.)*")`/g)].map(([, text]) => JSON.parse(text)),
  }));
}

const readDoc = (path: string) => Deno.readTextFile(new URL(path, ROOT));

for (const fimLayout of ["psm", "spm"] as const) {
  // A server may choose either, by what is cheaper at the moment.
  Deno.test(`every request in README.md and docs/api.md is served, and gives what is said below it [${fimLayout}]`, () =>
    checkExamples(fimLayout));
}

async function checkExamples(fimLayout: FimLayout): Promise<void> {
  await using engine = await openDefault({ fimLayout });
  const app = createApp(engine, { apiKeys: [] });
  for (const [file, count] of [["README.md", 1], ["docs/api.md", 9]] as const) {
    const markdown = await readDoc(file), examples = examplesIn(markdown);
    assert.equal(markdown.match(/^curl /gm)!.length, count, file);
    assert.equal(examples.length, count, file);
    assert.equal(
      markdown.match(/^The reply has /gm)!.length,
      examples.filter(({ texts }) => texts.length > 0).length,
    );
    for (const { path, headers, body, texts } of examples) {
      const reply = await app.request(path, { method: "POST", headers, body });
      const json = await reply.json();
      assert.equal(reply.status, 200, JSON.stringify(json));
      const one = json.content ?? json.generated_text ?? json.response;
      const said = one === undefined ? json.choices.map(({ text }: { text: string }) => text) : [one];
      assert.deepEqual(said.slice(0, texts.length), texts, body);
    }
  }
}

Deno.test("docs/api.md ends the stream of its first request as it does end", async () => {
  await using engine = await openDefault({});
  const markdown = await readDoc("docs/api.md"), [{ path, body }] = examplesIn(markdown);
  const app = createApp(engine, { apiKeys: [] });
  const [, fields] = /The request at this page's beginning, with `("response_fields": .*?)`/.exec(markdown)!;
  const asked = { ...JSON.parse(body), ...JSON.parse(`{${fields}}`), stream: true };
  const headers = { "content-type": "application/json" };
  const reply = await app.request(path, { method: "POST", headers, body: JSON.stringify(asked) });
  const [, shown] = /ends with\n\n```\n(data: {"index".*?)```/s.exec(markdown)!;
  assert.equal((await reply.text()).trim().split("\n\n").slice(-2).join("\n\n"), shown.trim());
});

async function openDefault(options: { readonly fimLayout?: FimLayout }): Promise<WorkerEngine> {
  const load = { modelDir: DEFAULT_MODEL_DIR, device: "cpu" } as const;
  const engine = new WorkerEngine({ modelId: DEFAULT_MODEL_ID, load, ...options });
  while (engine.state.phase === "loading") await new Promise((resolve) => setTimeout(resolve, 20));
  return engine;
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
