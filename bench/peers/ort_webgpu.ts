// Decode and prefill speed of onnxruntime-web's WebGPU provider on Deno's built-in WebGPU, one JSON line a case. The
// cache stays in GPU buffers from step to step. The logits come back as ours would, through Readback: the library's own
// read waits for 10 ms that Deno's mapAsync sleeps, which are no fault of the library's.
//
//     deno run -A bench/peers/ort_webgpu.ts EXPORT_DIR --batch 1,8 --context 64,512 --dtype fp16
import { join } from "node:path";
// deno-lint-ignore no-import-prefix -- not for the import map, which every start downloads whole
import * as ort from "npm:onnxruntime-web@1.30.0/webgpu";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { openGpu } from "../../device/open_gpu.ts";
import { Readback } from "../../device/readback.ts";
import { argmaxRows, measurePeer, parsePeerArguments, type PeerSequences } from "./timing.ts";

const SUFFIX: Readonly<Record<string, string>> = { fp32: "", fp16: "_fp16" };

interface Config {
  readonly n_layer: number;
  readonly n_embd: number;
  readonly n_head: number;
  readonly vocab_size: number;
}

/** A loaded model and where it runs. */
interface Loaded {
  readonly gpu: GpuDevice;
  readonly session: ort.InferenceSession;
  readonly config: Config;
  readonly dtype: string;
  /** For the logits of the largest batch. It must outlive a case: its first read sleeps. */
  readonly readback: Readback;
}

if (import.meta.main) {
  const args = parsePeerArguments(Deno.args);
  const config: Config = JSON.parse(await Deno.readTextFile(join(args.modelDir, "config.json")));
  ort.env.wasm.numThreads = 1;
  const gpu = await openGpu("webgpu", { profile: "fast" });
  if (!gpu) throw new Error("Cannot measure onnxruntime-web: Deno finds no WebGPU adapter");
  const logitsBytes = Math.max(...args.batches) * config.vocab_size * Float32Array.BYTES_PER_ELEMENT;
  using readback = new Readback(gpu, logitsBytes);
  for (const dtype of args.dtypes) {
    const session = await createSession(
      gpu,
      join(args.modelDir, "onnx"),
      `model${SUFFIX[dtype]}.onnx`,
      config.n_layer,
    );
    const label = { peer: "ort-webgpu", version: ort.env.versions.web, dtype };
    const loaded = { gpu, session, config, dtype, readback };
    await measurePeer(label, args, (batch) => Promise.resolve(startSequences(loaded, batch)));
    await session.release();
  }
  // The library keeps its GPU device open, which would keep this process alive.
  Deno.exit(0);
}

async function createSession(
  gpu: GpuDevice,
  folder: string,
  file: string,
  numLayers: number,
): Promise<ort.InferenceSession> {
  const locations: Record<string, "gpu-buffer"> = { logits: "gpu-buffer" };
  for (let layer = 0; layer < numLayers; layer++) {
    for (const part of ["key", "value"]) locations[`present.${layer}.${part}`] = "gpu-buffer";
  }
  return await ort.InferenceSession.create(await Deno.readFile(join(folder, file)), {
    executionProviders: [{ name: "webgpu", device: gpu.device }],
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

function startSequences(loaded: Loaded, batch: number): PeerSequences {
  const { session } = loaded;
  let past = emptyCache(loaded, batch);
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
      logits = await read(loaded, last);
    },
    greedy: () => argmaxRows(logits, batch),
    release: () => Promise.resolve(disposeAll(past)),
  };
}

async function read({ gpu, readback }: Loaded, tensor: ort.Tensor): Promise<Float32Array<ArrayBuffer>> {
  const bytes = tensor.size * Float32Array.BYTES_PER_ELEMENT;
  const encoder = gpu.device.createCommandEncoder();
  readback.encodeCopy(encoder, tensor.gpuBuffer as GPUBuffer, bytes);
  gpu.device.queue.submit([encoder.finish()]);
  tensor.dispose();
  return new Float32Array(await readback.read(bytes));
}

function emptyCache({ session, config, dtype }: Loaded, batch: number): Record<string, ort.Tensor> {
  const dims = [batch, 1, 0, config.n_embd / config.n_head];
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
