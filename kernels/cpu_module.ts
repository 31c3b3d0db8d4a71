// The compiled CPU kernels (cpu.wasm), and what is measured with them before they are used.
import { type Int8Probes, measureProductRates, type ProductRates } from "./linear/int8_form.ts";

export async function loadCpuModule(): Promise<WebAssembly.Module> {
  return await WebAssembly.compile(await Deno.readFile(new URL("./cpu.wasm", import.meta.url)));
}

/** How fast this machine multiplies, in a tenth of a second. */
export async function productRatesOf(module: WebAssembly.Module): Promise<ProductRates> {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  return measureProductRates(exports as unknown as Int8Probes, 0);
}
