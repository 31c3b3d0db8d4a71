// How long steps may be, in rows: the pacer says it, who knows what a row takes on this machine; the scheduler keeps to it.

export interface StepPace {
  /** Most rows of a step in which live prompts are read beside decodes; these and a quarter of a chunk always are. */
  readonly chunkRows: number;
  /** Most rows of live prompts where nothing decodes; never less than a quarter of a chunk. */
  readonly promptRows: number;
  /** Most rows of a step without live work; never less than such work has beside live work. */
  readonly backgroundRows: number;
}

/** As long as they can be. */
export const NO_HURRY: StepPace = { chunkRows: Infinity, promptRows: Infinity, backgroundRows: Infinity };
