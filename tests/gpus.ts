// The GPUs that a test runs on: both WebGPU providers, on whatever adapter the machine has (software Vulkan in CI).
import type { Profile } from "../device/caps.ts";
import type { GpuDevice } from "../device/gpu_device.ts";
import { openGpu } from "../device/open_gpu.ts";
import { EVERY_CASE } from "./every_case.ts";
import { Random, testSeed } from "./kernels/random.ts";

export const GPU_PROVIDERS = ["dawn", "webgpu"] as const;

export interface TestGpuOptions {
  readonly profile?: Profile;
  readonly maxBindingBytes?: number;
  /**
   * On one provider a run, drawn, unless every case is to run: what takes software long and is nothing of its own there,
   * such as the safe profile's kernels, which are among the fast one's.
   */
  readonly drawn?: boolean;
}

let seed: number | undefined;

/** Of what is drawn as tests are registered; printed once a file. */
export function drawingSeed(): number {
  if (seed === undefined) console.log(`  HYADES_TEST_SEED=${seed = testSeed()} draws tests`);
  return seed;
}

/** Whether a test of this name, which one provider has in a run, is this provider's. */
export function isDrawn(name: string, provider: string): boolean {
  if (EVERY_CASE) return true;
  const hash = Array.from(name).reduce(
    (sum, letter) => Math.imul(sum, 31) + letter.codePointAt(0)!,
    drawingSeed(),
  );
  return GPU_PROVIDERS[new Random(hash).below(GPU_PROVIDERS.length)] === provider;
}

/**
 * Registers one test per provider. A provider without an adapter fails the test when CI=true, and else says on the
 * console that nothing was checked.
 */
export function gpuTest(
  name: string,
  options: TestGpuOptions,
  body: (gpu: GpuDevice, t: Deno.TestContext) => Promise<void>,
): void {
  for (const provider of GPU_PROVIDERS) {
    Deno.test({
      name: `${name} [${provider}]`,
      ignore: options.drawn === true && !isDrawn(name, provider),
      async fn(t) {
        using gpu = await openTestGpu(provider, options);
        if (gpu) await body(gpu, t);
      },
    });
  }
}

/** Set by run.ts for the process whose adapter is to have matrix units. */
const MATRIX_UNITS = Deno.env.get("HYADES_TEST_MATRIX_UNITS") === "true";

/**
 * Registers a test of kernels on matrix units (Dawn, fast profile), for the process that run.ts starts for these; in
 * others it is ignored. An adapter without matrix units fails the test when CI=true, and else is reported.
 */
export function matrixUnitsTest(
  name: string,
  options: Pick<TestGpuOptions, "maxBindingBytes">,
  body: (gpu: GpuDevice) => Promise<void>,
): void {
  Deno.test({
    name: `${name} [dawn, matrix units]`,
    ignore: !MATRIX_UNITS,
    async fn() {
      using gpu = await openTestGpu("dawn", { ...options, profile: "fast" });
      if (gpu?.caps.matrixFragment) await body(gpu);
      else if (gpu) nothingChecked(`${gpu.caps.adapter} has no matrix units for Dawn`);
    },
  });
}

/** Opens a provider for a test; undefined only outside CI, with a word on the console. */
export async function openTestGpu(
  provider: (typeof GPU_PROVIDERS)[number],
  { profile = "safe", maxBindingBytes }: TestGpuOptions = {},
): Promise<GpuDevice | undefined> {
  const gpu = await openGpu(provider, { profile, ...(maxBindingBytes && { maxBindingBytes }) });
  if (gpu) return gpu;
  nothingChecked(`no adapter for "${provider}"`);
  return undefined;
}

/** @throws {Error} in CI; elsewhere it is a word on the console. */
function nothingChecked(reason: string): void {
  const message = `${reason}: run the tests with \`deno task test\`, which brings software Vulkan`;
  if (Deno.env.get("CI") === "true") throw new Error(message);
  console.warn(`  nothing checked: ${message}`);
}
