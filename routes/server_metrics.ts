// The metrics of a server, under the names that dashboards for vLLM and for llama.cpp look for, and under our own
// where neither has one. Watches exchanges for what is timed; asks the engine for the rest when somebody scrapes.
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { EngineStats } from "../engine/engine.ts";
import type { FinishReason, GenerationEvent } from "../engine/request.ts";
import { COMPLETION_EVENTS, type CompletionEvent } from "./completion_events.ts";
import { ENGINE_METRICS } from "./engine_metrics.ts";
import type { Exchange, ExchangeWatcher, GenerationRecord } from "./exchange.ts";

/** What a scrape finds: the engine's counts where it can be asked, and whether it is ready. */
export interface Scrape {
  readonly ready: boolean;
  readonly model: string | undefined;
  readonly stats: EngineStats | undefined;
  /** Further models that are loaded, whose metrics differ by their label alone. */
  readonly others?: readonly { readonly model: string; readonly stats: EngineStats }[];
}

// vLLM's bounds, which its dashboards know, and finer ones below them: a keystroke's answer takes milliseconds.
const TOKEN_BOUNDS = [
  ...[0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75],
  ...[1, 2.5, 5, 7.5, 10, 20, 40, 80],
];
const FIRST_TOKEN_BOUNDS = [
  ...[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75],
  ...[1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560],
];
const REQUEST_BOUNDS = [
  ...[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30],
  ...[40, 50, 60, 120, 240, 480, 960, 1920, 7680],
];
const COUNT_BOUNDS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];

const HISTOGRAMS = {
  firstToken: ["vllm:time_to_first_token_seconds", "Time to first token.", FIRST_TOKEN_BOUNDS],
  interToken: ["vllm:inter_token_latency_seconds", "Time between two tokens of a sample.", TOKEN_BOUNDS],
  perToken: [
    "vllm:time_per_output_token_seconds",
    "Older name of inter_token_latency_seconds.",
    TOKEN_BOUNDS,
  ],
  endToEnd: ["vllm:e2e_request_latency_seconds", "From submission to the last token.", REQUEST_BOUNDS],
  queue: ["vllm:request_queue_time_seconds", "Time in the queue.", REQUEST_BOUNDS],
  inference: ["vllm:request_inference_time_seconds", "Prefill and decode together.", REQUEST_BOUNDS],
  prefill: ["vllm:request_prefill_time_seconds", "Time to read the prompt.", REQUEST_BOUNDS],
  decode: ["vllm:request_decode_time_seconds", "From the first token to the last.", REQUEST_BOUNDS],
  promptTokens: ["vllm:request_prompt_tokens", "Prompt tokens of a request.", COUNT_BOUNDS],
  generationTokens: ["vllm:request_generation_tokens", "New tokens of a request.", COUNT_BOUNDS],
} as const;

type HistogramName = keyof typeof HISTOGRAMS;

/** vLLM's words for how a request ended. */
const REASONS = ["stop", "length", "abort", "error"] as const;
type Reason = typeof REASONS[number];

export class ServerMetrics implements ExchangeWatcher {
  readonly #registry = new Registry();
  readonly #histograms: Record<HistogramName, Histogram>;
  readonly #finished: Counter;
  readonly #errors: Counter;
  readonly #completionEvents: Counter;
  readonly #inFlight: Gauge;
  readonly #ready: Gauge;
  readonly #memory: Gauge;
  readonly #engine: ReturnType<typeof ENGINE_METRICS[number]>[];
  readonly #sums = { promptSeconds: 0, predictedSeconds: 0 };
  readonly #modelId: () => string;

  /** @param modelId of the model of requests that name none; asked when one was served, so it is there to be named */
  constructor(modelId: () => string) {
    this.#modelId = modelId;
    const registers = [this.#registry];
    this.#histograms = Object.fromEntries(
      Object.entries(HISTOGRAMS).map(([key, [name, help, buckets]]) => [
        key,
        new Histogram({ name, help, buckets: [...buckets], labelNames: ["model_name", "engine"], registers }),
      ]),
    ) as Record<HistogramName, Histogram>;
    this.#finished = new Counter({
      name: "vllm:request_success_total",
      help: "Completions by how they ended; abort: the client left, error: the engine broke down.",
      labelNames: ["model_name", "engine", "finished_reason"],
      registers,
    });
    this.#engine = ENGINE_METRICS.map((metric) => metric(this.#registry));
    this.#errors = new Counter({
      name: "hyades_http_errors_total",
      help: "Replies with an error status; 499: the client left before its reply.",
      labelNames: ["status"],
      registers,
    });
    this.#completionEvents = new Counter({
      name: "hyades_completion_events_total",
      help: "What clients say became of completions: view, select (accepted), dismiss.",
      labelNames: ["type"],
      registers,
    });
    for (const type of COMPLETION_EVENTS) this.#completionEvents.inc({ type }, 0);
    this.#inFlight = new Gauge({
      name: "hyades_http_requests_in_flight",
      help: "POST requests whose reply is not complete.",
      registers,
    });
    this.#ready = new Gauge({ name: "hyades_ready", help: "1 when requests are served.", registers });
    this.#memory = new Gauge({
      name: "process_resident_memory_bytes",
      help: "Resident memory of the server, its engine included.",
      registers,
    });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Everything in Prometheus' text format. */
  async render({ ready, model, stats, others = [] }: Scrape): Promise<string> {
    this.#ready.set(ready ? 1 : 0);
    this.#memory.set(Deno.memoryUsage().rss);
    const labelled = this.#engine.filter((metric) => metric.labelled);
    // Of a model that had to give way there is nothing to say.
    for (const metric of labelled) metric.clear();
    for (const other of others) {
      for (const metric of labelled) metric.set(other.stats, NO_SUMS, other.model);
    }
    if (stats && model !== undefined) {
      for (const reason of REASONS) this.#finished.inc({ ...labels(model), finished_reason: reason }, 0);
      for (const metric of this.#engine) metric.set(stats, this.#sums, model);
    }
    return await this.#registry.metrics();
  }

  /** A client has told what became of a completion. */
  countCompletionEvent(type: CompletionEvent): void {
    this.#completionEvents.inc({ type });
  }

  started(exchange: Exchange): void {
    if (exchange.isWork) this.#inFlight.inc();
  }

  event({ model }: Exchange, event: GenerationEvent, intervalMs?: number): void {
    if (event.kind === "finish") this.#countFinish(finishedReason(event.reason), model);
    if (intervalMs === undefined) return;
    this.#observe("interToken", intervalMs / 1000, model);
    this.#observe("perToken", intervalMs / 1000, model);
  }

  generated({ model }: Exchange, record: GenerationRecord): void {
    if (record.outcome === "cancelled") this.#countFinish("abort", model);
    if (record.outcome === "failed") this.#countFinish("error", model);
    if (record.firstTokenMs !== undefined) this.#observe("firstToken", record.firstTokenMs / 1000, model);
    if (record.outcome === "finished") this.#observeFinished(record, model);
  }

  ended(exchange: Exchange): void {
    if (exchange.isWork) this.#inFlight.dec();
    if (exchange.status! >= 400) this.#errors.inc({ status: `${exchange.status}` });
  }

  #observeFinished(record: GenerationRecord, model: string | undefined): void {
    const { timings, totalMs, promptTokens, completionTokens } = record;
    const { queueMs = 0, promptMs = 0, predictedMs = 0 } = timings ?? {};
    if (model === undefined || model === this.#modelId()) {
      this.#sums.promptSeconds += promptMs / 1000;
      this.#sums.predictedSeconds += predictedMs / 1000;
    }
    this.#observe("endToEnd", totalMs / 1000, model);
    this.#observe("queue", queueMs / 1000, model);
    this.#observe("prefill", promptMs / 1000, model);
    this.#observe("decode", predictedMs / 1000, model);
    this.#observe("inference", (promptMs + predictedMs) / 1000, model);
    this.#observe("promptTokens", promptTokens, model);
    this.#observe("generationTokens", completionTokens, model);
  }

  #observe(name: HistogramName, value: number, model = this.#modelId()): void {
    this.#histograms[name].observe(labels(model), value);
  }

  #countFinish(reason: Reason, model = this.#modelId()): void {
    this.#finished.inc({ ...labels(model), finished_reason: reason });
  }
}

/** Sums are the first model's: what is made of them has no label. */
const NO_SUMS = { promptSeconds: 0, predictedSeconds: 0 };

/** vLLM's labels; one process here is one engine. */
function labels(model: string): { model_name: string; engine: string } {
  return { model_name: model, engine: "0" };
}

function finishedReason(reason: FinishReason): Reason {
  if (reason === "superseded") return "abort";
  return reason === "length" ? "length" : "stop";
}
