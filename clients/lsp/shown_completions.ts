// What became of completions that were shown: told to the server, each thing once. Knows no editor; times are handed in.
import type { ShownEvent } from "./completion_client.ts";

export type Portion = NonNullable<ShownEvent["selected"]>;

/** Completions that somebody may still take. */
const MAX_REMEMBERED = 250;

interface Shown {
  readonly sinceMs: number;
  taken: boolean;
  dismissed: boolean;
}

export class ShownCompletions {
  readonly #shown = new Map<string, Shown>();
  readonly #tell: (event: ShownEvent) => void;

  constructor(tell: (event: ShownEvent) => void) {
    this.#tell = tell;
  }

  view(id: string, nowMs: number): void {
    if (this.#shown.has(id)) return;
    this.#shown.set(id, { sinceMs: nowMs, taken: false, dismissed: false });
    if (this.#shown.size > MAX_REMEMBERED) this.#shown.delete(this.#shown.keys().next().value!);
    this.#tell({ type: "view", completionId: id });
  }

  /** All of it, or the next word or line. */
  select(id: string, selected: Portion, nowMs: number): void {
    const shown = this.#shown.get(id);
    if (!shown) return;
    shown.taken = true;
    this.#tell({ type: "select", completionId: id, selected, elapsedMs: nowMs - shown.sinceMs });
  }

  /** Of what was partly taken nothing is said. */
  dismiss(id: string, nowMs: number): void {
    const shown = this.#shown.get(id);
    if (!shown || shown.taken || shown.dismissed) return;
    shown.dismissed = true;
    this.#tell({ type: "dismiss", completionId: id, elapsedMs: nowMs - shown.sinceMs });
  }
}
