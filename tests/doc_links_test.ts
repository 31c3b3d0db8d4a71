// Every link between the documents leads to a file that is there, and to a heading in it.
import { deepStrictEqual, ok } from "node:assert/strict";
import { dirname, fromFileUrl, join, relative } from "std/path/mod.js";

const ROOT = fromFileUrl(new URL("..", import.meta.url));
/** Not ours, or made: these, and what begins with a dot. */
const SKIPPED = ["node_modules"];

Deno.test("links in the documents lead to files and headings that are there", async () => {
  const documents = new Map<string, string>();
  for await (const path of documentsIn(ROOT)) documents.set(path, await Deno.readTextFile(path));
  ok(documents.size > 15);
  const broken: string[] = [];
  for (const [path, text] of documents) {
    for (const [, target] of withoutCode(text).matchAll(/\]\((?!\w+:)([^)\s]+)\)/g)) {
      const [file, heading] = target.split("#");
      const to = file === "" ? path : join(dirname(path), decodeURIComponent(file));
      const isThere = await Deno.stat(to).then(() => true, () => false);
      const hasHeading = heading === undefined || anchorsOf(documents.get(to) ?? "").has(heading);
      if (!isThere || !hasHeading) broken.push(`${relative(ROOT, path)}: ${target}`);
    }
  }
  deepStrictEqual(broken, []);
});

async function* documentsIn(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (name.startsWith(".") || SKIPPED.includes(name)) continue;
    if (isDirectory) yield* documentsIn(join(folder, name));
    else if (name.endsWith(".md")) yield join(folder, name);
  }
}

function withoutCode(text: string): string {
  return text.replace(/^```[^]*?^```/gm, "").replace(/`[^`\n]*`/g, "");
}

/** Those that a Markdown page on the web gives its headings. */
function anchorsOf(text: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading] of text.replace(/^```[^]*?^```/gm, "").matchAll(/^#+ (.*)$/gm)) {
    const plain = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").replaceAll("`", "");
    const anchor = plain.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, "").replace(/\s/g, "-");
    let unique = anchor;
    for (let i = 1; anchors.has(unique); i++) unique = `${anchor}-${i}`;
    anchors.add(unique);
  }
  return anchors;
}
