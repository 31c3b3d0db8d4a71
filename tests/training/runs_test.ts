// training/runs.sh with odd arguments, folders with blanks in their names, failures, and numbers of processes that are
// others' by now. Python's part is a script that notes what it was called with.
import assert from "node:assert/strict";
import { fromFileUrl, join } from "std/path/mod.js";
import { run } from "../debian.ts";

const SCRIPT = fromFileUrl(new URL("../../training/runs.sh", import.meta.url));

interface Place extends AsyncDisposable {
  readonly corpus: string;
  readonly work: string;
  readonly runs: (...args: string[]) => Promise<{ code: number; stdout: string; stderr: string }>;
  /** Arguments of every call of Python, with `|` between them. */
  readonly calls: () => Promise<string[]>;
}

/** @param python after it has noted its arguments */
async function makePlace(python = "exit 0"): Promise<Place> {
  const folder = join(await Deno.makeTempDir(), "a folder");
  const corpus = join(folder, "the corpus"), work = join(folder, "the work");
  for (const path of [corpus, work]) await Deno.mkdir(path, { recursive: true });
  for (const name of ["train 0", "train-1", "validation"]) {
    await Deno.writeTextFile(join(corpus, `${name}.jsonl.xz`), "");
  }
  const calls = join(folder, "calls"), stub = join(folder, "python");
  await Deno.writeTextFile(stub, `#!/bin/bash\n(IFS='|'; echo "$*") >>'${calls}'\n${python}\n`, {
    mode: 0o755,
  });
  return {
    corpus,
    work,
    // By a name without blanks: the script's PYTHON may have arguments.
    runs: (...args) =>
      run(["env", `PATH=${folder}:${Deno.env.get("PATH")}`, "PYTHON=python", "bash", SCRIPT, ...args]),
    calls: async () => (await Deno.readTextFile(calls)).trim().split("\n"),
    [Symbol.asyncDispose]: () => Deno.remove(join(folder, ".."), { recursive: true }),
  };
}

/** @throws {Error} it does not come true within half a minute */
async function until(what: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 300; i++) {
    if (await what().catch(() => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("Waited in vain");
}

Deno.test("runs.sh refuses what it cannot do before it does anything, and says why", async () => {
  await using place = await makePlace();
  const { corpus, work } = place;
  const empty = join(work, "nothing");
  const refused: [args: string[], why: RegExp][] = [
    [[], /runs\.sh all CORPUS WORK/],
    [["al", corpus, work], /runs\.sh all CORPUS WORK/],
    [["all", corpus], /runs\.sh all CORPUS WORK/],
    [["all", empty, work], /no such folder: .*nothing/],
    [["all", work, work], /has no shard \*validation\*/],
    [["start", "starcoder:1"], /runs\.sh all CORPUS WORK/],
    [["start", "wait", "starcoder:1"], /runs\.sh: .*WORK/],
    [["start", "h3", work], /needs a value after a colon: h3/],
    [["start", "h4:1", work], /no such stage: h4:1/],
    [["status", empty], /no such folder/],
    [["stop"], /runs\.sh all CORPUS WORK/],
    [["pack", work, empty], /runs\.sh all CORPUS WORK/],
  ];
  for (const [args, why] of refused) {
    const { code, stdout, stderr } = await place.runs(...args);
    assert.equal(code, 1, args.join(" "));
    assert.match(stdout + stderr, why);
  }
  assert.deepEqual(await Array.fromAsync(Deno.readDir(work)), []);
  await assert.rejects(place.calls());
});

Deno.test("runs.sh makes stores of folders and shards with blanks in their names", async () => {
  await using place = await makePlace();
  const { code, stderr } = await place.runs("prepare", place.corpus, place.work);
  assert.equal(code, 0, stderr);
  const [heldOut, store] = await place.calls();
  const inputs = (call: string) => call.split("|").slice(1, call.split("|").indexOf("--tokenizer"));
  const corpus = await Deno.realPath(place.corpus);
  assert.deepEqual(inputs(heldOut), [join(corpus, "validation.jsonl.xz")]);
  assert.deepEqual(inputs(store), [join(corpus, "train 0.jsonl.xz"), join(corpus, "train-1.jsonl.xz")]);
  assert.ok(store.endsWith(`|--out|${join(place.work, "store")}`));
  // What evaluations read.
  const shard = join(place.work, "validation", "validation.jsonl.xz");
  assert.equal(await Deno.realPath(shard), join(corpus, "validation.jsonl.xz"));
});

Deno.test("runs.sh evaluates with the held-out shard under its own name, be it compressed or not", async () => {
  await using place = await makePlace();
  await Deno.rename(join(place.corpus, "validation.jsonl.xz"), join(place.corpus, "a validation.json"));
  for (const stage of ["prepare", "prepare"]) {
    assert.equal((await place.runs(stage, place.corpus, place.work)).code, 0);
  }
  assert.equal((await place.runs("run", "evaluate:h3", place.work)).code, 0);
  const call = (await place.calls()).find((call) => call.includes("evaluate.py"))!;
  assert.ok(call.includes(`|--held-out|${join(place.work, "validation", "a validation.json")}|`), call);
});

Deno.test("runs.sh trains nothing, and does not wait for ever, where no store could be made", async () => {
  await using place = await makePlace('case "$*" in *text_store.py*train-1*) exit 1 ;; esac');
  assert.equal((await place.runs("all", place.corpus, place.work)).code, 0);
  const log = () => Deno.readTextFile(join(place.work, "stages-gpu0.log"));
  await until(async () => (await log()).includes("no store, so nothing is trained"));
  await place.runs("stop", place.work);
  assert.ok(!(await place.calls()).some((call) => call.includes("--store|" + join(place.work, "store"))));
});

Deno.test("runs.sh stops no process that has got the number of one of its own", async () => {
  await using place = await makePlace();
  const other = new Deno.Command("sleep", { args: ["60"] }).spawn();
  for (const name of ["lanes", "running-gpu0"]) {
    await Deno.writeTextFile(join(place.work, name), `${other.pid}\n`);
  }
  assert.equal((await place.runs("stop", place.work)).code, 0);
  Deno.kill(other.pid, "SIGKILL");
  assert.equal((await other.status).signal, "SIGKILL");
  await assert.rejects(Deno.stat(join(place.work, "lanes")));
});
