// When requests arrive in an open loop: at times that do not depend on how fast the server answers.
import type { SeededRandom } from "./seeded_random.ts";

export const ARRIVAL_PROCESSES = ["poisson", "bursty"] as const;
export type ArrivalProcess = typeof ARRIVAL_PROCESSES[number];

/** Requests of a burst on average, and milliseconds between them: an editor that opens, a script that starts. */
const BURST_SIZE = 8;
const BURST_GAP_MS = 15;

/** Times in milliseconds from 0 to `seconds`, ascending; `rate` a second on average. */
export function arrivalTimes(
  process: ArrivalProcess,
  rate: number,
  seconds: number,
  random: SeededRandom,
): number[] {
  const end = seconds * 1000;
  if (process === "poisson") return poisson(1000 / rate, end, random);
  const starts = poisson(1000 / rate * BURST_SIZE, end, random);
  return starts.flatMap((start) => burst(start, random)).filter((at) => at < end).sort((a, b) => a - b);
}

function poisson(meanGapMs: number, end: number, random: SeededRandom): number[] {
  const times: number[] = [];
  for (let at = random.exponential(meanGapMs); at < end; at += random.exponential(meanGapMs)) times.push(at);
  return times;
}

function burst(start: number, random: SeededRandom): number[] {
  let at = start;
  return Array.from({ length: random.geometric(BURST_SIZE) }, (_, i) => {
    if (i > 0) at += random.exponential(BURST_GAP_MS);
    return at;
  });
}
