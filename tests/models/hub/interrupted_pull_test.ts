// `pull` on networks and hubs that fail: what it survives, and that it leaves nothing behind that would be taken for the
// model.
import { deepStrictEqual, equal, match, ok, rejects } from "node:assert/strict";
import { join } from "std/path/mod.js";
import { RepoCache } from "../../../models/hub/hub_cache.ts";
import { HubError } from "../../../models/hub/hub_errors.ts";
import { type Fault, sha256 } from "./fake_hub.ts";
import { checkNotThere, checkWhole, COMMIT, NAME, WEIGHTS, withHub } from "./pulled_repository.ts";

const SURVIVED: readonly [name: string, faults: readonly Fault[], said: readonly RegExp[]][] = [
  [
    "connections that are cut",
    [{ kind: "cut", after: 1000 }, { kind: "cut", after: 70_000 }, { kind: "cut", after: 0 }],
    Array(3).fill(/^model\.safetensors: the connection (failed|was cut).*trying again in 1 s$/),
  ],
  ["a server without ranges", [{ kind: "cut", after: 5000 }, { kind: "wholeFile" }], [/connection/]],
  ["a wrong checksum, once", [{ kind: "wrong" }], [
    /its SHA-256 must be [0-9a-f]{64}, received [0-9a-f]{64}; downloading it anew/,
  ]],
  [
    "limits and failures of the hub",
    [
      { kind: "status", status: 429, headers: { "retry-after": "0" } },
      { kind: "status", status: 503 },
      { kind: "status", status: 500 },
    ],
    [/the hub answers 429; trying again in 0 s/, /answers 503/, /answers 500/],
  ],
];

for (const [name, faults, said] of SURVIVED) {
  Deno.test(`pullModel() survives ${name}`, () =>
    withHub(async ({ hub, repo, waits, pull }) => {
      hub.faults.set(WEIGHTS, [...faults]);
      await checkWhole(await pull(), repo);
      equal(waits.length, said.length, waits.join("\n"));
      said.forEach((line, i) => match(waits[i], line));
    }));
}

Deno.test("pullModel() survives a connection that stalls", () =>
  withHub(async ({ hub, repo, waits, pull }) => {
    hub.faults.set(WEIGHTS, [{ kind: "stall", after: 5000 }]);
    await checkWhole(await pull({ stallMs: 400 }), repo);
    ok(waits.length > 0);
    // On a busy machine a connection may stall that should not.
    for (const line of waits) match(line, /the connection stalled/);
  }));

Deno.test("pullModel() asks only for what a cut connection had not brought", () =>
  withHub(async ({ hub, pull }) => {
    hub.faults.set(WEIGHTS, [{ kind: "cut", after: 1000 }, { kind: "cut", after: 500 }]);
    await pull();
    const ranges = hub.seen.filter(({ server, path }) => server === "content" && path.length > 1).map((
      { range },
    ) => range);
    deepStrictEqual(ranges.slice(-3), [null, "bytes=1000-", "bytes=1500-"]);
  }));

Deno.test("pullModel() goes on with what an earlier pull has left, unless it is wrong", () =>
  withHub(async ({ hub, repo, cacheDir, waits, pull }) => {
    const weights = repo.files.get(WEIGHTS)!, blobs = join(cacheDir, "models--org--tiny", "blobs");
    const partial = join(blobs, `${sha256(weights)}.incomplete`);
    await Deno.mkdir(blobs, { recursive: true });
    await Deno.writeFile(partial, weights.subarray(0, 9000));
    await checkWhole(await pull(), repo);
    ok(hub.seen.some(({ range }) => range === "bytes=9000-"));
    deepStrictEqual(waits, []);
    for (
      const left of [new Uint8Array(9000), new Uint8Array(weights.length), new Uint8Array(weights.length + 1)]
    ) {
      await Deno.remove(join(cacheDir, "models--org--tiny"), { recursive: true });
      await Deno.mkdir(blobs, { recursive: true });
      await Deno.writeFile(partial, left);
      await checkWhole(await pull(), repo);
    }
    equal(waits.length, 2);
  }));

Deno.test("pullModel() asks the API again where it is busy", () =>
  withHub(async ({ hub, repo, waits, pull }) => {
    hub.faults.set("api", [{ kind: "status", status: 429, headers: { "retry-after": "0" } }, {
      kind: "status",
      status: 502,
    }]);
    await checkWhole(await pull(), repo);
    equal(waits.length, 2);
  }));

const MANY = 20;

const DEADLY: readonly [name: string, file: string, fault: Fault, error: RegExp][] = [
  [
    "content that is always wrong",
    WEIGHTS,
    { kind: "wrong" },
    /its SHA-256 must be \w+, received \w+; what was downloaded is discarded, pull again/,
  ],
  [
    "small files that are always wrong",
    "config.json",
    { kind: "wrong" },
    /config\.json: its git SHA-1 must be/,
  ],
  [
    "more bytes than were listed",
    WEIGHTS,
    { kind: "longer" },
    /the hub sends more than the \d+ bytes that it listed/,
  ],
  ["a file that changed", WEIGHTS, { kind: "otherEtag" }, /the hub listed \w+ and has 0{64} now; pull again/],
  ["redirects without end", WEIGHTS, { kind: "redirectLoop" }, /the hub redirects more than 10 times/],
  [
    "limits that do not end",
    WEIGHTS,
    { kind: "status", status: 429, headers: { "retry-after": "0" } },
    /429, too many requests; wait a while/,
  ],
  [
    "connections that bring nothing",
    WEIGHTS,
    { kind: "cut", after: 0 },
    /again and again; pull again, it goes on where it stopped/,
  ],
  [
    "a content server that refuses",
    WEIGHTS,
    { kind: "status", status: 418 },
    /model\.safetensors of org\/tiny: the hub answers 418/,
  ],
  ["an API that fails", "api", { kind: "status", status: 500 }, /the hub fails \(500\)/],
];

for (const [name, file, fault, error] of DEADLY) {
  Deno.test(`pullModel() gives up at ${name}, and leaves nothing that would be served`, () =>
    withHub(async (bench) => {
      bench.hub.faults.set(file, Array(MANY).fill(fault));
      await rejects(bench.pull({ maxAttempts: 3 }), (thrown: Error) => {
        ok(thrown instanceof HubError, String(thrown));
        match(thrown.message, error);
        return true;
      });
      await checkNotThere(bench);
      bench.hub.faults.clear();
      await checkWhole(await bench.pull(), bench.repo);
    }));
}

Deno.test("pullModel() lets one pull at a time write a file", () =>
  withHub(async ({ hub, repo, pull }) => {
    hub.faults.set(WEIGHTS, [{ kind: "stall", after: 1000 }]);
    const outcomes = await Promise.allSettled([pull({ stallMs: 400 }), pull({ stallMs: 400 })]);
    const failed = outcomes.filter((outcome) => outcome.status === "rejected");
    for (const { reason } of failed) match(reason.message, /another pull is at it/);
    equal(failed.length, 1);
    await checkWhole(await pull(), repo);
  }));

Deno.test("Without a network what was pulled is found, and pulling says so", async () => {
  const cacheDir = await Deno.makeTempDir();
  try {
    await withHub(async ({ hub, pull, waits }) => {
      const { folder } = await pull({ cacheDir });
      await hub[Symbol.asyncDispose]();
      const cache = await RepoCache.of(NAME.repo, cacheDir);
      equal(await cache.find("main"), folder);
      equal(await cache.find(COMMIT), folder);
      equal(await cache.find("v9"), undefined);
      await rejects(
        pull({ cacheDir }),
        /no connection to http\S+ \(.*\); what was pulled before is served without a network/,
      );
      // Soon: who has no network waits three seconds for this.
      equal(waits.length, 2);
    });
  } finally {
    await Deno.remove(cacheDir, { recursive: true });
  }
});
