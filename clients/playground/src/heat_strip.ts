// A suggestion's tokens, coloured by how sure the model was of each; the likeliest alternatives of one of them below. One
// token has the focus, arrow keys move it.
import { element } from "./element.ts";
import { percent } from "./figures.ts";
import type { TokenProbability } from "./infill.ts";
import type { TokenScores } from "./request_record.ts";

const SHOWN_ALTERNATIVES = 4;

export function heatStrip({ tokens, afterWord }: TokenScores): HTMLElement {
  const alternatives = element("div", { class: "alternatives", "aria-live": "polite" });
  const strip = element("div", {
    class: "strip",
    role: "listbox",
    "aria-label": "Tokens and their probabilities",
  });
  const chips = tokens.map((token, index) => chip(token, index === 0));
  strip.append(...chips);
  function choose(index: number): void {
    for (const [at, one] of chips.entries()) {
      one.tabIndex = at === index ? 0 : -1;
      one.setAttribute("aria-selected", String(at === index));
    }
    alternatives.replaceChildren(...alternativesOf(tokens[index]!));
  }
  for (const [index, one] of chips.entries()) {
    one.addEventListener("focus", () => choose(index));
    one.addEventListener("pointerenter", () => choose(index));
    one.addEventListener("click", () => one.focus());
  }
  strip.addEventListener("keydown", (event) => {
    const to = placeAfter(event.key, chips.indexOf(event.target as HTMLElement), chips.length);
    if (to === undefined) return;
    event.preventDefault();
    chips[to]!.focus();
  });
  choose(leastSure(tokens));
  const title = afterWord ? "Token probabilities, after the word at the cursor" : "Token probabilities";
  return element("div", { class: "block" }, element("h3", {}, title), strip, alternatives);
}

function placeAfter(key: string, from: number, count: number): number | undefined {
  switch (key) {
    case "ArrowRight":
    case "ArrowDown":
      return Math.min(count - 1, from + 1);
    case "ArrowLeft":
    case "ArrowUp":
      return Math.max(0, from - 1);
    case "Home":
      return 0;
    case "End":
      return count - 1;
    default:
      return undefined;
  }
}

/** Where the model might have gone another way. */
function leastSure(tokens: readonly TokenProbability[]): number {
  let least = 0;
  for (const [index, { logprob }] of tokens.entries()) if (logprob < tokens[least]!.logprob) least = index;
  return least;
}

function chip({ token, logprob }: TokenProbability, first: boolean): HTMLElement {
  const probability = Math.exp(logprob);
  const made = element("span", {
    class: "token",
    role: "option",
    tabindex: first ? "0" : "-1",
    "aria-label": `${visible(token)}, ${percent(probability)}`,
  }, visible(token));
  made.style.setProperty("--doubt", (1 - probability).toFixed(3));
  return made;
}

function alternativesOf({ token, top_logprobs }: TokenProbability): HTMLElement[] {
  const likeliest = top_logprobs.slice(0, SHOWN_ALTERNATIVES);
  const own = top_logprobs.filter((other) => other.token === token && !likeliest.includes(other));
  return [...likeliest.slice(0, SHOWN_ALTERNATIVES - own.length), ...own].map((other) => {
    const probability = Math.exp(other.logprob);
    const bar = element("i", { class: "share", "aria-hidden": "true" });
    bar.style.inlineSize = `${(probability * 100).toFixed(1)}%`;
    return element(
      "div",
      { class: other.token === token ? "alternative taken" : "alternative" },
      element("code", {}, visible(other.token)),
      element("span", { class: "track" }, bar),
      element("b", {}, percent(probability)),
    );
  });
}

/** Blanks and line breaks as something to look at. */
function visible(token: string): string {
  return token.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/ /g, "·") || "∅";
}
