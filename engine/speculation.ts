// Exact speculation: guesses at the next tokens run as rows of the step that computes the next one, and those that turn
// out right need no step of their own. Owns what is learned for that; pure: no device, no clock (times are passed in).
import type { StepLimits } from "../kernels/step.ts";
import { DraftChances } from "./draft_chances.ts";
import { Drafter } from "./drafter.ts";
import { chooseDraftLengths } from "./draft_lengths.ts";
import { DrawCosts } from "./draw_costs.ts";
import type { Places } from "./places.ts";
import { RecentOutputs } from "./recent_outputs.ts";
import type { Sequence } from "./sequence.ts";
import { type ScheduledSequence, type StepBudget, takeDrafts } from "./step_budget.ts";

/** Longest draft of a sequence. */
export const MAX_DRAFT_TOKENS = 15;

export interface SpeculationOptions {
  /** Ids that no draft is worth a row for: after those that end a generation nothing is wanted. */
  readonly neverDrafted?: ReadonlySet<number>;
  /** That a drafted token is right, before any was seen: see `draft_chances.ts`. */
  readonly firstChance?: number;
  /** Whether rows before a wrong draft are computed again: see `draft_lengths.ts`. */
  readonly redoes?: boolean;
}

/**
 * Drafts are copied from where the last tokens occurred before: in the prompt (and with it the suffix and other files'
 * chunks), in what is generated, in recent outputs (Saxena 2023, "Prompt Lookup Decoding"). One pass verifies them
 * (Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding", arXiv:2211.17192), and needs no
 * sampler of its own: each row has an ordinary draw with the counter of its token, and holds while the draws before it
 * were as drafted. A draw depends on its logits, its seed and its counter alone, so the tokens are those that single
 * steps would draw, sampled ones too, wherever a row's logits do not depend on the rows beside it (on the CPU and under
 * the safe profile; the fast one may round otherwise, as it may in any batch). A token that was drafted with certainty
 * is accepted with its probability p under the model, as by the paper's rejection sampling, and what is drawn in its
 * place has the distribution p without it.
 */
export class Speculation {
  readonly #neverDrafted: ReadonlySet<number>;
  readonly #redoes: boolean;
  readonly #costs = new DrawCosts();
  readonly #chances: DraftChances;
  readonly #recent = new RecentOutputs();
  readonly #drafters = new WeakMap<Sequence, Drafter>();

  constructor({ neverDrafted = new Set(), firstChance, redoes = false }: SpeculationOptions = {}) {
    this.#neverDrafted = neverDrafted;
    this.#redoes = redoes;
    this.#chances = new DraftChances(undefined, firstChance);
  }

  /**
   * Adds drafts to the step's sequences of the most urgent class in it, from what the budget has left and from blocks that
   * hold nothing, where that is expected to pay.
   * @param most rows
   */
  addDrafts(
    step: ScheduledSequence[],
    budget: StepBudget,
    places: Pick<Places, "lendBlocks" | "prepareDrafts">,
    most = Infinity,
  ) {
    for (
      const { scheduled, index, ids } of this.#choose(step, Math.min(budget.tokens, budget.samples, most))
    ) {
      const wanted = Math.min(ids.length, places.prepareDrafts(scheduled));
      const room = places.lendBlocks(scheduled.sequence, wanted);
      step[index] = takeDrafts(scheduled, ids.slice(0, room), budget) ?? scheduled;
    }
  }

  /** Whether drafts for the tokens that a step is drawing would pay, so that those after it may. */
  wouldDraft(step: readonly ScheduledSequence[], { maxTokens, maxSamples }: StepLimits): boolean {
    return this.#choose(step, Math.min(maxTokens, maxSamples) - step.length).length > 0;
  }

  /** What to draft, for the sequences of the most urgent class in the step, in at most `room` rows. */
  #choose(step: readonly ScheduledSequence[], room: number) {
    const rank = Math.min(...step.map(({ sequence }) => sequence.rank));
    const proposals = step.flatMap((scheduled, index) => {
      const proposal = scheduled.sequence.rank === rank ? this.#propose(scheduled) : undefined;
      return proposal ? [{ ...proposal, scheduled, index }] : [];
    });
    const lengths = chooseDraftLengths(proposals.map(({ chances }) => chances), {
      numDraws: step.filter(({ draws }) => draws).length,
      room,
      redoes: this.#redoes,
      msOf: (rows) => this.#costs.ms(rows),
    });
    return proposals.flatMap(({ scheduled, index, ids }, i) =>
      lengths[i] > 0 ? [{ scheduled, index, ids: ids.slice(0, lengths[i]) }] : []
    );
  }

  /** What came of a step. */
  learn(step: readonly ScheduledSequence[], held: readonly (readonly number[])[], ms: number) {
    for (const [index, { sequence }] of step.entries()) this.#drafters.get(sequence)?.learn(held[index]);
    const rows = step.reduce((sum, { numTokens }) => sum + numTokens, 0);
    const draws = step.reduce((sum, one) => sum + (one.draws ? 1 + one.drafts.length : 0), 0);
    if (rows === draws) this.#costs.record(rows, ms);
  }

  /** Keeps what a sequence has generated, for others to draft from. */
  finish(sequence: Sequence) {
    if (sequence.state !== "finished") this.#recent.add(sequence);
  }

  /** Nothing before the first token, which nobody should wait longer for. */
  #propose({ sequence, draws }: ScheduledSequence) {
    const most = Math.min(MAX_DRAFT_TOKENS, sequence.maxTokens - sequence.numGenerated - 1);
    if (!draws || sequence.constrained || !sequence.promptDone || !sequence.speculates || most < 1) {
      return undefined;
    }
    const drafter = this.#drafters.get(sequence) ??
      new Drafter(this.#chances, sequence.promptLength + sequence.maxTokens);
    this.#drafters.set(sequence, drafter);
    return drafter.propose(sequence, this.#recent.of(sequence.cacheSpace), most, this.#neverDrafted);
  }
}
