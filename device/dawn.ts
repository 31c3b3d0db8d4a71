// Loads Dawn, an N-API addon (npm:webgpu), and keeps its quirks to itself.
import { setImmediate } from "node:timers";
import type { Profile } from "./caps.ts";
import { TickPacer } from "./tick_pacer.ts";

interface DawnAddon {
  create(flags: string[]): GPU;
  readonly globals: Readonly<Record<string, unknown>>;
}

// The instance must outlive every object made from it: when it is garbage-collected the process dies. Instances are few
// (one per device opened) and kept for the life of the thread.
const instances: GPU[] = [];

// The addon polls through the global `setImmediate`, of which a thread has one.
const pacer = new TickPacer(setImmediate);

/**
 * A new Dawn instance, and the pacer that its waits should go through.
 * @param backend null: the one that needs no driver and computes nothing; else Dawn's choice
 * @param toggles further ones to enable, separated by commas, for benchmarks
 * @throws {Error} when the addon cannot be loaded, saying why.
 */
export async function loadDawn(
  profile: Profile,
  backend?: "null",
  toggles = "",
): Promise<{ gpu: GPU; pacer: TickPacer }> {
  Object.assign(globalThis, { setImmediate: (callback: () => void) => pacer.schedule(callback) });
  const addon = await importAddon();
  // GPUBufferUsage and its like are the same numbers in both providers; only what Deno lacks is added.
  for (const [name, value] of Object.entries(addon.globals)) {
    if (!(name in globalThis)) Object.defineProperty(globalThis, name, { value, configurable: true });
  }
  const gpu = addon.create([...flags(profile, toggles), ...(backend ? [`backend=${backend}`] : [])]);
  instances.push(gpu);
  return { gpu, pacer };
}

async function importAddon(): Promise<DawnAddon> {
  // Neither a literal nor in the import map, so that a machine that never opens Dawn never downloads its 134 MB.
  const specifier = "npm:webgpu@0.6.2";
  try {
    return await import(specifier);
  } catch (cause) {
    throw new Error(`Cannot load Dawn (npm:webgpu): ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
}

/** Toggle names: Dawn's native/Toggles.cpp. The fast profile drops index clamps, zeroing and division guards. */
function flags(profile: Profile, more: string): string[] {
  const enabled = ["allow_unsafe_apis", "vulkan_enable_f16_on_nvidia"];
  if (profile === "fast") {
    enabled.push("disable_robustness", "disable_workgroup_init", "disable_polyfills_on_integer_div_and_mod");
  }
  if (more) enabled.push(more);
  return [`enable-dawn-features=${enabled.join(",")}`, "disable-dawn-features=timestamp_quantization"];
}
