// Compiles the CPU kernels, AssemblyScript in the files *.wasm.ts, to cpu.wasm: `deno task build`. The result is
// committed, so that serving needs no compiler; tests/kernels/build_cpu_test.ts checks that it belongs to its sources.
// deno-lint-ignore no-import-prefix -- not for the import map, which every start downloads whole
import { main } from "npm:assemblyscript@0.28.20/asc";
import { fileURLToPath } from "node:url";

const OPTIONS = [
  "-O3",
  "--noAssert",
  "--runtime=stub",
  "--enable=simd,relaxed-simd,threads,bulk-memory",
  "--importMemory",
  "--sharedMemory",
  "--initialMemory=1",
  "--maximumMemory=65536",
];

/**
 * The module's bytes.
 * @throws {Error} with the compiler's messages
 */
export async function buildCpuKernels(): Promise<Uint8Array> {
  const folder = fileURLToPath(new URL(".", import.meta.url));
  let bytes: Uint8Array | undefined;
  const { error, stderr } = await main(
    ["cpu.wasm.ts", "--outFile=cpu.wasm", `--baseDir=${folder}`, ...OPTIONS],
    {
      writeFile: (_name, contents) => void (bytes = contents as Uint8Array),
      listFiles: () => null,
    },
  );
  if (error || !bytes) throw new Error(`Cannot compile the CPU kernels: ${error?.message}\n${stderr}`);
  return bytes;
}

if (import.meta.main) {
  const bytes = await buildCpuKernels();
  await Deno.writeFile(new URL("./cpu.wasm", import.meta.url), bytes);
  console.log(`kernels/cpu.wasm: ${bytes.length} bytes`);
}
