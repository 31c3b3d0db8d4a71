// `pull` against a stand-in for the hub: what it asks for and where it puts it, of repositories of every kind.
import { deepStrictEqual, equal, ok, rejects } from "node:assert/strict";
import { join } from "std/path/mod.js";
import { openCheckpoint } from "../../../models/checkpoint.ts";
import { type FakeRepo, gitId, sha256, TOKEN } from "./fake_hub.ts";
import {
  checkNotThere,
  checkWhole,
  COMMIT,
  repository,
  tree,
  WEIGHTS,
  withHub,
} from "./pulled_repository.ts";

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
