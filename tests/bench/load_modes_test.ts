// Each mode of the load test once: against the real server with a tiny model, and soak against one that lies.
import assert from "node:assert/strict";
import { fromFileUrl } from "std/path/mod.js";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));
const OWN = ["--serve", "--device cpu --threads 1 --model tests/fixtures/checkpoints/mqa-d40-f32"];
// The tiny model's context is 192 tokens of a byte each.
const SMALL = ["--source", "cli", "--before", "1", "--after", "1", "--max-tokens", "4"];

interface Result {
  readonly code: number;
  readonly printed: string;
  readonly records: readonly Record<string, unknown>[];
  readonly page: string;
  readonly plots: readonly string[];
}

async function load(...args: string[]): Promise<Result> {
  const folder = await Deno.makeTempDir();
  const results = [
    "--json",
    `${folder}/a.jsonl`,
    "--report",
    `${folder}/a.html`,
    "--plots",
    `${folder}/plots`,
  ];
  try {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-all", "--no-check", "bench/load/run.ts", ...args, ...SMALL, ...results],
      cwd: ROOT,
    }).output();
    const printed = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    const lines = await Deno.readTextFile(`${folder}/a.jsonl`).catch(() => {
      throw new Error(printed);
    });
    return {
      code,
      printed,
      records: lines.trim().split("\n").map((line) => JSON.parse(line)),
      page: await Deno.readTextFile(`${folder}/a.html`),
      plots: Array.from(Deno.readDirSync(`${folder}/plots`), ({ name }) => name),
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("load says in one line what is wrong with what it was told, and ends with 1", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const cases: [args: string[], error: RegExp][] = [
    [["dance"], /^error: Cannot put on a load: the mode must be one of .*, received "dance"/],
    [["soak", "--requests", "-1"], /^error: .*'--requests'/],
    [["soak", "--requests=1.5"], /^error: .*--requests must be a whole number from 1/],
    [["soak", "--fast"], /^error: Unknown option '--fast'/],
    [
      ["keystrokes", "--url", "http://192.0.2.1"],
      /^error: Cannot put a load on 192\.0\.2\.1: it is another machine/,
    ],
    [
      ["soak", "--url", `http://127.0.0.1:${port}`],
      new RegExp(`^error: .*127\\.0\\.0\\.1:${port}: no server answers`),
    ],
  ];
  for (const [args, error] of cases) {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-all", "--no-check", "bench/load/run.ts", ...args],
      cwd: ROOT,
      env: { NO_COLOR: "1" },
    }).output();
    const printed = new TextDecoder().decode(stderr);
    assert.equal(code, 1);
    assert.match(printed, error);
    assert.doesNotMatch(printed, /^\s+at /m);
  }
});

Deno.test("load open-loop finds rates, overload and a flood, and writes table, page and plots", async () => {
  const flags = ["--rate", "4", "--max-rate", "8", "--seconds", "1", "--rounds", "2"];
  flags.push("--flood", "2", "--ttft-bound", "60000");
  const { code, printed, records, page, plots } = await load("open-loop", ...OWN, ...flags);
  assert.equal(code, 0, printed);
  const turns = new Array(6).fill("saturation");
  const purposes = ["search", "search", ...turns, "without flood", "beside flood"];
  assert.deepEqual(records.map(({ purpose }) => purpose), purposes);
  assert.ok(records.every(({ failed }) => failed === 0), printed);
  assert.match(
    printed,
    /good a second: .* at 1 times that rate, .* at 2 .*, .* at 4 .*; never below \d+ % of the best/,
  );
  assert.match(page, /Time to first token against rate/);
  assert.ok(plots.includes("open-loop-goodput-by-rate.svg"));
});

Deno.test("load keystrokes asks once a key, and reads prefilled and cached tokens from the server", async () => {
  const flags = ["--editors", "1,2", "--keys", "12", "--speed", "20", "--seconds", "30"];
  const { code, printed, records, plots } = await load("keystrokes", ...OWN, ...flags);
  assert.equal(code, 0, printed);
  assert.deepEqual(records.map(({ editors, keys, failed }) => [editors, keys, failed]), [[1, 12, 0], [
    2,
    24,
    0,
  ]]);
  for (const { prefilledPerKey, cachedShare } of records) {
    assert.ok((prefilledPerKey as number) > 0 && (cachedShare as number) >= 0);
  }
  assert.ok(plots.includes("keystrokes-first-token-distribution.svg"));
});

Deno.test("load keystrokes lets servers take turns in rounds, one of them by its command, and compares them", async () => {
  // What a server does when it has time would differ: the other layout kept warm, drafts where they were seen to pay.
  const steady = `${OWN[1]} --fim-layout psm --no-speculation`;
  const own = `${Deno.execPath()} run --no-check -P=serve main.ts serve --port {port} ${steady}`;
  const flags = ["--rounds", "2", "--keys", "6", "--speed", "50", "--patient", "--names", "first,second"];
  const { code, printed, records } = await load("keystrokes", OWN[0], steady, "--command", own, ...flags);
  assert.equal(code, 0, printed);
  const counted = records.map((
    { label, keys, answeredShare, failed },
  ) => [label, keys, answeredShare, failed]);
  assert.deepEqual(counted, [["first", 12, 1, 0], ["second", 12, 1, 0]]);
  // The same server with the same edits, each answered before the next: the same work.
  assert.equal(records[0].computedPerKey, records[1].computedPerKey);
  assert.match(printed, /As multiples of first/);
  assert.match(printed, /\| second, 1 editor \| 1\.00x \| 1\.00x \|/);
});

Deno.test("load says what a server by its command printed when it ends at its start", async () => {
  const run = load("keystrokes", "--command", `${Deno.execPath()} eval console.error("no-such-model")`);
  await assert.rejects(run, /GET \/health.*\n.*no-such-model/);
});

Deno.test("load soak finds every answer right, every bad request refused, and no block left", async () => {
  const flags = ["--requests", "60", "--prompts", "3", "--concurrency", "4"];
  const { code, printed, records } = await load("soak", ...OWN, ...flags);
  assert.equal(code, 0, printed);
  assert.partialDeepStrictEqual(records, [{
    ...{ wrong: 0, unanswered: 0, faultsNotRefused: 0, blocksLeft: 0, serverErrors: 0 },
  }]);
  assert.ok((records[0].right as number) > 10);
});

Deno.test("load soak fails at a server whose answers change and that serves what is wrong", async () => {
  let asked = 0;
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    await request.arrayBuffer().catch(() => {});
    const reply = { content: asked++ < 2 ? "a" : "b", stop: true };
    return new Response(`data: ${JSON.stringify(reply)}\n\n`);
  });
  const url = `http://127.0.0.1:${server.addr.port}`;
  const flags = ["--requests", "40", "--prompts", "2", "--concurrency", "2"];
  const { code, printed, records } = await load("soak", "--url", url, ...flags);
  assert.equal(code, 1, printed);
  assert.ok((records[0].wrong as number) > 0 && (records[0].faultsNotRefused as number) > 0);
  assert.match(printed, /answers differ from those alone: expected \\?"a\\?", received \\?"b\\?"/);
});

Deno.test("load refuses another machine unless that is said", async () => {
  await assert.rejects(load("soak", "--url", "http://192.0.2.1:8012"), /--allow-remote/);
});
