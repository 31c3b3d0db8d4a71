// The dependency rule of docs/architecture.md: data flows routes -> engine -> models -> kernels -> device.
import { deepStrictEqual } from "node:assert/strict";

const MAY_IMPORT: Record<string, readonly string[]> = {
  device: [],
  kernels: ["device"],
  models: ["kernels", "device"],
  engine: ["models", "kernels", "device"],
  routes: ["engine"],
  // They speak HTTP, by a fetch that they are handed.
  clients: [],
};

/** Specifiers of static, re-exported, type-only and dynamic imports in a module's text. */
export function importsOf(code: string): string[] {
  const patterns = [
    /^\s*(?:import|export)\b[^"';]*?\bfrom\s*["']([^"']+)["']/gm,
    /^\s*import\s*["']([^"']+)["']/gm,
    /\bimport\(\s*["']([^"']+)["']/g,
    /\bnew URL\(\s*["']([^"']+)["']\s*,\s*import\.meta\.url/g,
  ];
  return patterns.flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1]));
}

/** Imports of `file` (a path from the root) that leave the folders it may use. */
export function violations(file: string, code: string): string[] {
  const room = file.split("/")[0];
  const allowed = MAY_IMPORT[room];
  if (!allowed) return [];
  return importsOf(code).filter((specifier) => specifier.startsWith(".")).flatMap((specifier) => {
    const target = new URL(specifier, `file:///${file}`).pathname.slice(1).split("/")[0];
    return target === room || allowed.includes(target) ? [] : [`${file} imports ${specifier}`];
  });
}

async function* sourceFiles(folder: string): AsyncIterable<string> {
  for await (const entry of Deno.readDir(new URL(`../${folder}`, import.meta.url))) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) yield* sourceFiles(path);
    else if (entry.name.endsWith(".ts")) yield path;
  }
}

Deno.test("every folder imports only what the dependency rule allows", async () => {
  const found: string[] = [];
  let files = 0;
  for (const room of Object.keys(MAY_IMPORT)) {
    for await (const file of sourceFiles(room)) {
      files++;
      found.push(...violations(file, await Deno.readTextFile(new URL(`../${file}`, import.meta.url))));
    }
  }
  deepStrictEqual(found, []);
  if (files < 20) throw new Error(`only ${files} files were looked at`);
});

Deno.test("violations() sees static, re-exported, dynamic and worker imports that point the wrong way", () => {
  const code = [
    `import { a } from "../engine/engine.ts";`,
    `export * from "../routes/app.ts";`,
    `import {\n  type B,\n} from "../models/runner.ts";`,
    `const c = await import("../cli/serve.ts");`,
    `new Worker(new URL("../main.ts", import.meta.url));`,
    `import { fine } from "../device/caps.ts";`,
    `import "hono";`,
  ].join("\n");
  deepStrictEqual(violations("kernels/linear/gpu.ts", code.replaceAll("../", "../../")).length, 5);
});
