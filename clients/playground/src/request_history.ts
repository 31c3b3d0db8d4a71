// The latest keys and requests as a row of bars: how long each took to its first text, and who answered.
import { element } from "./element.ts";
import { duration } from "./figures.ts";
import type { RequestRecord } from "./request_record.ts";

const LENGTH = 60;

const KINDS = {
  typed: "typed on",
  recalled: "seen before",
  remembered: "server remembered",
  model: "model",
  cancelled: "cancelled",
} as const;

type Kind = keyof typeof KINDS;

export class RequestHistory {
  readonly node = element("div", { class: "block history" });
  readonly #records: RequestRecord[] = [];
  readonly #counts = new Map<Kind, number>();

  /** A record that has come to its end. */
  add(record: RequestRecord): void {
    const kind = kindOf(record);
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
    this.#records.push(record);
    if (this.#records.length > LENGTH) this.#records.shift();
    this.#draw();
  }

  #draw(): void {
    const longest = Math.max(50, ...this.#records.map(msOf));
    const bars = this.#records.map((record) => {
      const bar = element("span", { class: `moment ${kindOf(record)}`, title: describe(record) });
      bar.style.blockSize = `${Math.max(8, 100 * Math.sqrt(msOf(record) / longest))}%`;
      return bar;
    });
    const legend = (Object.keys(KINDS) as Kind[]).filter((kind) => this.#counts.has(kind)).map((kind) =>
      element(
        "li",
        {},
        element("i", { class: `swatch ${kind}`, "aria-hidden": "true" }),
        `${KINDS[kind]} `,
        element("b", {}, String(this.#counts.get(kind))),
      )
    );
    this.node.replaceChildren(
      element("h3", {}, "Latest keys, by who answered"),
      element("div", { class: "moments", "aria-hidden": "true" }, ...bars),
      element("ul", { class: "legend" }, ...legend),
    );
  }
}

function kindOf({ source, outcome }: RequestRecord): Kind {
  return outcome === "cancelled" || outcome === "superseded" || outcome === "failed" ? "cancelled" : source;
}

function msOf({ firstTextMs, totalMs }: RequestRecord): number {
  return firstTextMs ?? totalMs ?? 0;
}

function describe(record: RequestRecord): string {
  const ms = msOf(record);
  return ms > 0 ? `${KINDS[kindOf(record)]}, ${duration(ms)}` : KINDS[kindOf(record)];
}
