// One rule at work on one completion: what the rules of `output_rules.ts` are made of.

/** The rules by the names that replies give them; those of the request fields that ask for them. */
export type OutputRuleName =
  | "scope"
  | "n_indent"
  | "trim_repeats"
  | "trim_suffix"
  | "trim_blanks"
  | "keep_crlf";

/**
 * Takes text in pieces and hands on what is certain. However the text is cut into pieces, what is handed on is the same
 * altogether.
 */
export interface OutputStage {
  readonly rule: OutputRuleName;
  /** It has ended the text: whatever follows is dropped. */
  readonly ended: boolean;
  /** It has changed the text, or ended it. */
  readonly acted: boolean;
  push(piece: string): string;
  /** The text is over. @returns what was held back and stays */
  flush(): string;
}
