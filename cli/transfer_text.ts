// What a person wants to know of a transfer: how much is there, how fast it comes, when it is done.
import { format } from "std/fmt/bytes.js";

/** The rate is of the last seconds: one since the start would not tell that the line has gone slow. */
const WINDOW_MS = 5000;

export class TransferText {
  readonly #samples: { readonly at: number; readonly bytes: number }[] = [];

  /** @param now milliseconds of a clock that does not go back */
  text(done: number, total: number, now = performance.now()): string {
    // What is thrown away was no progress.
    if (done < (this.#samples.at(-1)?.bytes ?? 0)) this.#samples.length = 0;
    this.#samples.push({ at: now, bytes: done });
    while (this.#samples.length > 2 && this.#samples[1].at < now - WINDOW_MS) this.#samples.shift();
    const amount = `${size(done)} of ${size(total)}`, first = this.#samples[0];
    const rate = (done - first.bytes) / (now - first.at) * 1000;
    return rate > 0 ? `${amount}, ${size(rate)}/s, ${duration((total - done) / rate)} left` : amount;
  }
}

function size(bytes: number): string {
  return format(Math.round(bytes), { maximumFractionDigits: 1 });
}

/** "42 s", "3 min 20 s", "2 h 5 min" */
export function duration(seconds: number): string {
  const whole = Math.ceil(seconds), minutes = Math.floor(whole / 60);
  if (minutes === 0) return `${whole} s`;
  return minutes < 60
    ? `${minutes} min ${whole % 60} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
