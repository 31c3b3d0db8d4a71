// The compiled CPU kernels (cpu.wasm), and what is measured with them before they are used.
import { fasterInt8Form, type Int8Form, type Int8Probes } from "./linear/int8_form.ts";

export async function loadCpuModule(): Promise<WebAssembly.Module> {
  return await WebAssembly.compile(await Deno.readFile(new URL("./cpu.wasm", import.meta.url)));
}

/** The form of int8 linears that this machine does faster. */
export async function measureInt8Form(module: WebAssembly.Module): Promise<Int8Form> {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  return fasterInt8Form(exports as unknown as Int8Probes, 0);
}
