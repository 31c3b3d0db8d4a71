// `pull` against a stand-in for the hub: what it asks for, where it puts it, and that nothing that a network does leaves
// anything behind that would be taken for the model.
import { deepStrictEqual, equal, match, ok, rejects } from "node:assert/strict";
import { join } from "std/path/mod.js";
import { openCheckpoint } from "../../../models/checkpoint.ts";
import { RepoCache } from "../../../models/hub/hub_cache.ts";
import { HubError } from "../../../models/hub/hub_errors.ts";
import { type PulledModel, pullModel, type PullOptions } from "../../../models/hub/pull_model.ts";
import { PARITY_CASES } from "../parity_cases.ts";
import { FakeHub, type FakeRepo, type Fault, gitId, sha256, TOKEN } from "./fake_hub.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const NAME = { repo: "org/tiny", revision: "main" };
const WEIGHTS = "model.safetensors";

/** A fixture's folder, with what else repositories have. */
async function repository(name: string, change: Partial<FakeRepo> = {}): Promise<FakeRepo> {
  const { modelDir } = PARITY_CASES.find((parityCase) => parityCase.name === name)!;
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const file of [".gitattributes", "README.md", "onnx/model.onnx", "pytorch_model.bin"]) {
    files.set(file, new TextEncoder().encode(file));
  }
  for await (const { name: file } of Deno.readDir(modelDir)) {
    if (!file.startsWith("expected")) files.set(file, await Deno.readFile(join(modelDir, file)));
  }
  return { commit: COMMIT, files, ...change };
}

interface Bench {
  readonly hub: FakeHub;
  readonly repo: FakeRepo;
  readonly cacheDir: string;
  readonly waits: string[];
  pull(
    options?: Partial<PullOptions> & { readonly token?: string; readonly revision?: string },
  ): Promise<PulledModel>;
}

async function withHub(body: (bench: Bench) => Promise<void>, given?: FakeRepo): Promise<void> {
  await using hub = new FakeHub();
  const repo = given ?? await repository("mqa-d40-f32"), waits: string[] = [];
  hub.repos.set(NAME.repo, repo);
  const cacheDir = await Deno.makeTempDir();
  const pull: Bench["pull"] = ({ token, revision = "main", ...options } = {}) =>
    pullModel({ ...NAME, revision }, {
      access: { endpoint: hub.endpoint, ...(token && { token }) },
      cacheDir,
      pauseMs: 1,
      onWait: (reason) => waits.push(reason),
      ...options,
    });
  try {
    await body({ hub, repo, cacheDir, waits, pull });
  } finally {
    await Deno.remove(cacheDir, { recursive: true });
  }
}

/** Every file below a folder, by its path. */
async function tree(folder: string, prefix = ""): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(join(folder, prefix)));
  const lists = entries.map(({ name, isDirectory }) =>
    isDirectory ? tree(folder, `${prefix}${name}/`) : [`${prefix}${name}`]
  );
  return (await Promise.all(lists)).flat().sort();
}

async function checkWhole({ folder }: PulledModel, repo: FakeRepo): Promise<void> {
  deepStrictEqual(await Deno.readFile(join(folder, WEIGHTS)), repo.files.get(WEIGHTS));
  using checkpoint = await openCheckpoint(folder);
  equal(checkpoint.architecture, "gpt_bigcode");
}

/** Nothing that `serve` would find. */
async function checkNotThere({ cacheDir }: Bench): Promise<void> {
  equal(await (await RepoCache.of(NAME.repo, cacheDir)).find("main"), undefined);
}

Deno.test("pullModel() fetches what serving needs, into the cache of Hugging Face's programs", () =>
  withHub(async ({ hub, repo, cacheDir, pull }) => {
    const shown: number[] = [];
    const pulled = await pull({ token: TOKEN, onProgress: (done, total) => shown.push(done / total) });
    await checkWhole(pulled, repo);
    const needed = [
      "config.json",
      "tokenizer.json",
      "tokenizer_config.json",
      "generation_config.json",
      WEIGHTS,
    ];
    const size = needed.reduce((sum, file) => sum + repo.files.get(file)!.length, 0);
    equal(pulled.downloaded, size);
    ok(shown.every((share, i) => share >= (shown[i - 1] ?? 0)) && shown.at(-1) === 1, String(shown));
    const id = (file: string) => {
      const bytes = repo.files.get(file)!;
      return bytes.length < 4096 ? gitId(bytes) : sha256(bytes);
    };
    const folder = join(cacheDir, "models--org--tiny");
    deepStrictEqual(
      await tree(folder),
      [
        ...needed.map((file) => `blobs/${id(file)}`),
        "refs/main",
        ...needed.map((file) => `snapshots/${COMMIT}/${file}`),
      ].sort(),
    );
    equal(await Deno.readTextFile(join(folder, "refs/main")), COMMIT);
    equal(await Deno.readLink(join(folder, "snapshots", COMMIT, WEIGHTS)), `../../blobs/${id(WEIGHTS)}`);
    // The token is the hub's alone.
    for (const { server, authorization } of hub.seen) {
      equal(authorization, server === "hub" ? `Bearer ${TOKEN}` : null);
    }
    ok(hub.seen.some(({ server }) => server === "content"));
    equal((await pull()).downloaded, 0);
  }));

Deno.test("pullModel() fetches the shards that the index names", async () => {
  const { commit, files } = await repository("mqa-d64-sharded-f32");
  const more = new Map([...files, ["model-00009-of-00009.safetensors", new Uint8Array(5000)]]);
  await withHub(async ({ pull }) => {
    const { folder, files } = await pull();
    deepStrictEqual(
      files.map(({ path }) => path).filter((path) => path.endsWith(".safetensors")),
      ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
    );
    using _ = await openCheckpoint(folder);
  }, { commit, files: more });
});

const SURVIVED: readonly [name: string, faults: readonly Fault[], said: readonly RegExp[]][] = [
  [
    "connections that are cut",
    [{ kind: "cut", after: 1000 }, { kind: "cut", after: 70_000 }, { kind: "cut", after: 0 }],
    Array(3).fill(/^model\.safetensors: the connection (failed|was cut).*trying again in 1 s$/),
  ],
  ["a connection that stalls", [{ kind: "stall", after: 5000 }], [/the connection stalled/]],
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
      await checkWhole(await pull({ stallMs: 200 }), repo);
      equal(waits.length, said.length, waits.join("\n"));
      said.forEach((line, i) => match(waits[i], line));
    }));
}

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

const REFUSED: readonly [
  name: string,
  access: FakeRepo["access"],
  token: string | undefined,
  error: RegExp,
][] = [
  [
    "a gated repository without a token",
    "gated",
    undefined,
    /it is gated; accept its terms at http\S+\/org\/tiny, then set HF_TOKEN/,
  ],
  [
    "a gated repository with a token that may not",
    "closed",
    TOKEN,
    /it is gated and the token's account has no access/,
  ],
  [
    "a private repository without a token",
    "private",
    undefined,
    /there is no such repository at http\S+, or it is private: check the name, or set HF_TOKEN/,
  ],
  ["a token that the hub refuses", "open", "hf_wrong", /the hub refused the token \(401\); check HF_TOKEN/],
];

for (const [name, access, token, error] of REFUSED) {
  Deno.test(`pullModel() says what to do about ${name}`, async () => {
    const repo = await repository("mqa-d40-f32", { ...(access && { access }) });
    await withHub(async (bench) => {
      await rejects(bench.pull({ ...(token && { token }) }), error);
      await checkNotThere(bench);
    }, repo);
  });
}

Deno.test("pullModel() takes gated and private repositories with a token", async () => {
  for (const access of ["gated", "private"] as const) {
    const repo = await repository("mqa-d40-f32", { access });
    await withHub(async ({ pull }) => await checkWhole(await pull({ token: TOKEN }), repo), repo);
  }
});

Deno.test("pullModel() says what a repository is not, or lacks", async () => {
  const { files } = await repository("mqa-d40-f32"), empty = new Uint8Array(0);
  const without = (...names: string[]) => new Map([...files].filter(([name]) => !names.includes(name)));
  const cases: [files: Map<string, Uint8Array<ArrayBuffer>>, error: RegExp][] = [
    [without(WEIGHTS), /it has no model\.safetensors, only pytorch_model\.bin, which must be converted/],
    [without(WEIGHTS, "pytorch_model.bin"), /it has no model\.safetensors$/],
    [without("tokenizer.json"), /it has no tokenizer\.json$/],
    [
      new Map([["a-q8_0.gguf", empty], ["a-q4_0.gguf", empty]]),
      /name one of its GGUF files by --gguf \S+: a-q4_0\.gguf, a-q8_0\.gguf/,
    ],
  ];
  for (const [kept, error] of cases) {
    await withHub(async ({ pull }) => await rejects(pull(), error), { commit: COMMIT, files: kept });
  }
  const index = (text: string) =>
    new Map([...without(WEIGHTS), [`${WEIGHTS}.index.json`, new TextEncoder().encode(text)]]);
  const indices: [text: string, error: RegExp][] = [
    ["{}", /must have a "weight_map"/],
    ['{"weight_map":{"a":"b.safetensors"}}', /names b\.safetensors, which it lacks/],
  ];
  for (const [text, error] of indices) {
    await withHub(async ({ pull }) => await rejects(pull(), error), { commit: COMMIT, files: index(text) });
  }
  await withHub(async ({ pull, hub }) => {
    await rejects(pull({ revision: "v9" }), /has no such revision/);
    hub.repos.clear();
    await rejects(pull({ token: TOKEN }), /there is no such repository at/);
  });
});

Deno.test("pullModel() puts no file outside of the model's folder", async () => {
  const { files } = await repository("mqa-d40-f32"), evil = "../../../evil.safetensors";
  const kept = new Map([...files].filter(([name]) => name !== WEIGHTS));
  kept.set(`${WEIGHTS}.index.json`, new TextEncoder().encode(JSON.stringify({ weight_map: { a: evil } })));
  kept.set(evil, new Uint8Array(10));
  await withHub(async (bench) => {
    await rejects(bench.pull(), /evil\.safetensors": it would lie outside of the model's folder/);
    await checkNotThere(bench);
    equal((await tree(bench.cacheDir)).some((path) => path.endsWith("evil.safetensors")), false);
  }, { commit: COMMIT, files: kept });
});

Deno.test("pullModel() takes the GGUF file that is asked for, or the only one", async () => {
  const files = new Map(
    ["x-q8_0.gguf", "x-Q4_K_M.gguf"].map((name) => [name, new TextEncoder().encode(name)]),
  );
  await withHub(async ({ pull, cacheDir }) => {
    const { folder } = await pull({ gguf: "q4_k_m" });
    equal(await Deno.readTextFile(join(folder, "x-Q4_K_M.gguf")), "x-Q4_K_M.gguf");
    equal((await tree(cacheDir)).some((path) => path.endsWith("q8_0.gguf")), false);
  }, { commit: COMMIT, files });
  files.delete("x-q8_0.gguf");
  await withHub(async ({ pull }) => equal((await pull()).files.length, 1), { commit: COMMIT, files });
});

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
    await withHub(async ({ hub, pull }) => {
      const { folder } = await pull({ cacheDir });
      await hub[Symbol.asyncDispose]();
      const cache = await RepoCache.of(NAME.repo, cacheDir);
      equal(await cache.find("main"), folder);
      equal(await cache.find(COMMIT), folder);
      equal(await cache.find("v9"), undefined);
      await rejects(
        pull({ cacheDir, maxAttempts: 2 }),
        /no connection to http\S+ \(.*\); what was pulled before is served without a network/,
      );
    });
  } finally {
    await Deno.remove(cacheDir, { recursive: true });
  }
});
