// The entry of a worker of `CpuThreads`: says that it is there, then lives in the module until that is stopped.
import { parentPort, workerData } from "node:worker_threads";
import type { CpuModuleExports, CpuThreadData } from "./cpu_threads.ts";

const { module, memory, thread } = workerData as CpuThreadData;
const instance = await WebAssembly.instantiate(module, { env: { memory } });
parentPort!.postMessage("ready");
(instance.exports as unknown as CpuModuleExports).help(thread);
Deno.exit();
