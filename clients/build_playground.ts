// `deno task playground`: bundles the playground's code with the libraries it uses into one file that browsers run
// (playground/dist/playground.js), and collects the libraries' licences beside it. Both are committed, so that a server
// needs neither a build nor the libraries.
import { fromFileUrl, join } from "std/path/mod.js";

const FOLDER = fromFileUrl(new URL("./playground/", import.meta.url));
const ENTRY = join(FOLDER, "src", "main.ts");
const CONFIG = join(FOLDER, "deno.json");

export interface Built {
  /** File names of `playground/dist` and what is in them. */
  readonly files: Readonly<Record<string, string>>;
}

/** Builds into memory; the lock file beside the config says which versions, byte for byte. */
export async function buildPlayground(): Promise<Built> {
  return { files: { "playground.js": await bundle(), "licences.txt": await licences() } };
}

async function bundle(): Promise<string> {
  const folder = await Deno.makeTempDir();
  try {
    const output = join(folder, "playground.js");
    await deno(["bundle", "-q", ...LOCKED, "--platform", "browser", "--minify", "--output", output, ENTRY]);
    return await Deno.readTextFile(output);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const LOCKED = ["--config", CONFIG, "--frozen"];

interface ModuleGraph {
  readonly npmPackages: Readonly<Record<string, { readonly name: string; readonly version: string }>>;
}

interface CachePaths {
  readonly npmCache: string;
}

/** Of every package in the bundle; their terms want them to go with it. */
async function licences(): Promise<string> {
  const { npmPackages } = JSON.parse(await deno(["info", "--json", ...LOCKED, ENTRY])) as ModuleGraph;
  const { npmCache } = JSON.parse(await deno(["info", "--json"])) as CachePaths;
  const registries = [...Deno.readDirSync(npmCache)].map(({ name }) => join(npmCache, name));
  const packages = Object.values(npmPackages).sort((a, b) => a.name < b.name ? -1 : 1);
  const texts = packages.map(({ name, version }) => {
    const text = registries.map((registry) => readLicence(join(registry, name, version))).find(Boolean);
    if (!text) throw new Error(`Cannot bundle ${name}@${version}: it comes without a licence`);
    return `${name} ${version}\n\n${text.trim()}\n`;
  });
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}

function readLicence(folder: string): string | undefined {
  try {
    const file = [...Deno.readDirSync(folder)].find(({ name }) => /^licen[cs]e(\.\w+)?$/i.test(name));
    return file && Deno.readTextFileSync(join(folder, file.name));
  } catch {
    return undefined; // Another registry's folder.
  }
}

async function deno(args: readonly string[]): Promise<string> {
  const command = new Deno.Command(Deno.execPath(), { args: [...args], cwd: FOLDER, env: { NO_COLOR: "1" } });
  const { code, stdout, stderr } = await command.output();
  if (code !== 0) throw new Error(`deno ${args[0]} failed: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

if (import.meta.main) {
  const { files } = await buildPlayground();
  for (const [name, text] of Object.entries(files)) {
    await Deno.writeTextFile(join(FOLDER, "dist", name), text);
    console.log(`${name}: ${(text.length / 1024).toFixed(0)} KiB`);
  }
}
