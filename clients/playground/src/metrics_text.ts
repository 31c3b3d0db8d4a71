// Prometheus' text format, as far as /metrics uses it: from text to numbers by name and labels. Pure.

export interface Metrics {
  /** Sum over all label sets; 0 where there is no such metric. */
  value(name: string): number;
  /** Counts of a histogram by upper bound, each with those of the bounds below it; ascending; summed as values are. */
  buckets(name: string): readonly Bucket[];
}

export interface Bucket {
  readonly bound: number;
  readonly count: number;
}

export function parseMetrics(text: string): Metrics {
  const values = new Map<string, number>(), histograms = new Map<string, Map<number, number>>();
  for (const line of text.split("\n")) {
    const found = /^([\w:]+)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!found) continue;
    const [, name = "", labels = "", number = ""] = found, count = Number(number);
    const bound = /(?:^|,)le="([^"]*)"/.exec(labels)?.[1];
    if (bound === undefined) values.set(name, (values.get(name) ?? 0) + count);
    else {
      const counts = histograms.get(name) ?? new Map<number, number>();
      const limit = bound === "+Inf" ? Infinity : Number(bound);
      counts.set(limit, (counts.get(limit) ?? 0) + count);
      histograms.set(name, counts);
    }
  }
  return {
    value: (name) => values.get(name) ?? 0,
    buckets: (name) =>
      Array.from(histograms.get(`${name}_bucket`) ?? [], ([bound, count]) => ({ bound, count })),
  };
}

/**
 * The value below which a share of all lies that were added between two readings of a histogram, by straight lines within
 * buckets. Undefined where nothing was added; the highest bound where it lies beyond all.
 */
export function quantileBetween(
  before: readonly Bucket[],
  after: readonly Bucket[],
  share: number,
): number | undefined {
  const added = after.map(({ bound, count }, index) => ({
    bound,
    count: count - (before[index]?.count ?? 0),
  }));
  const total = added.at(-1)?.count ?? 0;
  if (total <= 0) return undefined;
  const rank = share * total;
  let lower = { bound: 0, count: 0 };
  for (const upper of added) {
    if (upper.count >= rank) {
      if (upper.bound === Infinity) return lower.bound;
      const within = (rank - lower.count) / (upper.count - lower.count);
      return lower.bound + (upper.bound - lower.bound) * within;
    }
    lower = upper;
  }
  return lower.bound;
}
