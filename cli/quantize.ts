// `quantize SOURCE TARGET`: makes an int8 or int4 checkpoint of a finer one, and says what it cost in quality.
import { Command, InvalidArgumentError, Option } from "commander";
import * as bytes from "std/fmt/bytes.js";
import { DEVICE_CHOICES, type DeviceChoice } from "../device/choose_backend.ts";
import { Tokenizer } from "../engine/tokenizer.ts";
import type { KvType } from "../kernels/attention/kv_layout.ts";
import { type Loss, lossPerToken } from "../models/evaluate.ts";
import { loadModel } from "../models/load_model.ts";
import { quantizeCheckpoint, QUANTIZED_BITS, type QuantizedBits } from "../models/quantize.ts";
import { isGgufPath } from "../models/gguf/gguf_checkpoint.ts";
import { callersPath } from "./callers_path.ts";
import { findModel } from "./find_model.ts";
import { ProgressBar } from "./progress_bar.ts";

interface QuantizeFlags {
  readonly bits: QuantizedBits;
  readonly force?: boolean;
  readonly evaluate?: string;
  readonly device: DeviceChoice;
}

const EXAMPLES = `
Examples:
  deno task quantize starcoderbase-1b starcoderbase-1b-int8
  deno task quantize starcoderbase-1b starcoderbase-1b-int4 --bits 4 --evaluate held_out.py

The result is an ordinary model folder: deno task serve --model starcoderbase-1b-int8
`;

export function quantizeCommand(): Command {
  return new Command("quantize")
    .description(
      "Convert a checkpoint to int8 weights, half the size of f16, or to int4, a bit over a quarter",
    )
    .argument(
      "<source>",
      "model folder, or what was pulled, with f32, f16 or bf16 weights; for 4 bits int8 too",
    )
    .argument("<target>", "folder for the quantised model; made where it is missing", callersPath)
    .addOption(
      new Option("--bits <n>", "4 or 8 bits of a weight; with 4, embeddings and a head tied to them have 8")
        .argParser(parseBits).default(8),
    )
    .option("--force", "overwrite a model that is already in the target folder")
    .option("--evaluate <file>", "compare the loss of both models on this text", callersPath)
    .addOption(
      new Option("--device <name>", "device that evaluates").choices(DEVICE_CHOICES).default("auto"),
    )
    .addHelpText("after", EXAMPLES)
    .action(async (source: string, target: string, flags: QuantizeFlags) =>
      await quantize(await sourceFolder(source), target, flags)
    );
}

/** @throws {TypeError} when it is a GGUF file */
async function sourceFolder(source: string): Promise<string> {
  const { path } = await findModel(source);
  if (!isGgufPath(path)) return path;
  throw new TypeError(`Cannot quantize "${source}": take the safetensors that this GGUF file was made of`);
}

async function quantize(source: string, target: string, flags: QuantizeFlags): Promise<void> {
  // Read first: a mistyped name should not cost a conversion.
  const text = flags.evaluate === undefined ? undefined : await Deno.readTextFile(flags.evaluate);
  const bar = new ProgressBar("Quantizing");
  const { sourceBytes, targetBytes } = await quantizeCheckpoint(source, target, {
    bits: flags.bits,
    force: flags.force ?? false,
    onProgress: (done, total) => bar.update(done / total),
  });
  console.log(`${bytes.format(sourceBytes)} -> ${bytes.format(targetBytes)} in ${target}`);
  if (text === undefined) return;
  const numBytes = new TextEncoder().encode(text).length;
  const original = await evaluate(source, text, flags.device);
  const quantized = await evaluate(target, text, flags.device);
  console.log(
    `loss on ${original.loss.numTokens} tokens of ${flags.evaluate}, nats per token and bits per byte:`,
  );
  const print = (name: string, { loss }: Evaluation) =>
    console.log(`  ${name.padEnd(34)} ${lossText(loss, numBytes)}${changeText(loss, original.loss)}`);
  print("original", original);
  print("quantised", quantized);
  if (quantized.onGpu) {
    print("quantised, KV cache in int8", await evaluate(target, text, flags.device, "i8"));
  }
}

function changeText({ nats }: Loss, original: Loss): string {
  if (nats === original.nats) return "";
  const change = (nats - original.nats) / original.nats * 100;
  return `  (${change >= 0 ? "+" : ""}${change.toFixed(3)} %)`;
}

/** Bits per byte compare models with different tokenizers; the few tokens that begin a window are left out of both. */
function lossText({ nats, numTokens }: Loss, numBytes: number): string {
  return `${nats.toFixed(5)}  ${(nats * numTokens / Math.LN2 / numBytes).toFixed(5)}`;
}

/** @throws {InvalidArgumentError} */
function parseBits(text: string): QuantizedBits {
  const bits = QUANTIZED_BITS.find((candidate) => `${candidate}` === text);
  if (bits === undefined) throw new InvalidArgumentError(`Allowed choices are ${QUANTIZED_BITS.join(", ")}.`);
  return bits;
}

interface Evaluation {
  readonly loss: Loss;
  readonly onGpu: boolean;
}

async function evaluate(
  modelDir: string,
  text: string,
  device: DeviceChoice,
  kvType?: KvType,
): Promise<Evaluation> {
  // As many tokens as a step takes are scored in it.
  const options = { modelDir, device, maxSequences: 256, ...(kvType && { kvType }) };
  const { runner, tokenizer, contextLength, backend } = await loadModel(options);
  await using _ = runner;
  const ids = new Tokenizer(tokenizer.tokenizerJson, tokenizer.tokenizerConfig).encode(text);
  const bar = new ProgressBar(`Evaluating ${modelDir}`);
  const loss = await lossPerToken(
    runner,
    Uint32Array.from(ids),
    contextLength,
    (done, total) => bar.update(done / total),
  );
  return { loss, onGpu: backend === "dawn" || backend === "webgpu" };
}
