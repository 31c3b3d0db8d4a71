// A progress bar on stderr, silent where stderr is no terminal.

const WIDTH = 30;
const encoder = new TextEncoder();

export class ProgressBar {
  readonly #label: string;
  readonly #enabled: boolean;
  #shown = "";

  constructor(label: string, enabled: boolean = Deno.stderr.isTerminal()) {
    this.#label = label;
    this.#enabled = enabled;
  }

  /** `fraction` from 0 to 1; at 1 the bar is erased. `note` stands behind it. */
  update(fraction: number, note = ""): void {
    const percent = Math.floor(Math.min(1, Math.max(0, fraction)) * 100);
    const filled = Math.round(percent / 100 * WIDTH);
    const bar = "█".repeat(filled) + "░".repeat(WIDTH - filled);
    const text = percent === 100
      ? ""
      : `${this.#label} ${bar} ${String(percent).padStart(3)} %${note ? `  ${note}` : ""}`;
    if (!this.#enabled || text === this.#shown) return;
    this.#shown = text;
    Deno.stderr.writeSync(encoder.encode(`\r${text}\x1b[K`));
  }

  /** A line of its own, above the bar; also where stderr is no terminal. */
  line(text: string): void {
    Deno.stderr.writeSync(encoder.encode(this.#shown ? `\r\x1b[K${text}\n${this.#shown}` : `${text}\n`));
  }
}
