// What the dashboard shows, from one reading of /metrics to the next: rates, batches, latencies. Pure: time is passed in.
import { type Metrics, quantileBetween } from "./metrics_text.ts";

/** Of the time between two readings. Undefined: there was nothing to measure. */
export interface Reading {
  /** Seconds, on the clock of the readings. */
  readonly at: number;
  /** A second. */
  readonly newTokens: number;
  readonly computedPromptTokens: number;
  readonly cachedPromptTokens: number;
  /** Sequences in a step, on average. */
  readonly batch: number;
  /** Tokens computed in a step, on average. */
  readonly rows: number;
  /** Share of the time that steps took. */
  readonly busy: number;
  readonly running: number;
  readonly waiting: number;
  /** Milliseconds, of the latest half minute. */
  readonly firstTokenMedianMs: number | undefined;
  readonly firstTokenP95Ms: number | undefined;
  readonly betweenTokensMedianMs: number | undefined;
}

/** Latencies are those of this many seconds: in one there are too few to tell. */
const LATENCY_WINDOW_S = 30;
const FIRST_TOKEN = "vllm:time_to_first_token_seconds";
const BETWEEN_TOKENS = "vllm:inter_token_latency_seconds";

interface Sample {
  readonly at: number;
  readonly metrics: Metrics;
}

export class ServerReadings {
  #samples: Sample[] = [];

  /** @returns undefined for the first, and for the first of a server that was started anew */
  add(at: number, metrics: Metrics): Reading | undefined {
    const before = this.#samples.at(-1);
    if (before && metrics.value(STEPS) < before.metrics.value(STEPS)) this.#samples = [];
    this.#samples.push({ at, metrics });
    while (this.#samples.length > 2 && this.#samples[1]!.at < at - LATENCY_WINDOW_S) this.#samples.shift();
    if (!before || this.#samples.length < 2) return undefined;
    return readingBetween(before, { at, metrics }, this.#samples[0]!.metrics);
  }
}

const STEPS = "llamacpp:n_decode_total";

function readingBetween(before: Sample, { at, metrics }: Sample, oldest: Metrics): Reading {
  const seconds = at - before.at;
  const added = (name: string) => metrics.value(name) - before.metrics.value(name);
  const steps = added(STEPS);
  const latency = (name: string, share: number) => {
    const found = quantileBetween(oldest.buckets(name), metrics.buckets(name), share);
    return found === undefined ? undefined : found * 1000;
  };
  return {
    at,
    newTokens: added("vllm:generation_tokens_total") / seconds,
    computedPromptTokens: added("llamacpp:prompt_tokens_total") / seconds,
    cachedPromptTokens: added("vllm:prefix_cache_hits_total") / seconds,
    batch: steps > 0 ? (sequences(metrics) - sequences(before.metrics)) / steps : 0,
    rows: steps > 0 ? added("hyades_step_tokens_total") / steps : 0,
    busy: Math.min(1, added("hyades_step_seconds_total") / seconds),
    running: metrics.value("vllm:num_requests_running"),
    waiting: metrics.value("vllm:num_requests_waiting"),
    firstTokenMedianMs: latency(FIRST_TOKEN, 0.5),
    firstTokenP95Ms: latency(FIRST_TOKEN, 0.95),
    betweenTokensMedianMs: latency(BETWEEN_TOKENS, 0.5),
  };
}

/** Over all steps since the server started: the metrics have their average. */
function sequences(metrics: Metrics): number {
  return metrics.value("llamacpp:n_busy_slots_per_decode") * metrics.value(STEPS);
}
