// What may be drawn next in one sequence, and how that changes with every token drawn: the wall between those who know
// why tokens are forbidden (`token_healing.ts`, `grammar.ts`) and those who draw.

/** One sequence's. Whoever ends the sequence disposes of it. */
export interface TokenConstraint extends Disposable {
  /**
   * The tokens of which the next is drawn, as a mask with at least one that is not suppressed (`token_mask.ts`); "any"
   * from where on nothing is forbidden; "pending" while that is being found out: then nothing is drawn yet.
   */
  readonly next: Uint32Array | "any" | "pending";
  /** No token may follow those that were drawn. */
  readonly ended: boolean;
  /** Takes in the token that was drawn. */
  accept(id: number): void;
}
