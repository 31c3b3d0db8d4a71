// Prometheus' text format, as far as /metrics uses it: from text to numbers by name and labels. Pure.

export interface Metrics {
  /** Sum over all label sets; 0 where there is no such metric. */
  value(name: string): number;
  /** Counts of a histogram by upper bound, each with those of the bounds below it; ascending. */
  buckets(name: string): readonly Bucket[];
}

export interface Bucket {
  readonly bound: number;
  readonly count: number;
}

export function parseMetrics(text: string): Metrics {
  const values = new Map<string, number>(), histograms = new Map<string, Bucket[]>();
  for (const line of text.split("\n")) {
    const found = /^([\w:]+)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!found) continue;
    const [, name = "", labels = "", number = ""] = found, count = Number(number);
    const bound = /(?:^|,)le="([^"]*)"/.exec(labels)?.[1];
    if (bound === undefined) values.set(name, (values.get(name) ?? 0) + count);
    else {
      const buckets = histograms.get(name) ?? [];
      buckets.push({ bound: bound === "+Inf" ? Infinity : Number(bound), count });
      histograms.set(name, buckets);
    }
  }
  return {
    value: (name) => values.get(name) ?? 0,
    buckets: (name) => histograms.get(`${name}_bucket`) ?? [],
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
