// The panel that tells what happened to the last request: how long it took and where, what of its prompt was cached, how
// it ended, how sure the model was.
import { element } from "./element.ts";
import { amount, duration, plural } from "./figures.ts";
import { heatStrip } from "./heat_strip.ts";
import type { InfillEnd, Timings } from "./infill.ts";
import { RequestHistory } from "./request_history.ts";
import type { RequestRecord } from "./request_record.ts";
import { stackedBar } from "./stacked_bar.ts";

const LAYOUTS = { psm: "PSM, prefix first", spm: "SPM, suffix first" } as const;

const ENDS = {
  eos: "by the model",
  word: "at a stop string",
  limit: "at a limit",
  none: "not yet",
} as const;

const RULES: Readonly<Record<string, string>> = {
  scope: "with its line or block",
  n_indent: "with its indentation",
  trim_suffix: "before what follows",
  trim_repeats: "before a repeat",
  trim_blanks: "without blanks",
  keep_crlf: "with CRLF",
};

export class RequestPanel {
  readonly #place: HTMLElement;
  readonly #outcome: HTMLElement;
  readonly #details = element("div", { class: "details" });
  readonly #history = new RequestHistory();
  #shown: RequestRecord | undefined;
  #promptIsOpen = false;

  constructor(place: HTMLElement, outcome: HTMLElement) {
    this.#place = place;
    this.#outcome = outcome;
    this.#details.append(
      element("p", { class: "quiet" }, "Type in the editor, and see here what the server did."),
    );
    this.#place.append(this.#details, this.#history.node);
  }

  update(record: RequestRecord): void {
    this.#outcome.textContent = sayOutcome(record);
    this.#outcome.dataset.outcome = record.outcome;
    if (record.outcome === "running") return;
    if (record !== this.#shown && record.scores === undefined) this.#history.add(record);
    if (!record.end && record.error === undefined) return;
    this.#shown = record;
    this.#details.replaceChildren(...this.#sections(record));
  }

  #sections(record: RequestRecord): HTMLElement[] {
    const { end, error, scores } = record;
    if (!end) return [element("p", { class: "failure", role: "alert" }, error ?? "")];
    return [
      figures(record, end.timings),
      timeBar(record, end.timings),
      promptBar(end),
      ...draftBar(end.timings),
      facts(end),
      ...(scores && scores.tokens.length > 0 ? [heatStrip(scores)] : []),
      this.#promptText(end.prompt),
    ];
  }

  /** Open if it was for the request before. */
  #promptText(prompt: string): HTMLElement {
    const details = element(
      "details",
      { class: "prompt", ...(this.#promptIsOpen && { open: "" }) },
      element("summary", {}, "The prompt as the model sees it"),
      element("pre", { tabindex: "0" }, prompt),
    );
    details.addEventListener("toggle", () => this.#promptIsOpen = details.open);
    return details;
  }
}

function sayOutcome({ outcome, source, error }: RequestRecord): string {
  if (outcome === "running") return "asking …";
  if (outcome === "failed") return error ?? "failed";
  if (outcome === "empty") return "nothing to suggest";
  if (outcome === "cancelled") return "cancelled: you typed on";
  if (outcome === "superseded") return "superseded by a newer one";
  if (source === "typed") return "typed on: no request needed";
  if (source === "recalled") return "seen before: no request needed";
  return source === "remembered" ? "the server remembered it" : "computed";
}

function figures({ firstTextMs, totalMs = 0 }: RequestRecord, timings: Timings): HTMLElement {
  const { predicted_n, predicted_ms } = timings;
  const rate = predicted_ms > 0 && predicted_n > 1 ? (predicted_n - 1) / predicted_ms * 1000 : undefined;
  return element(
    "div",
    { class: "figures" },
    figure(firstTextMs === undefined ? "–" : duration(firstTextMs), "first text"),
    figure(duration(totalMs), "in all"),
    figure(amount(predicted_n), predicted_n === 1 ? "new token" : "new tokens"),
    figure(rate === undefined ? "–" : amount(rate), "tokens / s"),
  );
}

function figure(value: string, name: string): HTMLElement {
  return element("p", { class: "figure" }, element("b", {}, value), element("span", {}, name));
}

function timeBar({ totalMs = 0 }: RequestRecord, { prompt_ms, predicted_ms }: Timings): HTMLElement {
  const restMs = Math.max(0, totalMs - prompt_ms - predicted_ms);
  return stackedBar("Time", [
    { name: "queue and way", size: restMs, text: duration(restMs), kind: "waiting" },
    { name: "prompt", size: prompt_ms, text: duration(prompt_ms), kind: "computed" },
    { name: "tokens", size: predicted_ms, text: duration(predicted_ms), kind: "new" },
  ]);
}

function promptBar({ tokens_evaluated, timings: { cache_n, prompt_n } }: InfillEnd): HTMLElement {
  return stackedBar(`Prompt of ${plural(tokens_evaluated, "token")}`, [
    { name: "from the cache", size: cache_n, text: amount(cache_n), kind: "cached" },
    { name: "computed", size: prompt_n, text: amount(prompt_n), kind: "computed" },
  ]);
}

function draftBar({ draft_n = 0, draft_n_accepted = 0 }: Timings): HTMLElement[] {
  if (draft_n === 0) return [];
  const pips = Array.from(
    { length: Math.min(draft_n, 64) },
    (_, index) => element("i", { class: index < draft_n_accepted ? "pip right" : "pip" }),
  );
  return [
    element(
      "div",
      { class: "guesses" },
      element("h3", {}, "Guessed tokens"),
      element("div", { class: "pips", "aria-hidden": "true" }, ...pips),
      element("p", {}, element("b", {}, `${draft_n_accepted} of ${draft_n}`), " right"),
    ),
  ];
}

function facts(end: InfillEnd): HTMLElement {
  const { fim_layout, stop_type, cleaned = [], healed, truncated } = end;
  const layout = fim_layout && LAYOUTS[fim_layout];
  const rows: (readonly [string, string] | undefined)[] = [
    layout && ["Layout", layout],
    ["Ended", cleaned.length > 0 ? cleaned.map((rule) => RULES[rule] ?? rule).join(", ") : ENDS[stop_type]],
    healed === undefined ? undefined : ["Healed", plural(healed, "byte")],
    truncated ? ["Cut", "the prompt did not fit"] : undefined,
  ];
  const list = element("dl", { class: "facts" });
  for (const row of rows) {
    if (row) list.append(element("div", {}, element("dt", {}, row[0]), element("dd", {}, row[1])));
  }
  return list;
}
