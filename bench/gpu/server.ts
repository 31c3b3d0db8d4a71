// The whole server against what it is made of, on one machine in one run: clients that stream over HTTP, the engine without
// HTTP, and the bare loop of model steps with the same work; then where the server's time goes. USAGE says how.
import { parseArgs } from "node:util";
import { DEFAULT_MODEL_DIR, DEFAULT_MODEL_ID } from "../../cli/default_model.ts";
import { type DeviceChoice } from "../../device/choose_backend.ts";
import { LocalEngine } from "../../engine/local_engine.ts";
import { loadModel } from "../../models/load_model.ts";
import type { LoadOptions } from "../../models/loaded_model.ts";
import { parseMetrics } from "../load/server_counters.ts";
import { ServerProcess } from "../load/server_process.ts";
import { describeMachine } from "../machine.ts";
import { median } from "../median.ts";
import { RunnerSequences } from "../runner_sequences.ts";
import { appendJson } from "./json_lines.ts";
import { busiest, threadTimes } from "./process_threads.ts";
import { Clients, randomPrompt } from "./server_clients.ts";

const USAGE = `Measure the whole server against the bare loop of model steps, in output tokens a second.

  deno run -A bench/gpu/server.ts --model DIR [--device dawn]

  --model DIR     model folder of a vocabulary of 3300 or more (default: the embedded ${DEFAULT_MODEL_ID})
  --device D      dawn (default), webgpu or cpu
  --clients N     requests at once (default: 64)
  --prompt N      tokens of each prompt (default: 512)
  --tokens N      new tokens of each answer (default: 128)
  --seconds N     that each of the three is measured for (default: 20)
  --warm-up N     answers of each client before that (default: 2)
  --batch N       most tokens of a step (default: 2048, as serve has it on a GPU)
  --kv-memory N   bytes for the KV cache (default: 2 GiB, as serve has it on a GPU)
  --host-cache N  bytes of host memory for what the KV cache has no room for (default: as serve chooses)
  --workers N     threads that the clients run in (default: a quarter of the cores)
  --serve "FLAGS" further flags of \`serve\`
  --parts LIST    of loop,engine,server (default: all)
  --json FILE     append the figures to FILE as a line

Bare loop: prompts in steps of whole batches, then every sequence a token a step, all in step with each other and as many
steps in flight as the runner takes; no requests, no text, no events. Engine: as many readers in one thread with it, each
asking again when its answer has ended. Server: the same over HTTP, as event streams, the server in a process of its own.
Neither caches nor drafts help: prompts are random, and drafts are switched off.`;

const text = { type: "string" } as const;
const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    model: { ...text, default: DEFAULT_MODEL_DIR },
    device: { ...text, default: "dawn" },
    clients: { ...text, default: "64" },
    prompt: { ...text, default: "512" },
    tokens: { ...text, default: "128" },
    seconds: { ...text, default: "20" },
    "warm-up": { ...text, default: "2" },
    batch: { ...text, default: "2048" },
    "kv-memory": { ...text, default: String(2 * 2 ** 30) },
    "host-cache": text,
    workers: { ...text, default: String(Math.max(1, navigator.hardwareConcurrency >> 2)) },
    serve: { ...text, default: "" },
    parts: { ...text, default: "loop,engine,server" },
    json: text,
    help: { type: "boolean", short: "h" },
  },
});
const clients = Number(flags.clients), promptTokens = Number(flags.prompt), newTokens = Number(flags.tokens);
const seconds = Number(flags.seconds), warmUp = Number(flags["warm-up"]);

/** What is measured of the server beside its rate. */
interface ServerFigures {
  readonly tokensPerSecond: number;
  readonly stepMs: number;
  readonly betweenMs: number;
  readonly stepRows: number;
  readonly stepSequences: number;
  readonly firstTokenMs: number;
  readonly answerMs: number;
  readonly answers: number;
  readonly threads: readonly { readonly name: string; readonly share: number }[];
}

if (import.meta.main) {
  if (flags.help) console.log(USAGE);
  else await bench();
}

async function bench(): Promise<void> {
  const parts = flags.parts.split(",");
  const loop = parts.includes("loop") ? await measureLoop() : undefined;
  const engine = parts.includes("engine") ? await measureEngine() : undefined;
  const server = parts.includes("server") ? await measureServer() : undefined;
  const machine = await describeMachine();
  console.log(
    `${clients} clients, ${promptTokens} tokens in, ${newTokens} out; ${
      flags.model.split("/").at(-1)
    } on ${flags.device}; ` +
      `${machine.cpu}, ${machine.cores} cores, commit ${machine.commit}, ${machine.date}`,
  );
  console.log("|  | output tokens/s | of the bare loop |\n| --- | ---: | ---: |");
  printRate("bare loop", loop?.tokensPerSecond, loop?.tokensPerSecond);
  printRate("engine", engine, loop?.tokensPerSecond);
  printRate("server", server?.tokensPerSecond, loop?.tokensPerSecond);
  if (loop) {
    console.log(
      `bare loop: ${loop.prefillMs.toFixed(1)} ms for all prompts, ${
        loop.decodeMs.toFixed(2)
      } ms a step after`,
    );
  }
  if (server) printServer(server);
  const line = { ...machine, model: flags.model, device: flags.device, clients, promptTokens, newTokens };
  await appendJson(flags.json, { ...line, loop, engine, server });
}

function printRate(name: string, rate: number | undefined, loop: number | undefined): void {
  if (rate === undefined) return;
  console.log(`| ${name} | ${rate.toFixed(0)} | ${loop ? (rate / loop).toFixed(3) : "-"} |`);
}

function printServer(figures: ServerFigures): void {
  const { stepMs, betweenMs, stepRows, stepSequences, firstTokenMs, answerMs, answers, threads } = figures;
  console.log(
    `server: a step takes ${stepMs.toFixed(2)} ms, of ${stepRows.toFixed(0)} rows of ${
      stepSequences.toFixed(1)
    } sequences; ` +
      `${betweenMs.toFixed(2)} ms between steps\n` +
      `server: first token after ${firstTokenMs.toFixed(0)} ms, an answer takes ${answerMs.toFixed(0)} ms ` +
      `(medians of ${answers})\n` +
      `server: threads, % of a core: ${
        threads.map(({ name, share }) => `${name} ${(100 * share).toFixed(0)}`).join(", ")
      }`,
  );
}

function loadOptions(): LoadOptions {
  return {
    modelDir: flags.model,
    device: flags.device as DeviceChoice,
    kvBytes: Number(flags["kv-memory"]),
    maxBatchTokens: Number(flags.batch),
    maxSequences: clients,
    ...(flags["host-cache"] !== undefined && { hostBytes: Number(flags["host-cache"]) }),
  };
}

/** Rounds of the same work: every prompt, and every token after it. */
async function measureLoop() {
  progress("bare loop");
  const loaded = await loadModel({ ...loadOptions(), hostBytes: 0 });
  await using runner = loaded.runner;
  const prompts = Array.from({ length: clients }, (_, i) => randomPrompt(promptTokens, i, 0));
  const sequences = new RunnerSequences(runner, prompts, newTokens);
  const prefills: number[] = [], decodes: number[] = [];
  let spentMs = 0;
  for (let round = -1; round < 1 || spentMs < seconds * 1000; round++) {
    const begun = performance.now();
    await sequences.prefill();
    const read = performance.now();
    for (let drawn = 1; drawn < newTokens; drawn++) {
      await sequences.decode({ isLast: drawn === newTokens - 1 });
    }
    const ended = performance.now();
    if (round < 0) continue; // The first one warms up.
    spentMs += ended - begun;
    prefills.push(read - begun);
    decodes.push((ended - read) / (newTokens - 1));
  }
  const tokensPerSecond = prefills.length * clients * newTokens / (spentMs / 1000);
  return { tokensPerSecond, prefillMs: median(prefills), decodeMs: median(decodes), rounds: prefills.length };
}

async function measureEngine(): Promise<number> {
  progress("engine");
  const ready = Promise.withResolvers<void>();
  await using engine = new LocalEngine(
    {
      modelId: "bench",
      speculation: false,
      openModel: () => loadModel(loadOptions()),
      onState: (state) => {
        if (state.phase === "ready") ready.resolve();
        if (state.phase === "failed") ready.reject(new Error(state.reason));
      },
      load: loadOptions(),
    } as ConstructorParameters<typeof LocalEngine>[0],
  );
  await ready.promise;
  let numTokens = 0, numAnswers = 0, stopped = false;
  const warm = Promise.withResolvers<void>();
  async function read(seed: number): Promise<void> {
    for (let round = 0; !stopped; round++) {
      const prompt = { kind: "tokens" as const, ids: randomPrompt(promptTokens, seed, round) };
      for await (
        const event of engine.submit({ prompt, maxTokens: newTokens, temperature: 0, ignoreEos: true })
      ) {
        if (event.kind === "token") numTokens++;
      }
      if (++numAnswers === warmUp * clients) warm.resolve();
    }
  }
  const readers = Promise.all(Array.from({ length: clients }, (_, i) => read(i)));
  await Promise.race([warm.promise, readers]);
  const before = numTokens, begun = performance.now();
  await pause(seconds * 1000);
  const rate = (numTokens - before) / (performance.now() - begun) * 1000;
  stopped = true;
  await readers;
  return rate;
}

async function measureServer(): Promise<ServerFigures> {
  progress("server");
  const own = `--model ${flags.model} --device ${flags.device} --kv-memory ${flags["kv-memory"]} ` +
    `--max-batch-tokens ${flags.batch} --max-sequences ${clients} --no-speculation ${flags.serve}` +
    (flags["host-cache"] === undefined ? "" : ` --host-cache-memory ${flags["host-cache"]}`);
  await using server = await ServerProcess.startOwn(own);
  await using load = new Clients(
    { url: server.url, clients, promptTokens, newTokens },
    Number(flags.workers),
  );
  await load.answered(warmUp * clients);
  const before = await look(server);
  await pause(seconds * 1000);
  const after = await look(server);
  await load.stop();
  const end = await look(server);
  if (end.tokens !== load.answers.length * newTokens) {
    throw new Error(
      `The server counts ${end.tokens} tokens, its clients have ${load.answers.length * newTokens}`,
    );
  }
  const window = load.answers.filter(({ endedAt }) => endedAt > before.wallAt && endedAt <= after.wallAt);
  const steps = after.steps - before.steps, ms = after.at - before.at;
  const stepMs = (after.stepMs - before.stepMs) / steps;
  return {
    tokensPerSecond: (after.tokens - before.tokens) / ms * 1000,
    stepMs,
    betweenMs: ms / steps - stepMs,
    stepRows: (after.rows - before.rows) / steps,
    stepSequences: (after.tokens - before.tokens) / steps,
    firstTokenMs: median(window.map(({ startedAt, firstAt }) => firstAt - startedAt)),
    answerMs: median(window.map(({ startedAt, endedAt }) => endedAt - startedAt)),
    answers: window.length,
    threads: busiest(before.threads, after.threads, ms / 1000),
  };
}

/** The server's counters and its threads' times, at one time. */
async function look({ url, pid }: ServerProcess) {
  const response = await fetch(`${url}/metrics`);
  const values = parseMetrics(await response.text());
  const value = (name: string) => {
    const found = values.get(name);
    if (found === undefined) throw new Error(`Cannot measure the server: it has no metric "${name}"`);
    return found;
  };
  return {
    at: performance.now(),
    wallAt: Date.now(),
    steps: value("llamacpp:n_decode_total"),
    rows: value("hyades_step_tokens_total"),
    tokens: value("vllm:generation_tokens_total"),
    stepMs: value("hyades_step_seconds_total") * 1000,
    threads: threadTimes(pid),
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function progress(message: string): void {
  console.error(`measuring: ${message}`);
}
