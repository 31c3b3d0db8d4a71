// How fast weights come onto a GPU, beside how fast their files can be read at all; then the whole start, with pipelines.
//
//     deno run -A bench/gpu/load.ts --model DIR --device dawn [--rounds 2]
import { parseArgs } from "node:util";
import type { DeviceChoice } from "../../device/choose_backend.ts";
import { openGpu } from "../../device/open_gpu.ts";
import { GpuWeights } from "../../kernels/gpu_weights.ts";
import { weightsOf } from "../../kernels/graph_weights.ts";
import { openCheckpoint } from "../../models/checkpoint.ts";
import { loadModel } from "../../models/load_model.ts";

const USAGE = `Say how fast weights come onto a GPU, beside how fast their files can be read at all.

  deno run -A bench/gpu/load.ts --model DIR [--device dawn|webgpu] [--rounds N]

  --model DIR  model folder
  --device D   provider (default: dawn)
  --rounds N   of loading (default: 2)`;

const text = { type: "string" } as const;
const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    model: text,
    device: { ...text, default: "dawn" },
    rounds: { ...text, default: "2" },
    help: { type: "boolean", short: "h" },
  },
});
if (flags.help) {
  console.log(USAGE);
  Deno.exit(0);
}
if (!flags.model) {
  console.error("error: --model DIR is missing (--help lists the options)");
  Deno.exit(1);
}
/** As large as the loader's pieces, and as many at once. */
const READ_BYTES = 16 * 2 ** 20, READERS = 4;

await emptyPageCache();
await report("files, not in memory before", () => readFiles(flags.model!));
await report("files, in memory", () => readFiles(flags.model!));
for (let round = 1; round <= Number(flags.rounds); round++) {
  for (const mapped of [true, false]) {
    const how = mapped ? "read into mapped memory" : "read, then copied";
    await report(`weights onto the GPU, ${how}, round ${round}`, () => loadWeights(flags.model!, mapped));
  }
}
await emptyPageCache();
await report("whole start, files not in memory before", () => start(flags.model!));
await report("whole start, files in memory", () => start(flags.model!));

/** @param work gives the bytes that it has brought */
async function report(name: string, work: () => Promise<number>): Promise<void> {
  const began = performance.now();
  const bytes = await work();
  const seconds = (performance.now() - began) / 1000;
  console.log(`| ${name} | ${seconds.toFixed(2)} s | ${(bytes / 1e9 / seconds).toFixed(2)} GB/s |`);
}

async function readFiles(folder: string): Promise<number> {
  const names = Array.from(Deno.readDirSync(folder), ({ name }) => name);
  const paths = names.filter((name) => name.endsWith(".safetensors")).map((name) => `${folder}/${name}`);
  const pieces = paths.flatMap((path) => {
    const { size } = Deno.statSync(path);
    return Array.from({ length: Math.ceil(size / READ_BYTES) }, (_, i) => ({ path, offset: i * READ_BYTES }));
  })[Symbol.iterator]();
  const counts = await Promise.all(Array.from({ length: READERS }, () => readPieces(pieces)));
  return counts.reduce((a, b) => a + b);
}

async function readPieces(pieces: Iterable<{ path: string; offset: number }>): Promise<number> {
  const memory = new Uint8Array(READ_BYTES);
  let total = 0;
  for (const { path, offset } of pieces) {
    using file = await Deno.open(path);
    await file.seek(offset, Deno.SeekMode.Start);
    for (
      let done = 0, n;
      done < READ_BYTES && (n = await file.read(memory.subarray(done))) !== null;
      done += n
    ) {
      total += n;
    }
  }
  return total;
}

async function loadWeights(folder: string, mapped: boolean): Promise<number> {
  using checkpoint = await openCheckpoint(folder);
  using gpu = await openGpu(flags.device as "dawn" | "webgpu", { profile: "fast" });
  if (!gpu) throw new Error(`No adapter for ${flags.device}`);
  using _ = await GpuWeights.load(gpu, checkpoint.tensors, weightsOf(checkpoint.network.graph), { mapped });
  await gpu.wait(gpu.device.queue.onSubmittedWorkDone(), 0);
  return checkpoint.weightBytes;
}

/** Until the model could take its first step. */
async function start(folder: string): Promise<number> {
  const loaded = await loadModel({ modelDir: folder, device: flags.device as DeviceChoice });
  await using _ = loaded.runner;
  return loaded.weightBytes;
}

/** As root, where the system lets it; else the first figures are of what the system has kept in memory. */
async function emptyPageCache(): Promise<void> {
  try {
    await new Deno.Command("sync").output();
    await Deno.writeTextFile("/proc/sys/vm/drop_caches", "1");
    console.log("page cache emptied");
  } catch (error) {
    console.log(`page cache not emptied (${error instanceof Error ? error.message : error})`);
  }
}
