// Where a step's time on the GPU goes, of decodes or of a prefill: a timestamp before and after every dispatch, summed up
// by kind, beside what the GPU's memory and arithmetic would allow.
//
//     deno task profile --model DIR --device dawn --batches 1,8 --contexts 512
import { parseArgs } from "node:util";
import { DEFAULT_MODEL_DIR, DEFAULT_MODEL_ID } from "../../cli/default_model.ts";
import { type DeviceChoice } from "../../device/choose_backend.ts";
import type { StepProfile } from "../../kernels/step_profile.ts";
import { GpuRunner } from "../../models/gpu_runner.ts";
import { loadModel } from "../../models/load_model.ts";
import { runCommand } from "../command.ts";
import { promptsOf } from "../measure.ts";
import { median } from "../median.ts";
import { RunnerSequences } from "../runner_sequences.ts";
import { chromeTrace } from "./chrome_trace.ts";
import { formatKinds, kindsOf, passUs } from "./profile_table.ts";
import type { Roofline } from "./roofline.ts";

/** In flight at once: a GPU that idles between two steps lowers its clock. */
const REPEATS = 9;
const WARM_UP_MS = 100;

const USAGE = `Say where a step's time on the GPU goes, by kind of dispatch.

  deno task profile [--model DIR] [--device dawn|webgpu]

  --model DIR        model folder (default: the embedded ${DEFAULT_MODEL_ID})
  --device D         provider (default: auto)
  --batches LIST     sequences at once (default: 1,8)
  --contexts LIST    tokens of context (default: 512)
  --prefill LIST     instead, one prompt of so many tokens in one step
  --chunk N          beside the decodes the last N tokens of one more prompt (default: 0)
  --trace FILE       the last case's steps for Chrome's tracing page or Perfetto
  --bandwidth N      TB/s that the GPU's memory gives (default: 4.3, an H200's)
  --matrix-rate N    TFLOP/s of its matrix units, f16 products (default: 620)
  --f32-rate N       TFLOP/s of its other arithmetic (default: 60)`;

const text = { type: "string" } as const;
const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    model: { ...text, default: DEFAULT_MODEL_DIR },
    device: { ...text, default: "auto" },
    batches: { ...text, default: "1,8" },
    contexts: { ...text, default: "512" },
    prefill: text,
    chunk: { ...text, default: "0" },
    trace: text,
    bandwidth: { ...text, default: "4.3" },
    "matrix-rate": { ...text, default: "620" },
    "f32-rate": { ...text, default: "60" },
    help: { type: "boolean", short: "h" },
  },
});
if (import.meta.main) {
  if (flags.help) console.log(USAGE);
  else await runCommand(main);
}

async function main(): Promise<void> {
  const numbers = (list: string) => list.split(",").map(Number);
  const batches = flags.prefill ? [1] : numbers(flags.batches);
  const contexts = numbers(flags.prefill ?? flags.contexts), chunk = Number(flags.chunk);
  if (!Number.isInteger(chunk) || chunk < 0 || chunk > Math.min(...contexts)) {
    throw new RangeError(
      `Cannot profile: --chunk must be a number of tokens, no more than a context has, received "${flags.chunk}"`,
    );
  }
  const roofline = rooflineOfFlags();
  const { runner, backend, adapter } = await loadModel({
    modelDir: flags.model,
    device: flags.device as DeviceChoice,
    maxSequences: Math.max(...batches) + 1,
    ...(flags.prefill && { maxBatchTokens: Math.max(...contexts) }),
    ...(chunk > 0 && { maxBatchTokens: Math.max(...batches) + chunk }),
  });
  await using _ = runner;
  if (!(runner instanceof GpuRunner)) throw new TypeError("Cannot profile: choose --device dawn or webgpu");
  for (const batch of batches) {
    for (const context of contexts) {
      const beside = chunk > 0 ? `, beside a chunk of ${chunk}` : "";
      const what = flags.prefill ? `prefill of ${context}` : `batch ${batch}, context ${context}${beside}`;
      const title = `${backend} (${adapter}), ${what}`;
      const profiles = await profile(runner, batch, context, chunk);
      if (flags.trace) await Deno.writeTextFile(flags.trace, chromeTrace(profiles, title));
      console.log(title);
      print(profiles, roofline);
    }
  }
}

/** @throws {RangeError} when a flag is not a number above 0 */
function rooflineOfFlags(): Roofline {
  const tera = (flag: "bandwidth" | "matrix-rate" | "f32-rate") => {
    const value = Number(flags[flag]);
    if (value > 0) return value * 1e12;
    throw new RangeError(`Cannot profile: --${flag} must be a number above 0, received "${flags[flag]}"`);
  };
  return { bandwidth: tera("bandwidth"), rates: { matrix: tera("matrix-rate"), f32: tera("f32-rate") } };
}

/** Several profiles of one and the same step. */
async function profile(
  runner: GpuRunner,
  batch: number,
  context: number,
  chunk: number,
): Promise<StepProfile[]> {
  const prompts = promptsOf(batch + (chunk > 0 ? 1 : 0), context);
  const sequences = new RunnerSequences(runner, prompts, flags.prefill ? 0 : 1);
  if (!flags.prefill) await sequences.prefill();
  const step = flags.prefill
    ? sequences.prefillBatch()
    : chunk > 0
    ? sequences.mixedBatch(chunk)
    : sequences.decodeBatch();
  const round = () => Promise.all(Array.from({ length: REPEATS }, () => runner.profile(step)));
  for (const end = performance.now() + WARM_UP_MS; performance.now() < end;) await round();
  return await round();
}

function print(profiles: readonly StepProfile[], roofline: Roofline): void {
  const kinds = kindsOf(profiles, roofline), pass = passUs(profiles);
  console.log(formatKinds(kinds, pass));
  const span = median(profiles.map(({ dispatches }) => dispatches.at(-1)!.end)) / 1000;
  const busy = kinds.reduce((sum, { us }) => sum + us, 0);
  console.log(
    `in all ${profiles[0].dispatches.length} dispatches, ${busy.toFixed(0)} us of ${span.toFixed(0)} us; ` +
      `an empty one in a pass of its own takes ${pass.toFixed(2)} us\n`,
  );
}
