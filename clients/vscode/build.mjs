// Bundles the extension into dist/extension.js. It remembers the repository that it was built in, whose language server
// it starts unless a setting names another, and takes that repository's licence along.
import { build } from "esbuild";
import { copyFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const clone = fileURLToPath(new URL("../../", import.meta.url)).replace(/[\\/]$/, "");

await build({
  entryPoints: ["src/extension.ts"],
  outfile: "dist/extension.js",
  bundle: true,
  platform: "node",
  format: "cjs",
  target: "node20",
  external: ["vscode"],
  minify: true,
  define: { BUILT_IN: JSON.stringify(clone) },
});

await copyFile(new URL("../../LICENSE", import.meta.url), "LICENSE.txt");
