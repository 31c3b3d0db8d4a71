// The flags by which every command chooses model and device, and their way into the engine's options.
import { type Command, InvalidArgumentError, Option } from "commander";
import { DEVICE_CHOICES, type DeviceChoice } from "../device/choose_backend.ts";
import type { Profile } from "../device/caps.ts";
import type { FimTokenNames } from "../engine/fim.ts";
import type { OutputRules } from "../engine/output_rules.ts";
import type { FimLayout } from "../engine/request.ts";
import type { EngineOptions } from "../engine/engine_options.ts";
import { DEFAULT_MODEL_DIR, DEFAULT_MODEL_ID } from "./default_model.ts";
import type { FoundModel } from "./find_model.ts";
import { parseOutputRules } from "./output_rules_flag.ts";

export interface ModelFlags {
  readonly model: string;
  readonly modelId?: string;
  readonly device: DeviceChoice;
  readonly profile: Profile;
  readonly dtype?: "f32" | "f16";
  readonly kvDtype?: "f32" | "f16" | "int8";
  readonly kvMemory?: number;
  readonly hostCacheMemory?: number;
  readonly maxBatchTokens?: number;
  readonly maxSequences?: number;
  readonly threads?: number;
  readonly infillContext?: number;
  readonly infillSuffix?: number;
  readonly cachePrompt: boolean;
  readonly typeThrough: boolean;
  readonly speculation: boolean;
  readonly warmUp: boolean;
  readonly fimLayout: FimLayout | "auto";
  readonly clean: OutputRules;
  readonly tokenHealing?: boolean;
  readonly fimPrefix?: string;
  readonly fimMiddle?: string;
  readonly fimSuffix?: string;
}

/** @param clean rules that hold unless `--clean` is given, and their name */
export function addModelOptions(
  command: Command,
  clean: readonly [rules: OutputRules, name: string] = [{}, "off"],
): Command {
  return command
    .addOption(
      new Option(
        "--model <model>",
        "model folder (config.json, tokenizer.json, safetensors), GGUF file, or what was pulled, as org/name",
      )
        .default(DEFAULT_MODEL_DIR, `the embedded ${DEFAULT_MODEL_ID}`),
    )
    .option("--model-id <name>", "name under which the model is served (default: the folder's, or org/name)")
    .addOption(
      new Option("--device <name>", "auto: Dawn, else built-in WebGPU, on a real GPU; else the CPU")
        .choices(DEVICE_CHOICES).default("auto"),
    )
    .addOption(
      new Option("--profile <name>", "fast: kernels by size; safe: one kernel form, all checks on")
        .choices(["fast", "safe"]).default("fast"),
    )
    .addOption(
      new Option("--dtype <type>", "storage of float weights on the GPU (default: the checkpoint's)")
        .choices(["f32", "f16"]),
    )
    .addOption(
      new Option(
        "--kv-dtype <type>",
        "storage of the KV cache on the GPU (default: f16; f32 for f32 weights, under --profile safe for int8 and int4 as well, and for those with convolutions' histories); int8 holds 1.8 times as many tokens as f16, less exactly, and is slower where the GPU has matrix units",
      )
        .choices(["f32", "f16", "int8"]),
    )
    // The defaults are those of models/load_model.ts.
    .option(
      "--kv-memory <size>",
      "memory for the KV cache, and for the states of models with recurrent layers, such as 512MB or 4GB " +
        "(default: 2GB on a GPU, 512MB on the CPU)",
      parseBytes,
    )
    .option(
      "--host-cache-memory <size>",
      "host memory for what the KV cache on a GPU has no room for; 0 for none " +
        "(default: a quarter of what is free, 4GB at most, if moving is measured to be cheaper than computing)",
      parseBytes,
    )
    .option(
      "--max-batch-tokens <n>",
      "token budget of one step, at least --max-sequences (default: 2048 on a GPU, 256 on the CPU)",
      parsePositive,
    )
    .option(
      "--max-sequences <n>",
      "sequences that run at once (default: 64 on a GPU, 16 on the CPU)",
      parsePositive,
    )
    .option("--threads <n>", "CPU threads (default: all cores, 16 at most)", parsePositive)
    .addOption(
      new Option("--fim-layout <name>", "auto: fill-in-the-middle layout by what is cached; else this one")
        .choices(["auto", "psm", "spm"]).default("auto"),
    )
    .option(
      "--infill-context <n>",
      "tokens of an infill's prompt at most (default: 1024 on the CPU, else all that the context has room for)",
      parseInfillContext,
    )
    .option(
      "--infill-suffix <n>",
      "those of them after the cursor at most (default: 128 on the CPU, else all that there is room for)",
      parsePositive,
    )
    .addOption(
      new Option(
        "--clean <rules>",
        "clean completions: code for all rules, off, or some: scope=line,trim_suffix",
      )
        .argParser(parseOutputRules).default(...clean),
    )
    .option(
      "--token-healing",
      "where the text before the cursor ends within a longer token, let the model write that token anew " +
        "(default: for prompts that are continued, and for infills if the model's configuration says so)",
    )
    .option("--no-token-healing", "read every prompt as it was typed")
    .option("--no-cache-prompt", "compute every prompt anew, whatever earlier requests left in the KV cache")
    .option(
      "--no-warm-up",
      "compute nothing ahead of what an editor may ask next",
    )
    .option(
      "--no-type-through",
      "ask the model also where an earlier completion is being typed as it was given",
    )
    .option("--no-speculation", "give a completion one token a step, even where a draft of several pays")
    .option("--fim-prefix <token>", "the model's fill-in-the-middle prefix token, if it is not found")
    .option("--fim-middle <token>", "the model's fill-in-the-middle middle token")
    .option("--fim-suffix <token>", "the model's fill-in-the-middle suffix token");
}

/** @throws {InvalidArgumentError} when only some of the three FIM tokens are given. */
export function engineOptions(flags: ModelFlags, { path, id }: FoundModel): EngineOptions {
  const fimTokens = fimTokenNames(flags);
  return {
    modelId: flags.modelId ?? id,
    load: {
      modelDir: path,
      device: flags.device,
      profile: flags.profile,
      ...(flags.dtype && { storage: flags.dtype }),
      ...(flags.kvDtype && { kvType: flags.kvDtype === "int8" ? "i8" : flags.kvDtype }),
      ...(flags.kvMemory !== undefined && { kvBytes: flags.kvMemory }),
      ...(flags.hostCacheMemory !== undefined && { hostBytes: flags.hostCacheMemory }),
      ...(flags.maxBatchTokens !== undefined && { maxBatchTokens: flags.maxBatchTokens }),
      ...(flags.maxSequences !== undefined && { maxSequences: flags.maxSequences }),
      ...(flags.threads !== undefined && { numThreads: flags.threads }),
    },
    ...(fimTokens && { fimTokens }),
    ...(flags.infillContext !== undefined && { infillContext: flags.infillContext }),
    ...(flags.infillSuffix !== undefined && { infillSuffix: flags.infillSuffix }),
    ...(flags.fimLayout !== "auto" && { fimLayout: flags.fimLayout }),
    outputRules: flags.clean,
    ...(flags.tokenHealing !== undefined && { tokenHealing: flags.tokenHealing }),
    cachePrompts: flags.cachePrompt,
    typeThrough: flags.typeThrough,
    speculation: flags.speculation,
    warmUp: flags.warmUp,
  };
}

const UNITS: Record<string, number> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** "512MB", "4g", "1.5GiB" or plain bytes; units are powers of 1024. */
export function parseBytes(text: string): number {
  const found = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text.trim());
  if (!found) throw new InvalidArgumentError("must be a size such as 512MB or 4GB");
  return Math.floor(Number(found[1]) * UNITS[found[2].toUpperCase()]);
}

export function parsePositive(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new InvalidArgumentError("must be a whole number above 0");
  }
  return value;
}

/** Below, not even the file's name and the cursor's line have room. */
const MIN_INFILL_CONTEXT = 64;

function parseInfillContext(text: string): number {
  const value = parsePositive(text);
  if (value >= MIN_INFILL_CONTEXT) return value;
  throw new InvalidArgumentError(`must be at least ${MIN_INFILL_CONTEXT}`);
}

export function parseWhole(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isSafeInteger(value) || value < 0) {
    throw new InvalidArgumentError("must be a whole number, 0 or above");
  }
  return value;
}

function fimTokenNames(flags: ModelFlags): FimTokenNames | undefined {
  const { fimPrefix: prefix, fimMiddle: middle, fimSuffix: suffix } = flags;
  if (prefix && middle && suffix) return { prefix, middle, suffix };
  if (!prefix && !middle && !suffix) return undefined;
  throw new InvalidArgumentError("--fim-prefix, --fim-middle and --fim-suffix must be given together");
}
