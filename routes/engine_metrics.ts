// Metrics whose value is the engine's own count at the time of a scrape: one line each, vLLM's names first, then
// llama.cpp's, then ours. llama.cpp's carry no labels, because what reads them expects none.
import { Counter, Gauge, type Registry } from "prom-client";
import type { EngineStats } from "../engine/engine.ts";
import { MAX_DRAFT_TOKENS } from "../engine/speculation.ts";

/** Seconds added up over finished requests. */
export interface Sums {
  readonly promptSeconds: number;
  readonly predictedSeconds: number;
}

type Value = (stats: EngineStats, sums: Sums) => number;
type Labels = Readonly<Record<string, string>>;
type EngineMetric = (registry: Registry) => {
  /** Whether it says which model it is of. */
  readonly labelled: boolean;
  readonly clear: () => void;
  readonly set: (stats: EngineStats, sums: Sums, model: string) => void;
};

export const ENGINE_METRICS: readonly EngineMetric[] = [
  gauge("vllm:num_requests_running", "Sequences that run.", (stats) => stats.running),
  gauge("vllm:num_requests_waiting", "Sequences that wait.", (stats) => stats.waiting),
  gauge("vllm:kv_cache_usage_perc", "Share of the KV cache's blocks in use, 0 to 1.", cacheUsage),
  counter("vllm:prompt_tokens_total", "Tokens of prompts, cached ones included.", (s) => s.promptTokens),
  counter("vllm:generation_tokens_total", "New tokens of completions.", (stats) => stats.generatedTokens),
  counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the cache.", (s) => s.promptTokens),
  counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the cache.", (s) => s.cachedTokens),
  counter("vllm:num_preemptions_total", "Sequences that gave their blocks back.", (s) => s.preemptions),
  counter("vllm:spec_decode_num_drafts_total", "Drafts that were run.", (stats) => stats.drafts),
  counter("vllm:spec_decode_num_draft_tokens_total", "Tokens of drafts.", (stats) => stats.draftedTokens),
  counter("vllm:spec_decode_num_accepted_tokens_total", "Those that were right.", (s) => s.acceptedTokens),
  ...Array.from({ length: MAX_DRAFT_TOKENS }, (_, place) =>
    counter(
      "vllm:spec_decode_num_accepted_tokens_per_pos_total",
      "The same by place in the draft, the first is 0.",
      (stats) => stats.acceptedByPlace[place] ?? 0,
      { position: String(place) },
    )),

  counter("llamacpp:prompt_tokens_total", "Prompt tokens computed.", computedPromptTokens),
  counter("llamacpp:prompt_seconds_total", "Time to read prompts.", (_, sums) => sums.promptSeconds),
  counter("llamacpp:tokens_predicted_total", "New tokens of completions.", (stats) => stats.generatedTokens),
  counter("llamacpp:tokens_predicted_seconds_total", "Time to draw them.", (_, s) => s.predictedSeconds),
  counter("llamacpp:n_decode_total", "Steps of the model.", (stats) => stats.steps),
  counter("llamacpp:n_tokens_max", "Longest context so far, tokens.", (stats) => stats.longestContext),
  gauge("llamacpp:n_busy_slots_per_decode", "Sequences in a step, on average.", busySequences),
  gauge("llamacpp:prompt_tokens_seconds", "Prompt tokens a second, on average.", promptRate),
  gauge("llamacpp:predicted_tokens_seconds", "New tokens a second, on average.", predictedRate),
  gauge("llamacpp:requests_processing", "Sequences that run.", (stats) => stats.running),
  gauge("llamacpp:requests_deferred", "Sequences that wait.", (stats) => stats.waiting),
  gauge("llamacpp:kv_cache_usage_ratio", "Older builds' name for the share of the cache in use.", cacheUsage),

  gauge("hyades_kv_blocks_free", "Blocks of the KV cache that nobody holds.", (stats) => stats.freeBlocks),
  gauge("hyades_kv_blocks_used", "Blocks held by sequences.", usedBlocks),
  gauge("hyades_kv_blocks_cached", "Free blocks that hold tokens for later requests.", (s) => s.cachedBlocks),
  gauge("hyades_kv_blocks_total", "Blocks there are.", (stats) => stats.totalBlocks),
  gauge("hyades_state_slots_free", "Slots for recurrent states that nobody holds.", (s) => s.freeStateSlots),
  gauge(
    "hyades_state_snapshots",
    "Free slots with a state that later requests may go on from.",
    (s) => s.stateSnapshots,
  ),
  gauge("hyades_state_slots_total", "Slots for recurrent states there are.", (s) => s.totalStateSlots),
  gauge("hyades_host_blocks_used", "Blocks in host memory.", (stats) => stats.parkedBlocks),
  gauge("hyades_host_blocks_total", "Blocks that host memory has room for.", (stats) => stats.hostBlocks),
  counter("hyades_parked_blocks_total", "Blocks copied to host memory.", (stats) => stats.parks),
  counter("hyades_unparked_blocks_total", "Blocks copied back to the device.", (stats) => stats.unparks),
  gauge("hyades_batch_size", "Sequences in the latest step.", (stats) => stats.batchSize),
  counter(
    "hyades_drawn_tokens_total",
    "All tokens drawn, ends and respelled ones too.",
    (s) => s.drawnTokens,
  ),
  counter(
    "hyades_step_tokens_total",
    "Tokens computed in steps, recomputed ones too.",
    (s) => s.computedTokens,
  ),
  counter("hyades_step_seconds_total", "Time that steps took.", (stats) => stats.stepMs / 1000),
  counter(
    "hyades_type_through_hits_total",
    "Requests answered with what an earlier completion had left.",
    (stats) => stats.typeThroughHits,
  ),
  ...(["queue", "prefill", "decode"] as const).flatMap((stage) => [
    counter(
      "hyades_cancellations_total",
      "Requests cancelled, by how far they had got.",
      (stats) => stats.cancelledIn[stage],
      { stage },
    ),
    counter(
      "hyades_superseded_total",
      "Requests that a newer one of their session ended, by how far they had got.",
      (stats) => stats.supersededIn[stage],
      { stage },
    ),
  ]),
];

function gauge(name: string, help: string, value: Value): EngineMetric {
  return (registry) => {
    const metric = new Gauge({ name, help, labelNames: labelNames(name), registers: [registry] });
    return {
      labelled: isLabelled(name),
      clear: () => metric.reset(),
      set: (stats, sums, model) => metric.set(labelsOf(name, model), value(stats, sums)),
    };
  };
}

function counter(name: string, help: string, value: Value, extra: Labels = {}): EngineMetric {
  return (registry) => {
    const known = registry.getSingleMetric(name) as Counter | undefined;
    const metric = known ??
      new Counter({
        name,
        help,
        labelNames: [...labelNames(name), ...Object.keys(extra)],
        registers: [registry],
      });
    return {
      labelled: isLabelled(name),
      clear: () => metric.reset(),
      set(stats, sums, model) {
        const labels = { ...labelsOf(name, model), ...extra };
        metric.remove(labels); // A counter can only be added to, and the engine keeps the count.
        metric.inc(labels, value(stats, sums));
      },
    };
  };
}

function isLabelled(name: string): boolean {
  return name.startsWith("vllm:");
}

function labelNames(name: string): string[] {
  return isLabelled(name) ? ["model_name", "engine"] : [];
}

function labelsOf(name: string, model: string): Labels {
  return isLabelled(name) ? { model_name: model, engine: "0" } : {};
}

function usedBlocks({ totalBlocks, freeBlocks }: EngineStats): number {
  return totalBlocks - freeBlocks;
}

function cacheUsage(stats: EngineStats): number {
  return ratio(usedBlocks(stats), stats.totalBlocks);
}

function computedPromptTokens({ promptTokens, cachedTokens }: EngineStats): number {
  return promptTokens - cachedTokens;
}

function busySequences({ stepSequences, steps }: EngineStats): number {
  return ratio(stepSequences, steps);
}

function promptRate(stats: EngineStats, sums: Sums): number {
  return ratio(computedPromptTokens(stats), sums.promptSeconds);
}

function predictedRate(stats: EngineStats, sums: Sums): number {
  return ratio(stats.generatedTokens, sums.predictedSeconds);
}

/** 0 where nothing has happened yet. */
function ratio(amount: number, per: number): number {
  return per > 0 ? amount / per : 0;
}
