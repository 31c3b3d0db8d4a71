// The live dashboard: polls the server while somebody can see it, and draws. Nothing is fetched while the tab is hidden,
// the dashboard is scrolled out of sight, or it is paused.
import { BlockMap, type CacheBlocks } from "./block_map.ts";
import type { Connection } from "./connection.ts";
import { amount, duration, percent } from "./figures.ts";
import { LineChart } from "./line_chart.ts";
import { parseMetrics } from "./metrics_text.ts";
import { SequenceRow, type Slot } from "./sequence_row.ts";
import { type Reading, ServerReadings } from "./server_readings.ts";

const INTERVAL_MS = 1000;
/** Between tries while the server does not answer. */
const RETRY_MS = 5000;

export interface DashboardElements {
  /** Polled for while it can be seen. */
  readonly section: HTMLElement;
  readonly cards: HTMLElement;
  readonly state: HTMLElement;
  readonly pause: HTMLButtonElement;
}

export class Dashboard {
  readonly #connection: Connection;
  readonly #elements: DashboardElements;
  readonly #readings = new ServerReadings();
  readonly #throughput = new LineChart({
    title: "Tokens a second",
    lines: [
      { name: "prompt, cached", colour: "cached" },
      { name: "prompt, read", colour: "computed" },
      { name: "new", colour: "new", filled: true },
    ],
    format: amount,
    leastMax: 50,
  });
  readonly #batch = new LineChart({
    title: "Sequences",
    lines: [
      { name: "in a step", colour: "new", filled: true },
      { name: "running", colour: "computed" },
      { name: "waiting", colour: "waiting", dashed: true },
    ],
    format: amount,
    leastMax: 4,
  });
  readonly #latency = new LineChart({
    title: "Latency, over 30 s",
    lines: [
      { name: "first token, p95", colour: "computed", dashed: true },
      { name: "median", colour: "computed", filled: true },
      { name: "between tokens", colour: "new" },
    ],
    format: duration,
    leastMax: 20,
    axisWidth: 52,
  });
  readonly #sequences = new SequenceRow();
  readonly #blocks = new BlockMap();
  #timer: number | undefined;
  #inSight = false;
  #paused = false;
  #polling = false;

  constructor(connection: Connection, elements: DashboardElements) {
    this.#connection = connection;
    this.#elements = elements;
    elements.cards.append(
      ...[this.#throughput, this.#batch, this.#latency, this.#blocks].map(({ node }) => node),
    );
    this.#batch.node.append(this.#sequences.node);
    new IntersectionObserver(([entry]) => {
      this.#inSight = entry!.isIntersecting;
      this.#next(0);
    }).observe(elements.section);
    document.addEventListener("visibilitychange", () => this.#next(0));
    elements.pause.addEventListener("click", () => this.#togglePause());
  }

  /** Draws anew, in the colours that hold now. */
  restyle(): void {
    for (const part of [this.#throughput, this.#batch, this.#latency, this.#blocks]) part.restyle();
  }

  #togglePause(): void {
    this.#paused = !this.#paused;
    const { pause, state } = this.#elements;
    pause.setAttribute("aria-pressed", String(this.#paused));
    pause.textContent = this.#paused ? "Go on" : "Pause";
    if (this.#paused) state.textContent = "paused";
    this.#next(0);
  }

  #next(delayMs: number): void {
    clearTimeout(this.#timer);
    if (!this.#inSight || this.#paused || document.hidden || this.#polling) return;
    this.#timer = setTimeout(() => this.#poll(), delayMs);
  }

  async #poll(): Promise<void> {
    this.#polling = true;
    let delayMs = INTERVAL_MS;
    try {
      const [metrics, blocks, slots] = await Promise.all([
        this.#connection.fetch("/metrics").then((response) => response.text()),
        this.#connection.json<CacheBlocks>("/blocks"),
        this.#connection.json<readonly Slot[]>("/slots"),
      ]);
      if (this.#paused) return;
      this.#show(metrics, blocks);
      this.#sequences.update(slots);
    } catch (error) {
      delayMs = RETRY_MS;
      this.#elements.state.textContent = error instanceof TypeError
        ? "the server does not answer"
        : (error as Error).message;
    } finally {
      this.#polling = false;
      this.#next(delayMs);
    }
  }

  #show(metricsText: string, blocks: CacheBlocks): void {
    const metrics = parseMetrics(metricsText), at = performance.now() / 1000;
    const prompts = metrics.value("vllm:prefix_cache_queries_total");
    const hits = metrics.value("vllm:prefix_cache_hits_total");
    this.#blocks.update(blocks, prompts > 0 ? hits / prompts : undefined);
    const reading = this.#readings.add(at, metrics);
    if (reading) this.#draw(reading);
  }

  #draw(reading: Reading): void {
    const { at, newTokens, computedPromptTokens, cachedPromptTokens, batch, running, waiting, rows, busy } =
      reading;
    this.#throughput.add(at, [cachedPromptTokens, computedPromptTokens, newTokens]);
    this.#batch.add(at, [batch, running, waiting]);
    this.#latency.add(at, [
      reading.firstTokenP95Ms,
      reading.firstTokenMedianMs,
      reading.betweenTokensMedianMs,
    ]);
    this.#elements.state.textContent = busy > 0
      ? `computing ${percent(busy)} of the time, ${amount(rows)} tokens a step`
      : "idle";
  }
}
