// Suggestions that were given before, for whoever comes back to where they were: takes letters back and types them again,
// or types on in what was dismissed. Pure.
import type { CursorContext } from "./cursor_context.ts";

const CAPACITY = 100;
/** Most characters that may have been typed since. */
const MAX_TYPED = 64;

export class RecentSuggestions {
  /** By context, the one used longest ago first. */
  readonly #texts = new Map<string, string>();

  add(context: CursorContext, text: string): void {
    const key = keyOf(context);
    this.#texts.delete(key);
    this.#texts.set(key, text);
    if (this.#texts.size > CAPACITY) this.#texts.delete(this.#texts.keys().next().value!);
  }

  /** What is left of a suggestion of which what was typed since is the beginning; undefined when there is none. */
  find({ prefix, suffix }: CursorContext): string | undefined {
    for (let typed = 0; typed <= Math.min(MAX_TYPED, prefix.length); typed++) {
      const start = prefix.length - typed;
      const context = { prefix: prefix.slice(0, start), suffix };
      const text = this.#texts.get(keyOf(context));
      if (text === undefined || text.length <= typed || !text.startsWith(prefix.slice(start))) continue;
      this.add(context, text);
      return text.slice(typed);
    }
    return undefined;
  }

  clear(): void {
    this.#texts.clear();
  }
}

function keyOf({ prefix, suffix }: CursorContext): string {
  return `${prefix}\0${suffix}`;
}
