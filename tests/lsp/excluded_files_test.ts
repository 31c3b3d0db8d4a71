// Which files are left out: git's own verdict on a tree of its own, and secrets.
import assert from "node:assert/strict";
import { join } from "std/path/mod.js";
import { ExcludedFiles, holdsSecret } from "../../lsp/excluded_files.ts";
import { run } from "../debian.ts";

const TREE: Record<string, string> = {
  ".gitignore": "*.log\nbuild/\n!keep.log\n/top.py\n",
  "a.py": "",
  "top.py": "",
  "debug.log": "",
  "keep.log": "",
  "build/out.py": "",
  "build/.gitignore": "!out.py\n",
  "lib/top.py": "",
  "lib/.gitignore": "gen_*.py\n!debug.log\n",
  "lib/gen_a.py": "",
  "lib/debug.log": "",
  "lib/deep/gen_b.py": "",
  "lib/deep/other.log": "",
  "local.py": "",
  "names with blanks/é.log": "",
};

Deno.test("ExcludedFiles.find() says of every file of a tree what git says", async () => {
  const root = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries(TREE)) {
      await Deno.mkdir(join(root, name, ".."), { recursive: true });
      await Deno.writeTextFile(join(root, name), text);
    }
    assert.equal((await run(["git", "init", "-q", root])).code, 0);
    await Deno.writeTextFile(join(root, ".git/info/exclude"), "local.py\n");
    const files = new ExcludedFiles();
    const verdicts: Record<string, boolean> = {}, gits: Record<string, boolean> = {};
    for (const name of Object.keys(TREE)) {
      verdicts[name] = await files.find(join(root, name), join(root, "lib")) === "ignored";
      gits[name] = (await run(["git", "-C", root, "check-ignore", "-q", "--no-index", name])).code === 0;
    }
    assert.deepEqual(verdicts, gits);
    assert.deepEqual([gits["build/out.py"], gits["lib/debug.log"], gits["local.py"]], [true, false, true]);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("ExcludedFiles.find() knows secret files by their names, and those that a user adds", async () => {
  const files = new ExcludedFiles(["*.private.py"], () => Promise.resolve(undefined));
  for (
    const name of [
      ".env",
      ".ENV.local",
      "server.pem",
      "id_ed25519",
      ".ssh/config",
      "secrets.yaml",
      "prod.tfvars",
      "a.private.py",
    ]
  ) {
    assert.equal(await files.find(`/home/ann/app/${name}`, "/home/ann/app"), "secret", name);
  }
  assert.equal(await files.find(String.raw`C:\Users\ann\.ssh\config`, "/home"), "secret");
  for (const name of ["env.py", ".env.example", "id_ed25519.pub", "keys.py", "secrets/a.py", "main.tf"]) {
    assert.equal(await files.find(`/home/ann/app/${name}`, "/home/ann/app"), undefined, name);
  }
});

Deno.test("holdsSecret() knows private keys and tokens by their form", () => {
  const secrets = [
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----",
    `AWS = "AKIA${"A1B2C3D4E5F6G7H8"}"`,
    `token = "ghp_${"a1B2".repeat(9)}"`,
    `key: sk-${"abcd".repeat(10)}`,
    `hf_${"x".repeat(34)}`,
  ];
  for (const text of secrets) assert.ok(holdsSecret(`x = 1\n${text}\n`), text);
  for (
    const text of ["def sk_(a): pass", "-----BEGIN PUBLIC KEY-----", "ghp_short", "disk-usage-of-all-files"]
  ) {
    assert.ok(!holdsSecret(text), text);
  }
});
