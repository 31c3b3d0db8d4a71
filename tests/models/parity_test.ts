// Every backend computes what transformers computes: logits of whole prompts, and greedy continuations of 64 tokens. Where
// matrix units read activations rounded to f16, tolerances are wider and a tie may go the other way.
import { DEFAULT_MODEL_ID } from "../../cli/default_model.ts";
import { loadModel } from "../../models/load_model.ts";
import type { LoadedModel } from "../../models/loaded_model.ts";
import { EVERY_CASE } from "../every_case.ts";
import { drawingSeed, GPU_PROVIDERS, isDrawn, matrixUnitsTest, openTestGpu } from "../gpus.ts";
import { Random } from "../kernels/random.ts";
import { PARITY_CASES, type ParityCase, readExpected } from "./parity_cases.ts";
import { checkGreedy, checkLogits, F32_TOLERANCE, HALVES_TIE, type Tolerance } from "./parity_checks.ts";
import { ROOMY } from "./shared_sizes.ts";

const PROFILES = ["safe", "fast"] as const;

type Backend =
  | { readonly device: "cpu" | "onnx"; readonly profile?: never }
  | { readonly device: typeof GPU_PROVIDERS[number]; readonly profile: typeof PROFILES[number] };

const BACKENDS: readonly Backend[] = [
  { device: "cpu" },
  { device: "onnx" },
  ...GPU_PROVIDERS.flatMap((device) => PROFILES.map((profile) => ({ device, profile }))),
];

/** Where weights and cache are f16, where activations are too, and where the cache is int8. */
const F16_TOLERANCE: Tolerance = { l2: 5e-3 };
const HALVES_TOLERANCE: Tolerance = { l2: 1e-2 };
const INT8_CACHE_TOLERANCE: Tolerance = { l2: 8e-2 };

/** Greedy tokens of the default model that a GPU in software is asked for, which takes a third of a second for each. */
const FEW_TOKENS = { dawn: 16, webgpu: 8 };
/** In the safe profile on both providers; of the others each is on one of them. */
const ON_BOTH = ["mqa-d40-f32", DEFAULT_MODEL_ID];
/** In the fast profile, of which every kernel has tests of its own, one case of each arithmetic. */
const FAST_CASES = {
  dawn: ["mqa-d40-f32", "mqa-d128-erf-f16", "starcoder2-gqa-window-f32"],
  webgpu: ["mqa-d40-f32", "qwen2-gqa-f32"],
};

for (const backend of BACKENDS) {
  const name = [backend.device, backend.profile].filter(Boolean).join(", ");
  for (const parityCase of PARITY_CASES) {
    Deno.test({
      name: `parity with transformers: ${parityCase.name} [${name}]`,
      ignore: !isChosen(parityCase.name, backend),
      async fn() {
        const arithmetic = await arithmeticOf(backend);
        if (arithmetic) await checkParity(parityCase, backend, arithmetic);
      },
    });
  }
}

function isChosen(name: string, { device, profile }: Backend): boolean {
  if (EVERY_CASE || !profile) return true;
  if (profile === "fast") return FAST_CASES[device].includes(name);
  return ON_BOTH.includes(name) || isDrawn(name, device);
}

const HALVES_CASES = PARITY_CASES.filter(({ storage }) => storage !== "f32");
/** Software compiles a model's products and attention on matrix units for up to a minute: two a run, drawn. */
const DRAWN_HALVES = EVERY_CASE ? HALVES_CASES : new Random(drawingSeed()).choose(HALVES_CASES, 2);

for (const parityCase of DRAWN_HALVES) {
  matrixUnitsTest(
    `parity with transformers: ${parityCase.name}`,
    {},
    () => checkParity(parityCase, { device: "dawn", profile: "fast" }, "halves"),
  );
}

for (const device of GPU_PROVIDERS) {
  Deno.test(`a KV cache in int8 moves the default model's logits by little [${device}]`, async () => {
    if (!await arithmeticOf({ device, profile: "safe" })) return;
    const parityCase = PARITY_CASES.at(-1)!;
    const model = await load({ ...parityCase, kvType: "i8" }, { device, profile: "safe" });
    await using _ = model.runner;
    await checkLogits(model, await readExpected(parityCase), INT8_CACHE_TOLERANCE);
  });
}

/** In what products of many rows are computed from weights in f16 and int8; undefined where there is no such backend. */
async function arithmeticOf({ device, profile }: Backend): Promise<"floats" | "halves" | undefined> {
  if (device === "cpu" || device === "onnx") return "floats";
  using gpu = await openTestGpu(device, { ...(profile && { profile }) });
  return gpu && (profile === "fast" && gpu.caps.matrixFragment ? "halves" : "floats");
}

async function checkParity(
  parityCase: ParityCase,
  backend: Backend,
  arithmetic: "floats" | "halves",
): Promise<void> {
  const { storage } = parityCase, expected = await readExpected(parityCase);
  const model = await load(parityCase, backend);
  await using _ = model.runner;
  const halves = arithmetic === "halves" && storage !== "f32";
  // What is rounded elsewhere is the cache, of quantised weights in the fast profile: one in f32 has to be exact.
  const halfCache = backend.profile === "fast" && storage === "int8";
  await checkLogits(
    model,
    expected,
    halves ? HALVES_TOLERANCE : storage === "f16" || halfCache ? F16_TOLERANCE : F32_TOLERANCE,
  );
  if (halfCache && !halves) {
    const precise = await load({ ...parityCase, kvType: "f32" }, backend);
    await using _ = precise.runner;
    await checkLogits(precise, expected, F32_TOLERANCE);
  }
  const { device } = backend;
  const few = parityCase.name === DEFAULT_MODEL_ID && !EVERY_CASE &&
    (device === "dawn" || device === "webgpu");
  const numTokens = few ? FEW_TOKENS[device] : Infinity;
  if (storage !== "f16") {
    await checkGreedy(model, expected, { numTokens, tie: halves || halfCache ? HALVES_TIE : 0 });
  }
}

async function load({ modelDir, kvType }: ParityCase, backend: Backend): Promise<LoadedModel> {
  // Enough for one sequence.
  const sizes = { ...ROOMY, kvBytes: 2 ** 26 };
  return await loadModel({ modelDir, ...backend, ...sizes, ...(kvType && { kvType }) });
}
