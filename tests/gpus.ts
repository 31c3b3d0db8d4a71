// The GPUs that a test runs on: both WebGPU providers, on whatever adapter the machine has (software Vulkan in CI).
import type { Profile } from "../device/caps.ts";
import type { GpuDevice } from "../device/gpu_device.ts";
import { openGpu } from "../device/open_gpu.ts";

export const GPU_PROVIDERS = ["dawn", "webgpu"] as const;

export interface TestGpuOptions {
  readonly profile?: Profile;
  readonly maxBindingBytes?: number;
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
    Deno.test(`${name} [${provider}]`, async (t) => {
      using gpu = await openTestGpu(provider, options);
      if (gpu) await body(gpu, t);
    });
  }
}

/** Opens a provider for a test; undefined only outside CI, with a word on the console. */
export async function openTestGpu(
  provider: (typeof GPU_PROVIDERS)[number],
  { profile = "safe", maxBindingBytes }: TestGpuOptions = {},
): Promise<GpuDevice | undefined> {
  const gpu = await openGpu(provider, { profile, ...(maxBindingBytes && { maxBindingBytes }) });
  if (gpu) return gpu;
  const message =
    `no adapter for "${provider}": run the tests with \`deno task test\`, which installs software Vulkan`;
  if (Deno.env.get("CI") === "true") throw new Error(message);
  console.warn(`  nothing checked: ${message}`);
  return undefined;
}
