// A progress bar on stderr, silent where stderr is no terminal.

const WIDTH = 30;
const encoder = new TextEncoder();

export class ProgressBar {
  readonly #label: string;
  readonly #enabled: boolean;
  #shown = -1;

  constructor(label: string, enabled: boolean = Deno.stderr.isTerminal()) {
    this.#label = label;
    this.#enabled = enabled;
  }

  /** `fraction` from 0 to 1; at 1 the bar is erased. */
  update(fraction: number): void {
    const percent = Math.floor(Math.min(1, Math.max(0, fraction)) * 100);
    if (!this.#enabled || percent === this.#shown) return;
    this.#shown = percent;
    const filled = Math.round(percent / 100 * WIDTH);
    const bar = "█".repeat(filled) + "░".repeat(WIDTH - filled);
    const text = percent === 100 ? "\r\x1b[K" : `\r${this.#label} ${bar} ${String(percent).padStart(3)} %`;
    Deno.stderr.writeSync(encoder.encode(text));
  }
}
