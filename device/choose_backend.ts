// Decides what runs the model: a GPU through Dawn, a GPU through Deno's built-in WebGPU, or the CPU, there by our own
// kernels ("cpu") or by onnxruntime-web ("onnx").
import type { GpuDevice } from "./gpu_device.ts";
import { openGpu, type OpenGpuOptions } from "./open_gpu.ts";

export const DEVICE_CHOICES = ["auto", "dawn", "webgpu", "cpu", "onnx"] as const;
export type DeviceChoice = (typeof DEVICE_CHOICES)[number];

/**
 * The GPU to run on, or "cpu". `auto` takes Dawn on a real GPU, else the built-in provider on a real GPU, else the CPU;
 * software adapters run only when a provider is named. The built-in provider looks first, since it needs no download:
 * a machine without a GPU never fetches Dawn.
 * @throws {Error} when a provider is named and finds no adapter, saying what to install.
 */
export async function chooseBackend(
  choice: DeviceChoice,
  options: OpenGpuOptions,
): Promise<GpuDevice | "cpu"> {
  if (choice === "cpu" || choice === "onnx") return "cpu";
  if (choice !== "auto") {
    const gpu = await openGpu(choice, options);
    if (gpu) return gpu;
    throw new Error(
      `Cannot open device "${choice}": no Vulkan, Metal or Direct3D 12 adapter was found; install the GPU's driver ` +
        `(Debian: apt-get install libvulkan1 and the vendor's driver), or take --device cpu`,
    );
  }
  const builtIn = await openRealGpu("webgpu", options);
  if (!builtIn) return "cpu";
  const dawn = await openRealGpu("dawn", options).catch(() => undefined);
  if (!dawn) return builtIn;
  builtIn[Symbol.dispose]();
  return dawn;
}

async function openRealGpu(
  provider: "dawn" | "webgpu",
  options: OpenGpuOptions,
): Promise<GpuDevice | undefined> {
  const gpu = await openGpu(provider, options);
  if (!gpu?.caps.software) return gpu;
  gpu[Symbol.dispose]();
  return undefined;
}
