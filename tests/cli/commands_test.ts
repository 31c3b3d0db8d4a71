// The real commands as their own processes, as `deno task` starts them: what they print, and what they refuse.
import assert from "node:assert/strict";
import { fromFileUrl, join, resolve } from "std/path/mod.js";
import { DEFAULT_MODEL_ID } from "../../cli/default_model.ts";
import { startServer } from "./running_server.ts";

const ROOT = resolve(fromFileUrl(new URL("../../", import.meta.url)));

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Permission sets of commands, where not those of `serve`. */
const PERMISSIONS: Readonly<Record<string, string>> = {
  quantize: "quantize",
  distil: "quantize",
  pull: "pull",
  models: "pull",
};

/** Runs `main.ts ARGS` under a permission set of deno.json; `callersFolder` is where `deno task` was called. */
async function hyades(args: readonly string[], callersFolder: string = ROOT): Promise<Outcome> {
  const permissions = PERMISSIONS[args[0]] ?? "serve";
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", `-P=${permissions}`, "main.ts", ...args],
    cwd: ROOT,
    env: { INIT_CWD: callersFolder, NO_COLOR: "1", HYADES_API_KEY: "" },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** @throws {assert.AssertionError} unless the command fails with this as its error, and no stack trace. */
async function refused(args: readonly string[], error: RegExp): Promise<void> {
  const { code, stdout, stderr } = await hyades(args);
  assert.equal(code, 1, stdout);
  assert.match(stderr, error);
  assert.doesNotMatch(stderr, /^\s+at /m);
}

for (const command of ["serve", "complete", "lsp", "pull", "models", "quantize", "distil", "doctor"]) {
  Deno.test(`${command} --help shows how to call it, and names no path of this machine`, async () => {
    const { code, stdout } = await hyades([command, "--help"]);
    assert.equal(code, 0);
    assert.ok(stdout.startsWith(`Usage: deno task ${command} [options]`), stdout);
    assert.ok(!stdout.includes(ROOT), stdout);
  });
}

Deno.test("serve says what to do about a port in use, before it loads the model", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  await refused(
    ["serve", "--port", `${port}`, "--model", "docs"],
    /: the port is in use; stop that server or take --port/,
  );
});

Deno.test("serve refuses a public host without an API key", async () => {
  await refused(["serve", "--port", "0", "--host", "0.0.0.0"], /no API key is set; add --api-key KEY/);
});

Deno.test("serve says so when the address is none of this machine's", async () => {
  await refused(
    ["serve", "--port", "0", "--host", "192.0.2.1", "--api-key", "k"],
    /Cannot listen on 192\.0\.2\.1:0: this machine has no such address/,
  );
});

Deno.test("serve refuses a file of keys that is wrong, missing or empty, before it loads the model", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const file = join(folder, "keys");
    const serve = ["serve", "--port", "0", "--model", "no/such/model", "--api-keys", file];
    await refused(serve, /^error: Cannot read the file of --api-keys: .*keys/m);
    await Deno.writeTextFile(file, "# nobody\n");
    await refused(serve, /it has no key; write one a line/);
    await Deno.writeTextFile(file, "k limit=3\n");
    await refused(serve, /Cannot read API keys, line 1: after the key must come name=…/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("quantize refuses a GGUF file, and what is not there", async () => {
  await refused(
    ["quantize", "tests/fixtures/gguf/qwen2-q8_0.gguf", "/tmp/none"],
    /Cannot quantize "tests\/fixtures\/gguf\/qwen2-q8_0\.gguf": take the safetensors that this GGUF file was made of/,
  );
  await refused(
    ["quantize", "no/such", "/tmp/none"],
    /"no\/such" must be a model folder, there is none, nor was it pulled: deno task pull no\/such/,
  );
});

Deno.test("serve ends when the model folder is wrong", async () => {
  await refused(
    ["serve", "--port", "0", "--model", "no/such/model"],
    /"no\/such\/model" must be a model folder, there is none/,
  );
  await refused(["serve", "--port", "0", "--model", "docs"], /"docs\/config\.json" is missing/);
});

Deno.test("serve answers at the address that it prints, and ends in order at Ctrl-C", async () => {
  await using server = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "-P=serve", "main.ts", "serve", "--port", "0", "--device", "cpu"],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stderr: "piped",
  }).spawn();
  let printed = "";
  for await (const text of server.stderr.pipeThrough(new TextDecoderStream())) {
    printed += text;
    const url = /Listening on (\S+) /.exec(printed)?.[1];
    if (!url) continue;
    const ready = await fetch(`${url}/readyz`);
    assert.deepEqual(await ready.json(), { status: "ready", model: DEFAULT_MODEL_ID });
    server.kill("SIGINT");
  }
  assert.equal((await server.status).code, 0);
});

Deno.test("serve says that it found no GPU where it was to look for one", async () => {
  const noDriver = { VK_DRIVER_FILES: "/no/driver.json" };
  for (const [device, says] of [["auto", true], ["cpu", false]] as const) {
    await using server = await startServer(["--device", device], noDriver);
    assert.match(server.printed(), /^Serving mqa-d40-f32 .* on cpu: /m);
    assert.equal(server.printed().includes("(no GPU found: deno task doctor says more)"), says);
  }
});

Deno.test("a wrong option is named, with the values it may have", async () => {
  await refused(["serve", "--prot", "1"], /Did you mean --port\?\)\n\(add --help for the options\)/);
  await refused(["serve", "--port", "65536"], /'65536' is invalid\. must be a port, 0 to 65535/);
  await refused(["serve", "--cors-origin", "vscode.dev"], /must be an origin such as https:\/\/vscode\.dev/);
  await refused(["serve", "--queue-timeout", "soon"], /must be a number of seconds above 0/);
  await refused(["serve", "--log-level", "loud"], /Allowed choices are debug, info, warn, error, off/);
  await refused(["serve", "--device", "cuda"], /Allowed choices are auto, dawn, webgpu, cpu/);
  await refused(["complete", "main.ts", "--temperature", "hot"], /'hot' is invalid\. must be a number/);
});

const STACK = `class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
`;

Deno.test("complete fills a method's body in, and says so where nothing is left to insert", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(join(folder, "stack.py"), STACK);
  const [body, nothing] = await Promise.all([
    hyades(["complete", "stack.py:5", "--device", "cpu"], folder),
    hyades(["complete", "tests/fixtures/holes/lru_cache.py:6", "--device", "cpu"]),
  ]);
  await Deno.remove(folder, { recursive: true });
  // As README.md shows it.
  assert.equal(body.stdout, "\n        self.items.append(item)\n");
  assert.deepEqual([nothing.code, nothing.stdout], [0, "\n"]);
  assert.match(nothing.stderr, /^Nothing to insert: .*\(trim_repeats\); --clean off shows it$/m);
});

Deno.test("complete prints a completion of the default model, of a file in the caller's folder", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(
      join(folder, "fibonacci.py"),
      "def fibonacci(n):\n    a, b = 0, 1\n    for _ in\n",
    );
    const place = ["complete", "fibonacci.py:3:13", "--device", "cpu", "--max-tokens", "4", "--line"];
    const first = await hyades([...place, "--seed", "0"], folder);
    assert.equal(first.code, 0, first.stderr);
    assert.match(first.stdout, /^.+\n$/);
    assert.deepEqual((await hyades(place, folder)).stdout, first.stdout);
    const wrong = await hyades(["complete", "fibonacci.py:9"], folder);
    assert.match(wrong.stderr, /has lines 1 to 4, received 9/);
    const point =
      "class Point:\n    def __init__(self, x, y):\n        self.x = x\n        \n\n    def length(self):\n";
    await Deno.writeTextFile(
      join(folder, "point.py"),
      point + "        return (self.x ** 2 + self.y ** 2) ** 0.5\n",
    );
    const clean = await hyades(["complete", "point.py:4", "--device", "cpu"], folder);
    assert.equal(clean.stdout, "self.y = y\n");
    // The block that is begun there, and, as it was written, what the model thinks comes after it.
    const block = ["complete", "tests/fixtures/holes/matrix.py:5", "--device", "cpu"];
    const [ended, whole] = await Promise.all([hyades(block), hyades([...block, "--clean", "off"])]);
    assert.match(ended.stdout, /^\n {12}raise ValueError\(.+\)\n$/);
    assert.ok(
      whole.stdout.startsWith(ended.stdout) && whole.stdout.length > ended.stdout.length,
      whole.stdout,
    );
    await Deno.writeTextFile(join(folder, "face.py"), "x = '🙂'\n");
    const inside = await hyades(["complete", "face.py:1:7"], folder);
    assert.match(inside.stderr, /column 7 of line 1 is within a character, take 6 or 8/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
