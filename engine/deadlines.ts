// When a request has taken too long. Pure: times are passed in, in milliseconds on the engine's clock.
//
// Deadlines are looked at between steps, so a step under way is always finished, and a prompt always gets one chunk.

export interface Deadlines {
  /** From submission to the first step: a request that waits longer fails with an EngineUnavailableError. */
  readonly queueMs?: number;
  /**
   * From the first step until the prompt is computed, not counting the wait for a grammar: longer ends the request with "length" and no token. A request for
   * no new tokens is exempt: it warms the cache, nobody waits for it, and editors send 1 ms with it.
   */
  readonly promptMs?: number;
  /**
   * From a sample's first new token. As llama.cpp has it, looked at when a token brings a line break, so that what is
   * delivered ends with a whole line; the sample then ends with "length".
   */
  readonly predictMs?: number;
  /** From submission to the end: a request that has started ends with "length", one that waits fails. */
  readonly totalMs?: number;
}

/** How far a request has got. */
export interface Progress {
  readonly submittedAt: number;
  /** Start of the first step that worked on it, later by as long as it has waited for a grammar since. */
  readonly startedAt: number | undefined;
  readonly promptComputed: boolean;
  /** It asks for new tokens. */
  readonly draws: boolean;
}

/**
 * fail: the request has nothing to show and cannot go on. cut: it ends with what it has, be it nothing.
 * @returns undefined while it may go on
 */
export function verdictAt(now: number, deadlines: Deadlines, progress: Progress): "fail" | "cut" | undefined {
  const { queueMs = Infinity, promptMs = Infinity, totalMs = Infinity } = deadlines;
  const { submittedAt, startedAt, promptComputed, draws } = progress;
  const age = now - submittedAt;
  if (startedAt === undefined) return age > Math.min(queueMs, totalMs) ? "fail" : undefined;
  if (age > totalMs) return "cut";
  return draws && !promptComputed && now - startedAt > promptMs ? "cut" : undefined;
}
