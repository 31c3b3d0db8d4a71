// llm-ls's code for requests and replies, as it is in a checkout, compiled with Debian's crates.
import { fromFileUrl, join } from "std/path/mod.js";
import { run } from "../../debian.ts";

const CRATES = {
  reqwest: `{ version = "0.11", default-features = false, features = ["json"] }`,
  serde: `{ version = "1", features = ["derive"] }`,
  serde_json: `"1"`,
  thiserror: `"1"`,
  tokio: `{ version = "1", features = ["macros", "rt"] }`,
  uuid: `{ version = "1", features = ["serde"] }`,
};
const PACKAGES = ["reqwest", "serde", "serde-json", "thiserror", "tokio", "uuid"].map((name) =>
  `librust-${name}-dev`
);
/** Where these packages have the crates' sources. */
const REGISTRY = "/usr/share/cargo/registry";
const OURS = fromFileUrl(new URL("program/", import.meta.url));

export interface CompiledLlmLs {
  readonly program: string;
  readonly version: string;
}

/**
 * @param checkout of github.com/huggingface/llm-ls
 * @throws {Error} a crate is not there, or the code is not what it was
 */
export async function compileLlmLs(checkout: string): Promise<CompiledLlmLs> {
  const source = join(checkout, "crates/llm-ls/src"), types = join(checkout, "crates/custom-types/src");
  const main = await Deno.readTextFile(join(source, "main.rs"));
  const manifest = await Deno.readTextFile(join(checkout, "crates/llm-ls/Cargo.toml"));
  const version = /^version = "(.*)"/m.exec(manifest)![1];
  const folder = await Deno.makeTempDir();
  const write = async (path: string, text: string) => {
    await Deno.mkdir(join(folder, path, ".."), { recursive: true });
    await Deno.writeTextFile(join(folder, path), text);
  };
  const copy = async (from: string, to: string) => await write(to, await Deno.readTextFile(from));
  await copy(join(source, "backend.rs"), "src/backend.rs");
  await write(
    "src/requests.rs",
    ["async fn request_completion", "fn build_url"].map(functionOf(main)).join("\n"),
  );
  for (const name of ["main.rs", "error.rs"]) await copy(join(OURS, name), `src/${name}`);
  const { serde, serde_json, uuid } = CRATES;
  const local = { "custom-types": `{ path = "custom-types" }` };
  await write("Cargo.toml", cargoToml("llm-ls", version, { ...CRATES, ...local }));
  const lspTypes = `{ path = "../lsp-types" }`;
  await write(
    "custom-types/Cargo.toml",
    cargoToml("custom-types", "0.1.0", { "lsp-types": lspTypes, serde, serde_json, uuid }),
  );
  await write("custom-types/src/lib.rs", "pub mod llm_ls;\n");
  await copy(join(types, "llm_ls.rs"), "custom-types/src/llm_ls.rs");
  await write("lsp-types/Cargo.toml", cargoToml("lsp-types", "0.94.0", { serde, serde_json }));
  await copy(join(OURS, "lsp_types.rs"), "lsp-types/src/lib.rs");
  await write(
    ".cargo/config.toml",
    `[source.crates-io]\nreplace-with = "debian"\n[source.debian]\ndirectory = "${REGISTRY}"\n`,
  );
  console.error("Compiling llm-ls's requests: minutes, the first time ...");
  const target = join(Deno.env.get("HOME") ?? ".", ".cache/hyades/llm-ls");
  const built = await run([
    "sh",
    "-c",
    `cd "${folder}" && cargo build --offline --quiet --target-dir "${target}"`,
  ]);
  if (built.code !== 0) {
    throw new Error(`${built.stderr}\nIt needs cargo, and of Debian's packages ${PACKAGES.join(", ")}`);
  }
  await Deno.remove(folder, { recursive: true });
  return { program: join(target, "debug/llm-ls"), version };
}

function cargoToml(name: string, version: string, dependencies: Readonly<Record<string, string>>): string {
  const lines = Object.entries(dependencies).map(([crate, wanted]) => `${crate} = ${wanted}`);
  return `[package]\nname = "${name}"\nversion = "${version}"\nedition = "2021"\n[dependencies]\n${
    lines.join("\n")
  }\n`;
}

/** A function of a file, up to the brace that closes it. */
function functionOf(text: string): (head: string) => string {
  return (head) => {
    const start = text.indexOf(`\n${head}(`);
    if (start < 0) throw new Error(`llm-ls's main.rs has no "${head}"`);
    return text.slice(start, text.indexOf("\n}\n", start) + 3);
  };
}
