// The committed cpu.wasm is what its sources compile to.
import { deepStrictEqual } from "node:assert/strict";
import { buildCpuKernels } from "../../kernels/build_cpu.ts";

Deno.test("kernels/cpu.wasm is what its sources compile to (else run: deno task build)", async () => {
  const committed = await Deno.readFile(new URL("../../kernels/cpu.wasm", import.meta.url));
  deepStrictEqual(await buildCpuKernels(), committed);
});
