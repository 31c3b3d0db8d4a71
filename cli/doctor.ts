// `doctor`: what was found on this machine, whether it completes code, and the command that mends whatever is missing.
import { Command } from "commander";
import * as bytes from "std/fmt/bytes.js";
import type { GpuCaps } from "../device/caps.ts";
import { openGpu } from "../device/open_gpu.ts";
import { EngineUnavailableError } from "../engine/errors.ts";
import { GRAMMAR_LIBRARY } from "../engine/grammar.ts";
import { WorkerEngine } from "../engine/worker_engine.ts";
import { ggufLibrary } from "../models/gguf/gguf_header.ts";
import { pulledModels } from "../models/hub/hub_cache.ts";
import { loaded } from "./complete.ts";
import { findModel } from "./find_model.ts";
import { describeLongConvolutions } from "./long_convolutions.ts";
import { addModelOptions, engineOptions, type ModelFlags } from "./model_options.ts";

const PREFIX = "class Point:\n    def __init__(self, x, y):\n        self.x = x\n        ";
const TEXT = { kind: "text", text: PREFIX, parseSpecial: false } as const;
const SUFFIX = "\n\n    def length(self):\n        return (self.x ** 2 + self.y ** 2) ** 0.5\n";
/** Slow devices are not measured for longer than this. */
const SPEED_LIMIT_MS = 3000;
/** Time for the engine to load the grammar library ahead of the next grammar. */
const BETWEEN_GRAMMARS_MS = 2000;

export function doctorCommand(): Command {
  const command = new Command("doctor")
    .description("Say what was found on this machine and how to mend what is missing");
  return addModelOptions(command).action((flags: ModelFlags) => doctor(flags));
}

async function doctor(flags: ModelFlags): Promise<void> {
  reportMachine();
  const builtIn = await reportProvider("webgpu", flags);
  if (builtIn && !builtIn.software || flags.device === "dawn") await reportProvider("dawn", flags);
  else line("Dawn", "not looked for: it is of use on a real GPU only (--device dawn looks all the same)");
  await reportModel(flags);
}

function reportMachine(): void {
  const { hardwareConcurrency } = navigator;
  const memory = Deno.systemMemoryInfo();
  line("Deno", `${Deno.version.deno} on ${Deno.build.target}`);
  line("CPU", `${hardwareConcurrency} cores, ${size(memory.total)} memory, ${size(memory.available)} free`);
}

async function reportProvider(provider: "dawn" | "webgpu", flags: ModelFlags): Promise<GpuCaps | undefined> {
  const name = provider === "dawn" ? "Dawn" : "WebGPU";
  try {
    using gpu = await openGpu(provider, { profile: flags.profile });
    if (!gpu) {
      line(name, "no adapter");
      mend(
        "for a GPU, install its Vulkan driver (Debian: apt-get install libvulkan1, and the vendor's driver; in a " +
          "container of NVIDIA's, NVIDIA_DRIVER_CAPABILITIES must have graphics)",
      );
      return undefined;
    }
    const { caps } = gpu;
    line(
      name,
      `${caps.adapter}${caps.software ? " (software: right, but slower than the CPU backend)" : ""}`,
    );
    line("", `features: ${features(caps)}`);
    line(
      "",
      `limits: binding ${size(caps.maxBindingBytes)}, buffer ${size(caps.maxBufferBytes)}, ` +
        `workgroup memory ${size(caps.maxWorkgroupBytes)}, ${caps.maxInvocations} invocations`,
    );
    return caps;
  } catch (error) {
    line(name, `cannot be opened: ${message(error)}`);
    if (provider === "dawn") mend("run with --allow-ffi (the `serve` task does), or take --device webgpu");
    return undefined;
  }
}

function features(caps: GpuCaps): string {
  const subgroups = `subgroups of ${caps.subgroupMinSize} to ${caps.subgroupMaxSize}`;
  const found = [caps.f16 && "f16", caps.subgroups && subgroups, caps.timestamps && "timestamps"].filter(
    Boolean,
  );
  return found.join(", ") || "none";
}

async function reportModel(flags: ModelFlags): Promise<void> {
  await using engine = new WorkerEngine(engineOptions(flags, await findModel(flags.model)));
  try {
    await loaded(engine);
  } catch (error) {
    line("Model", `cannot be loaded: ${message(error)}`);
    Deno.exitCode = 1;
    return;
  }
  const { model } = engine;
  const millions = (model.numParameters / 1e6).toFixed(1);
  line("Backend", `${model.backend}: ${model.adapter}`);
  line("Model", `${model.id}: ${model.architecture}, ${millions} M parameters, ${size(model.weightBytes)}`);
  line("", `context ${model.contextLength} tokens, vocabulary ${model.vocabSize}`);
  const { totalBlocks, hostBlocks } = await engine.stats();
  line("KV cache", `${totalBlocks * 16} tokens in blocks of 16`);
  if (model.states) line("States", `${model.states.numSlots} slots of ${size(model.states.bytes)}`);
  if (model.longConvolutions) line("Long convolutions", describeLongConvolutions(model.longConvolutions));
  if (hostBlocks > 0) line("", `${hostBlocks * 16} more in host memory`);
  if (model.fim.supported) await reportInfill(engine);
  else {
    line("Infill", `the vocabulary lacks ${model.fim.missing.join(", ")}`);
    mend("name the model's tokens: --fim-prefix TOKEN --fim-middle TOKEN --fim-suffix TOKEN");
  }
  await reportSpeed(engine);
  await reportModels();
  await reportGrammars(engine);
}

async function reportInfill(engine: WorkerEngine): Promise<void> {
  const prompt = { kind: "infill", prefix: PREFIX, suffix: SUFFIX } as const;
  let text = "";
  for await (const event of engine.submit({ prompt, maxTokens: 32, temperature: 0 })) {
    if (event.kind === "prompt") continue;
    text += event.text;
    if (event.kind === "finish") {
      line("Infill", JSON.stringify(text));
    }
  }
}

/**
 * Measured past the end of the text, for that comes too soon, and after a first request, which is slower; without what
 * that one has left in caches.
 */
async function reportSpeed(engine: WorkerEngine): Promise<void> {
  const plain = { cachePrompt: false, speculation: false, tokenHealing: false };
  const start = performance.now();
  const times: number[] = [];
  let promptTokens = 0;
  const request = { prompt: TEXT, maxTokens: 64, temperature: 0, ignoreEos: true, ...plain };
  for await (const event of engine.submit(request)) {
    if (event.kind === "prompt") promptTokens = event.tokenIds.length;
    if (event.kind !== "token") continue;
    times.push(performance.now() - start);
    if (times.length > 1 && times.at(-1)! > SPEED_LIMIT_MS) break;
  }
  const rate = (times.length - 1) / (times.at(-1)! - times[0]) * 1000;
  line(
    "Speed",
    `${promptTokens} tokens read and the first drawn in ${times[0].toFixed(0)} ms, ` +
      `then ${rate.toFixed(rate < 10 ? 1 : 0)} tokens/s`,
  );
}

/** Asks for what reads pulled models and GGUF files, so that it is downloaded where it is missing. */
async function reportModels(): Promise<void> {
  try {
    const { models } = await pulledModels();
    await ggufLibrary();
    line("Models", models.length === 0 ? "none pulled" : `${models.length} pulled: deno task models`);
    if (models.length === 0) mend("deno task pull OWNER/NAME brings one of the hub's");
    line("Offline", "the libraries for the hub's cache and GGUF files are here");
  } catch (error) {
    line("Models", message(error));
  }
}

/** The first grammar has the library loaded, and downloaded where it is missing; the next finds it loaded. */
async function reportGrammars(engine: WorkerEngine): Promise<void> {
  try {
    const first = await firstTokenMs(engine, "[a-z]+");
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_GRAMMARS_MS));
    const next = await firstTokenMs(engine, "[a-z_]+");
    const again = await firstTokenMs(engine, "[a-z_]+");
    line(
      "Grammars",
      `first token after ${first} ms with the first, ${next} ms with another, ${again} ms with one known already; ` +
        "their library is here",
    );
  } catch (error) {
    line("Grammars", message(error));
    if (error instanceof EngineUnavailableError && error.reason === "no_grammar_library") {
      mend(`where there is a network: deno cache ${GRAMMAR_LIBRARY}`);
    }
  }
}

async function firstTokenMs(engine: WorkerEngine, pattern: string): Promise<string> {
  const grammar = { field: "grammar", kind: "regex", pattern } as const;
  const start = performance.now();
  const request = { prompt: TEXT, grammar, maxTokens: 1, temperature: 0, cachePrompt: false };
  for await (const event of engine.submit(request)) {
    if (event.kind === "token") return (performance.now() - start).toFixed(0);
  }
  throw new Error("the model drew nothing");
}

function line(label: string, text: string): void {
  console.log(`${label.padEnd(9)} ${text}`);
}

function mend(text: string): void {
  line("", `-> ${text}`);
}

function size(n: number): string {
  return bytes.format(n, { binary: true });
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
