import { deepStrictEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { SafetensorsSource } from "../../models/safetensors.ts";
import { SafetensorsWriter } from "../../models/safetensors_writer.ts";
import { entry, safetensorsFile, withFolder } from "./safetensors_bytes.ts";

const GOOD = { a: entry("F32", [2, 2], 0, 16), b: entry("I8", [3], 16, 19) };

function withLength(length: bigint): Uint8Array {
  const file = safetensorsFile(GOOD, 19);
  new DataView(file.buffer).setBigUint64(0, length, true);
  return file;
}

const HOSTILE: readonly [name: string, file: Uint8Array, error: RegExp][] = [
  ["an empty file", new Uint8Array(), /must be at least 8 bytes, received 0/],
  ["a header length beyond the file", withLength(10_000n), /its length says 10000/],
  ["a header length of 2^64 - 1", withLength(2n ** 64n - 1n), /its length says 18446744073709551615/],
  ["a header length of zero", withLength(0n), /its length says 0/],
  ["a header that is no JSON", safetensorsFile("{not json", 0), /must be JSON/],
  ["a header that is a list", safetensorsFile("[1, 2]", 0), /wrong/],
  ["a header that is no UTF-8", withInvalidUtf8(), /must be JSON/],
  [
    "a tensor named twice",
    safetensorsFile(`{"a":${json(GOOD.a)},"\\u0061" :${json(GOOD.a)}}`, 16),
    /names "a" twice/,
  ],
  [
    "a field given twice",
    safetensorsFile(`{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4),
    /names "dtype" twice/,
  ],
  ["an unknown type", safetensorsFile({ a: entry("F31", [4], 0, 16) }, 16), /"a" has unknown type "F31"/],
  [
    "a type from Object.prototype",
    safetensorsFile({ a: entry("constructor", [1], 0, 1) }, 1),
    /unknown type/,
  ],
  ["a missing shape", safetensorsFile({ a: { dtype: "F32", data_offsets: [0, 4] } }, 4), /"a.shape"/],
  ["a negative dimension", safetensorsFile({ a: entry("F32", [-1], 0, 4) }, 4), /"a.shape.0"/],
  ["a fractional dimension", safetensorsFile({ a: entry("F32", [1.5], 0, 6) }, 6), /"a.shape.0"/],
  [
    "dimensions whose product is beyond any number",
    safetensorsFile({ a: entry("F32", new Array(8).fill(2 ** 50), 0, 4) }, 4),
    /its offsets span 4/,
  ],
  ["a shape that does not fit its offsets", safetensorsFile({ a: entry("F32", [3], 0, 16) }, 16), /12 bytes/],
  ["offsets that run backwards", safetensorsFile({ a: entry("U8", [0], 4, 0) }, 4), /its offsets span -4/],
  ["a negative offset", safetensorsFile({ a: entry("U8", [4], -4, 0) }, 4), /"a.data_offsets.0"/],
  [
    "a tensor beyond the end",
    safetensorsFile({ a: entry("F32", [4], 0, 16) }, 12),
    /is the download complete/,
  ],
  [
    "tensors that overlap",
    safetensorsFile({ a: entry("F32", [4], 0, 16), b: entry("F32", [4], 8, 24) }, 24),
    /"b" overlaps tensor "a"/,
  ],
  [
    "a gap between tensors",
    safetensorsFile({ a: entry("F32", [1], 0, 4), b: entry("F32", [1], 8, 12) }, 12),
    /"b" leaves a gap after tensor "a"/,
  ],
  ["a gap before the first", safetensorsFile({ a: entry("F32", [1], 4, 8) }, 8), /gap after the header/],
  ["bytes after the last", safetensorsFile({ a: entry("F32", [1], 0, 4) }, 9), /5 bytes follow tensor "a"/],
];

function json(value: unknown): string {
  return JSON.stringify(value);
}

function withInvalidUtf8(): Uint8Array {
  const file = safetensorsFile(GOOD, 19);
  file[10] = 0xff;
  return file;
}

for (const [name, file, error] of HOSTILE) {
  Deno.test(`SafetensorsSource.open() refuses ${name}`, async () => {
    await withFolder({ "model.safetensors": file }, async (folder) => {
      await rejects(SafetensorsSource.open(`${folder}/model.safetensors`), (thrown: Error) => {
        ok(thrown instanceof SyntaxError, String(thrown));
        ok(error.test(thrown.message), thrown.message);
        ok(thrown.message.includes("model.safetensors"), thrown.message);
        return true;
      });
    });
  });
}

for (const bad of [NaN, Infinity, -1]) {
  Deno.test(`SafetensorsSource.open() refuses an int8 scale of ${bad}`, async () => {
    const header = { w: entry("I8", [2, 2], 8, 12), w_scale: entry("F32", [2], 0, 8) };
    const scales = new Uint8Array(new Float32Array([1, bad]).buffer);
    const file = safetensorsFile(header, 12, [...scales, 1, 2, 3, 4]);
    await withFolder({ "model.safetensors": file }, async (folder) => {
      await rejects(
        SafetensorsSource.open(`${folder}/model.safetensors`),
        /"w_scale" must be finite.*in row 1/,
      );
    });
  });
}

Deno.test("SafetensorsSource.readRows() returns ranges of rows in buffers of their own, also when reads overlap", async () => {
  await withFolder({ "model.safetensors": safetensorsFile(GOOD, 19) }, async (folder) => {
    using source = await SafetensorsSource.open(`${folder}/model.safetensors`);
    deepStrictEqual(source.find("a"), { name: "a", dtype: "F32", shape: [2, 2] });
    equal(source.find("c"), undefined);
    equal(source.numBytes, 19);
    const reads = await Promise.all([
      source.readRows("a", 1, 2),
      source.readRows("b", 0, 3),
      source.readRows("a", 0, 1),
      source.readRows("b", 1, 1),
    ]);
    deepStrictEqual(reads.map((bytes) => [...bytes]), [
      [8, 9, 10, 11, 12, 13, 14, 15],
      [16, 17, 18],
      [0, 1, 2, 3, 4, 5, 6, 7],
      [],
    ]);
    for (const bytes of reads) equal(bytes.byteOffset, 0);
    await rejects(source.readRows("a", 1, 3), /rows of "a" must be within 0 to 2, received 1 to 3/);
    await rejects(source.readRows("c", 0, 1), /the checkpoint has no "c"/);
  });
});

Deno.test("SafetensorsSource.readRowsInto() fills many targets at once, each with its own rows", async () => {
  const rows = 500, file = safetensorsFile({ a: entry("I8", [rows, 8], 0, rows * 8) }, rows * 8);
  for (let i = 0; i < rows * 8; i++) file[file.length - rows * 8 + i] = i % 251;
  await withFolder({ "model.safetensors": file }, async (folder) => {
    using source = await SafetensorsSource.open(`${folder}/model.safetensors`);
    await Promise.all(Array.from({ length: rows - 3 }, async (_, row) => {
      const target = new Uint8Array(3 * 8);
      await source.readRowsInto("a", row, row + 3, target);
      deepStrictEqual(target, Uint8Array.from({ length: 24 }, (_, i) => (row * 8 + i) % 251));
    }));
    await rejects(source.readRowsInto("a", 0, 2, new Uint8Array(15)), /take 16 bytes, the target has 15/);
    await rejects(source.readRowsInto("b", 0, 2, new Uint8Array(16)), /the checkpoint has no "b"/);
  });
});

const CHANGES: readonly [name: string, change: (path: string, other: Uint8Array) => Promise<void>][] = [
  ["removed", (path) => Deno.remove(path)],
  ["replaced by another of the same layout", async (path, other) => {
    await Deno.writeFile(`${path}.part`, other);
    await Deno.rename(`${path}.part`, path);
  }],
];

for (const [name, change] of CHANGES) {
  Deno.test(`SafetensorsSource reads on in a file that is ${name} meanwhile`, async () => {
    const rows = 64, header = { a: entry("I8", [rows, 4], 0, rows * 4) };
    const [one, other] = [1, 2].map((byte) =>
      safetensorsFile(header, rows * 4, new Uint8Array(rows * 4).fill(byte))
    );
    await withFolder({ "model.safetensors": one }, async (folder) => {
      using source = await SafetensorsSource.open(`${folder}/model.safetensors`);
      await change(`${folder}/model.safetensors`, other);
      const reads = await Promise.all(
        Array.from({ length: rows }, (_, row) => source.readRows("a", row, row + 1)),
      );
      for (const bytes of reads) deepStrictEqual([...bytes], [1, 1, 1, 1]);
    });
  });
}

Deno.test("SafetensorsSource leaves no file open where it is disposed of while reads are under way", async () => {
  await withFolder({ "model.safetensors": safetensorsFile(GOOD, 19) }, async (folder) => {
    const source = await SafetensorsSource.open(`${folder}/model.safetensors`);
    const before = source.readRows("a", 0, 2);
    source[Symbol.dispose]();
    const after = [0, 1, 2].map(() => source.readRows("a", 0, 2));
    // What is under way may still end; deno test counts the files.
    await Promise.allSettled([before, ...after]);
    for (const read of after) await rejects(read, Deno.errors.BadResource);
  });
});

Deno.test("SafetensorsSource.find() refuses a type that no kernel reads only when it is asked for", async () => {
  const file = safetensorsFile({ "h.0.attn.bias": entry("I64", [1], 0, 8), w: entry("F16", [1], 8, 10) }, 10);
  await withFolder({ "model.safetensors": file }, async (folder) => {
    using source = await SafetensorsSource.open(`${folder}/model.safetensors`);
    equal(source.find("w")?.dtype, "F16");
    throws(() => source.find("h.0.attn.bias"), /must be stored as F32, F16, BF16, I8, received I64/);
  });
});

Deno.test("SafetensorsSource.open() joins the shards of an index, and takes from each only what the index says", async () => {
  const one = safetensorsFile({ a: entry("U8", [1], 0, 1), b: entry("I8", [1], 1, 2) }, 2);
  const two = safetensorsFile({ a: entry("I8", [2], 0, 2) }, 2);
  const index = json({ weight_map: { a: "two.safetensors", b: "one.safetensors" } });
  await withFolder(
    { "one.safetensors": one, "two.safetensors": two, "index.json": index },
    async (folder) => {
      using source = await SafetensorsSource.open(`${folder}/index.json`);
      deepStrictEqual(source.names, ["a", "b"]);
      deepStrictEqual(source.find("a")?.shape, [2]);
      deepStrictEqual([...await source.readRows("b", 0, 1)], [1]);
    },
  );
});

const INDEXES: readonly [name: string, index: string, error: RegExp][] = [
  ["that is no JSON", "{", /must be JSON/],
  ["without a weight map", "{}", /"weight_map" must map/],
  ["that reaches into another folder", json({ weight_map: { a: "../secret.safetensors" } }), /beside it/],
  ["that names a shard of an absolute path", json({ weight_map: { a: "/x/y.safetensors" } }), /beside it/],
  [
    "whose shard lacks a tensor",
    json({ weight_map: { z: "one.safetensors" } }),
    /"z" is in "one.safetensors", which lacks it/,
  ],
  [
    "whose shard is missing",
    json({ weight_map: { a: "three.safetensors" } }),
    /three.safetensors" is missing; download it/,
  ],
];

for (const [name, index, error] of INDEXES) {
  Deno.test(`SafetensorsSource.open() refuses an index ${name}`, async () => {
    const files = { "one.safetensors": safetensorsFile(GOOD, 19), "index.json": index };
    await withFolder(files, async (folder) => {
      await rejects(SafetensorsSource.open(`${folder}/index.json`), error);
    });
  });
}

Deno.test("SafetensorsWriter writes what SafetensorsSource reads, whatever the order of the pieces", async () => {
  await withFolder({}, async (folder) => {
    const path = `${folder}/out.safetensors`;
    const infos = [
      { name: "w", dtype: "I8", shape: [2, 3] },
      { name: "w_scale", dtype: "F32", shape: [2] },
    ] as const;
    {
      using writer = await SafetensorsWriter.create(path, infos);
      await writer.append("w", Int8Array.of(1, 2, 3));
      await writer.append("w_scale", Float32Array.of(0.5, 0.25));
      throws(() => writer.requireComplete(), /"w" lacks 3 bytes/);
      await writer.append("w", Int8Array.of(-4, -5, -6));
      writer.requireComplete();
      await rejects(writer.append("w", Int8Array.of(7)), /"w" has no room/);
    }
    using source = await SafetensorsSource.open(path);
    deepStrictEqual([...new Int8Array((await source.readRows("w", 0, 2)).buffer)], [1, 2, 3, -4, -5, -6]);
    deepStrictEqual([...new Float32Array((await source.readRows("w_scale", 0, 2)).buffer)], [0.5, 0.25]);
  });
});
