// What a server tells of itself at /metrics, in Prometheus' text format, under the names of Hyades, vLLM and llama.cpp
// (started with --metrics). Whatever a server lacks is undefined, and so is what is made of it.

export interface ServerCounters {
  /** Prompt tokens computed. Hyades and older llama.cpp count a prompt when it is done, not one that was broken off. */
  readonly prefilledTokens: number | undefined;
  /** All tokens that went through the model but the generated ones: prompts that were broken off, too. */
  readonly computedPromptTokens: number | undefined;
  readonly queriedTokens: number | undefined;
  readonly cachedTokens: number | undefined;
  readonly running: number | undefined;
  readonly waiting: number | undefined;
  readonly batchSize: number | undefined;
  readonly freeBlocks: number | undefined;
  readonly totalBlocks: number | undefined;
  readonly cacheUsage: number | undefined;
  readonly memoryBytes: number | undefined;
  readonly cancellations: number | undefined;
}

/** Values by name; those that differ by labels only are added up. Comments and what is no number are skipped. */
export function parseMetrics(text: string): Map<string, number> {
  const values = new Map<string, number>();
  for (const [, name, value] of text.matchAll(/^([A-Za-z_:][\w:]*)(?:\{[^\n]*\})?[ \t]+(\S+)/gm)) {
    const number = Number(value);
    if (!Number.isNaN(number)) values.set(name, (values.get(name) ?? 0) + number);
  }
  return values;
}

export function countersOf(text: string): ServerCounters {
  const values = parseMetrics(text);
  const first = (...names: string[]) => names.map((name) => values.get(name)).find((v) => v !== undefined);
  // llama.cpp has this one since it counts prompt tokens after every step, whatever becomes of the prompt.
  const llamaCached = first("llamacpp:prompt_tokens_cached_total");
  const llamaComputed = llamaCached === undefined ? undefined : first("llamacpp:prompt_tokens_total");
  const cachedTokens = first("vllm:prefix_cache_hits_total") ?? llamaCached;
  const queriedTokens = first("vllm:prefix_cache_queries_total") ?? sum(llamaCached, llamaComputed);
  // A request's first token comes of its prompt's last row; those typed through have no rows at all.
  const prompts = difference(
    first("vllm:time_to_first_token_seconds_count"),
    first("hyades_type_through_hits_total"),
  );
  // And each token of a draft is a row, if it was wrong for nothing.
  const accepted = first("vllm:spec_decode_num_accepted_tokens_total");
  const wrongDrafts = difference(first("vllm:spec_decode_num_draft_tokens_total"), accepted) ?? 0;
  const drawn = first("hyades_drawn_tokens_total", "vllm:generation_tokens_total");
  const decodeRows = sum(difference(drawn, prompts ?? 0), wrongDrafts);
  return {
    prefilledTokens: first("llamacpp:prompt_tokens_total") ??
      difference(first("vllm:prompt_tokens_total"), cachedTokens),
    computedPromptTokens: llamaComputed ?? difference(first("hyades_step_tokens_total"), decodeRows),
    queriedTokens,
    cachedTokens,
    running: first("vllm:num_requests_running", "llamacpp:requests_processing", "tgi_batch_current_size"),
    waiting: first("vllm:num_requests_waiting", "llamacpp:requests_deferred", "tgi_queue_size"),
    batchSize: first("hyades_batch_size"),
    freeBlocks: first("hyades_kv_blocks_free"),
    totalBlocks: first("hyades_kv_blocks_total"),
    cacheUsage: first("vllm:kv_cache_usage_perc", "llamacpp:kv_cache_usage_ratio"),
    memoryBytes: first("process_resident_memory_bytes"),
    cancellations: first("hyades_cancellations_total"),
  };
}

/** How much a counter has grown; undefined where it is not known on both sides. */
export function growth(
  name: keyof ServerCounters,
  before: ServerCounters | undefined,
  after: ServerCounters | undefined,
): number | undefined {
  return difference(after?.[name], before?.[name]);
}

export function ratio(amount: number | undefined, per: number | undefined): number | undefined {
  return amount === undefined || !per ? undefined : amount / per;
}

function sum(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a + b;
}

function difference(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a - b;
}
