// The rows of a step, and what a sequence's next rows take of its limits. Pure; knows no other sequence.
import type { BlockCopy, KeptState } from "../kernels/step.ts";
import { nextCut } from "./held_state.ts";
import type { Reached } from "./progress.ts";
import type { LogitAdjustment, Sequence } from "./sequence.ts";

/** The rows that one sequence contributes to a step. */
export interface ScheduledSequence {
  readonly sequence: Sequence;
  /** Index in the sequence of the first token to compute. */
  readonly start: number;
  /** Drafts included. */
  readonly numTokens: number;
  /** Its only token is not known yet: it is what this sample of the step before draws. */
  readonly drawnBy?: number;
  /** To be done before the first row: it reads the copied ones. */
  readonly copy?: BlockCopy;
  /** The last row, and before it each that a draft follows, yields the token after it. */
  readonly draws: boolean;
  /** The last rows: guesses at the tokens to come. */
  readonly drafts: readonly Draft[];
  /** Rows [scoreStart, scoreEnd), by index in the sequence, score the prompt token that follows them. */
  readonly scoreStart: number;
  readonly scoreEnd: number;
  /** For the draw before any draft. */
  readonly adjustments: readonly LogitAdjustment[];
  /** What the draw may choose from, where that is not everything; then nothing is drafted. */
  readonly allowed?: Uint32Array;
  /** States that the step keeps within these rows. */
  readonly keptStates?: readonly KeptWithin[];
}

/** As `KeptState`, of one sequence. */
export type KeptWithin = Omit<KeptState, "sequence">;

export interface Draft {
  readonly id: number;
  /** For the draw after it. */
  readonly adjustments: readonly LogitAdjustment[];
}

/** What a step has left to give. */
export interface StepBudget {
  tokens: number;
  samples: number;
  adjustments: number;
  masks: number;
}

/**
 * Adds as many of the sequence's next tokens to the step as the budget allows, at most `most`.
 * @param reached where they begin; undefined = there are none
 * @returns how many, perhaps none
 */
export function take(
  sequence: Sequence,
  budget: StepBudget,
  step: ScheduledSequence[],
  reached: Reached | undefined,
  most = Infinity,
): number {
  if (!reached) return 0;
  if (reached.drawnBy !== undefined) return takeDrawn(sequence, budget, step, reached);
  const { start } = reached;
  const scoreStart = Math.max(start, sequence.numScored);
  const scoreLimit = Math.max(scoreStart, sequence.promptLength - 1);
  const cut = sequence.heldState ? nextCut(sequence.heldState, start) : Infinity;
  let end = Math.min(sequence.numTokens, start + Math.min(budget.tokens, most), cut);
  let scoreEnd = Math.max(scoreStart, Math.min(end, scoreLimit));
  if (scoreEnd - scoreStart > budget.samples) end = scoreEnd = scoreStart + budget.samples;
  let adjustments: readonly LogitAdjustment[] = [];
  const { allowed } = sequence;
  let draws = end === sequence.numTokens && sequence.numGenerated < sequence.maxTokens;
  if (draws) {
    adjustments = sequence.adjustments();
    const fits = scoreEnd - scoreStart < budget.samples && allowed !== "pending" &&
      (adjustments.length <= budget.adjustments || step.length === 0) &&
      (allowed === undefined || budget.masks > 0);
    // Without room for the draw, or word of what it may choose from, its row waits for the next step; the rows before it
    // need not.
    if (!fits) [end, draws, adjustments] = [end - 1, false, []];
  }
  if (end <= start) return 0;
  const samples = scoreEnd - scoreStart + (draws ? 1 : 0);
  budget.tokens -= end - start;
  budget.samples -= samples;
  budget.adjustments -= adjustments.length;
  const mask = draws && allowed instanceof Uint32Array ? { allowed } : {};
  if (mask.allowed) budget.masks--;
  const copy = sequence.pendingCopy && !reached.copied ? { copy: sequence.pendingCopy } : {};
  const drafts: readonly Draft[] = [];
  step.push({
    sequence,
    start,
    numTokens: end - start,
    ...copy,
    draws,
    drafts,
    scoreStart,
    scoreEnd,
    adjustments,
    ...mask,
  });
  return end - start;
}

/** Takes a sequence's rows out of a step again, with all that they took of its budget. */
export function giveBack(sequence: Sequence, budget: StepBudget, step: ScheduledSequence[]) {
  const index = step.findIndex((scheduled) => scheduled.sequence === sequence);
  if (index < 0) return;
  const [{ numTokens, draws, scoreStart, scoreEnd, adjustments, allowed }] = step.splice(index, 1);
  budget.tokens += numTokens;
  budget.samples += scoreEnd - scoreStart + (draws ? 1 : 0);
  budget.adjustments += adjustments.length;
  if (allowed) budget.masks++;
}

/** The row of a token that is not known yet. */
function takeDrawn(
  sequence: Sequence,
  budget: StepBudget,
  step: ScheduledSequence[],
  { start, drawnBy }: Reached,
): number {
  if (budget.tokens < 1 || budget.samples < 1) return 0;
  budget.tokens--;
  budget.samples--;
  step.push({
    ...{ sequence, start, numTokens: 1, drawnBy: drawnBy!, draws: true, drafts: [] },
    ...{ scoreStart: start, scoreEnd: start, adjustments: [] },
  });
  return 1;
}

/**
 * Adds drafts to the rows of a sequence that draws, as many as the budget allows.
 * @returns undefined when it allows none
 */
export function takeDrafts(
  scheduled: ScheduledSequence,
  ids: readonly number[],
  budget: StepBudget,
): ScheduledSequence | undefined {
  const { sequence } = scheduled;
  const drafts: Draft[] = [];
  for (let i = 0; i < ids.length && budget.tokens > 0 && budget.samples > 0; i++) {
    const adjustments = sequence.adjustments(ids.slice(0, i + 1));
    if (adjustments.length > budget.adjustments) break;
    budget.tokens--;
    budget.samples--;
    budget.adjustments -= adjustments.length;
    drafts.push({ id: ids[i], adjustments });
  }
  return drafts.length > 0
    ? { ...scheduled, numTokens: scheduled.numTokens + drafts.length, drafts }
    : undefined;
}

/**
 * Of the tokens drawn after a sequence's rows, those that follow from what came before: up to the first that is not as
 * it was drafted, which is right itself.
 */
export function heldDraws({ drafts }: ScheduledSequence, drawn: ArrayLike<number>): number[] {
  const wrong = drafts.findIndex(({ id }, index) => drawn[index] !== id);
  return Array.from({ length: 1 + (wrong < 0 ? drafts.length : wrong) }, (_, index) => drawn[index]);
}
