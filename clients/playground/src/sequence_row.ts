// The sequences in flight at one moment: a small bar each, filled as far as it has read its prompt or drawn its tokens.
import { element } from "./element.ts";
import { duration, plural } from "./figures.ts";

/** What is read of an entry of GET /slots. */
export interface Slot {
  readonly stage: "queue" | "prefill" | "decode";
  readonly priority: string;
  readonly age_ms: number;
  readonly params: { readonly n_predict: number };
  readonly next_token: { readonly n_decoded: number };
  readonly n_prompt_tokens: number;
  readonly n_prompt_tokens_processed: number;
}

/** More are only counted. */
const MAX_BARS = 24;
const KINDS = { queue: "waiting", prefill: "computed", decode: "new" } as const;

export class SequenceRow {
  readonly node = element("ul", { class: "sequences", "aria-label": "Sequences in flight" });

  update(slots: readonly Slot[]): void {
    const bars = slots.slice(0, MAX_BARS).map(bar);
    const more = slots.length - bars.length;
    this.node.replaceChildren(...bars, ...(more > 0 ? [element("li", { class: "more" }, `+ ${more}`)] : []));
  }
}

function bar(slot: Slot): HTMLElement {
  const said = describe(slot), fill = element("i", { class: `fill ${KINDS[slot.stage]}` });
  fill.style.inlineSize = `${(progress(slot) * 100).toFixed(1)}%`;
  return element("li", { class: "sequence", title: said }, fill, element("span", { class: "unseen" }, said));
}

/** 0 to 1, of the stage that it is in. */
function progress({ stage, params, next_token, n_prompt_tokens, n_prompt_tokens_processed }: Slot): number {
  if (stage === "queue") return 1;
  if (stage === "prefill") return n_prompt_tokens_processed / n_prompt_tokens;
  return Math.min(1, next_token.n_decoded / params.n_predict);
}

function describe(slot: Slot): string {
  const { stage, priority, age_ms, params, next_token, n_prompt_tokens, n_prompt_tokens_processed } = slot;
  const does = {
    queue: "waits",
    prefill: `reads token ${n_prompt_tokens_processed} of ${n_prompt_tokens}`,
    decode: `has drawn ${next_token.n_decoded} of at most ${plural(params.n_predict, "token")}`,
  };
  return `${priority}, ${duration(age_ms)}: ${does[stage]}`;
}
