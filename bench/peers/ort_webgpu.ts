// Decode and prefill speed of onnxruntime-web's WebGPU provider on Deno's built-in WebGPU, one JSON line a case. The
// cache stays in GPU buffers from step to step; only the logits come back, as any greedy loop over this library has it.
//
//     deno run -A bench/peers/ort_webgpu.ts EXPORT_DIR --batch 1,8 --context 64,512 --dtype fp16
import { join } from "node:path";
// deno-lint-ignore no-import-prefix -- not for the import map, which every start downloads whole
import * as ort from "npm:onnxruntime-web@1.30.0/webgpu";
import { argmaxRows, measurePeer, parsePeerArguments, type PeerSequences } from "./timing.ts";

const SUFFIX: Readonly<Record<string, string>> = { fp32: "", fp16: "_fp16" };

if (import.meta.main) {
  const args = parsePeerArguments(Deno.args);
  const config = JSON.parse(await Deno.readTextFile(join(args.modelDir, "config.json")));
  ort.env.wasm.numThreads = 1;
  for (const dtype of args.dtypes) {
    const session = await createSession(
      join(args.modelDir, "onnx"),
      `model${SUFFIX[dtype]}.onnx`,
      config.n_layer,
    );
    const label = { peer: "ort-webgpu", version: ort.env.versions.web, dtype };
    const start = (batch: number) => Promise.resolve(startSequences(session, config, dtype, batch));
    await measurePeer(label, args, start);
    await session.release();
  }
  // The library keeps its GPU device open, which would keep this process alive.
  Deno.exit(0);
}

async function createSession(folder: string, file: string, numLayers: number): Promise<ort.InferenceSession> {
  const locations: Record<string, "cpu" | "gpu-buffer"> = { logits: "cpu" };
  for (let layer = 0; layer < numLayers; layer++) {
    for (const part of ["key", "value"]) locations[`present.${layer}.${part}`] = "gpu-buffer";
  }
  return await ort.InferenceSession.create(await Deno.readFile(join(folder, file)), {
    executionProviders: ["webgpu"],
    externalData: await readExternalData(folder, file),
    graphOptimizationLevel: "all",
    preferredOutputLocation: locations,
  });
}

/** Weights that lie beside the graph, where it is too large for one file. */
async function readExternalData(folder: string, file: string): Promise<{ path: string; data: Uint8Array }[]> {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
  const parts = names.filter((name) => name.startsWith(`${file}_data`)).sort();
  return await Promise.all(
    parts.map(async (path) => ({ path, data: await Deno.readFile(join(folder, path)) })),
  );
}

function startSequences(
  session: ort.InferenceSession,
  config: { n_embd: number; n_head: number },
  dtype: string,
  batch: number,
): PeerSequences {
  let past = emptyCache(session, config.n_embd / config.n_head, dtype, batch);
  let length = 0;
  let logits = new Float32Array();
  const int64 = (data: BigInt64Array, dims: number[]) => new ort.Tensor("int64", data, dims);
  return {
    async forward(tokenIds, rows) {
      length += rows;
      const { logits: last, ...present } = await session.run({
        input_ids: int64(tokenIds, [batch, rows]),
        attention_mask: int64(new BigInt64Array(batch * length).fill(1n), [batch, length]),
        num_logits_to_keep: int64(BigInt64Array.of(1n), []),
        ...past,
      });
      disposeAll(past);
      past = asPast(present);
      logits = last.data as Float32Array<ArrayBuffer>;
    },
    greedy: () => argmaxRows(logits, batch),
    release: () => Promise.resolve(disposeAll(past)),
  };
}

function emptyCache(
  session: ort.InferenceSession,
  headSize: number,
  dtype: string,
  batch: number,
): Record<string, ort.Tensor> {
  const dims = [batch, 1, 0, headSize];
  const empty = () =>
    dtype === "fp16"
      ? new ort.Tensor("float16", new Uint16Array(), dims)
      : new ort.Tensor("float32", new Float32Array(), dims);
  const names = session.inputNames.filter((name) => name.startsWith("past_key_values."));
  return Object.fromEntries(names.map((name) => [name, empty()]));
}

function asPast(present: Record<string, ort.Tensor>): Record<string, ort.Tensor> {
  return Object.fromEntries(
    Object.entries(present).map(([name, tensor]) => [name.replace("present", "past_key_values"), tensor]),
  );
}

function disposeAll(tensors: Record<string, ort.Tensor>): void {
  for (const tensor of Object.values(tensors)) tensor.dispose();
}
