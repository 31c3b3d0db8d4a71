// Output made for code: which rules there are, and how those that a request wants work on its text, one after the
// other. Text that a rule may yet cut is held back and never leaks. Pure; knows no tokens and no model.
import { CrlfBreaks, TrailingBlanks } from "./blank_rules.ts";
import type { CodeAround } from "./code_around.ts";
import type { OutputRuleName, OutputStage } from "./output_stage.ts";
import { FollowingLines, Loops, SuffixOverlap } from "./repeat_rules.ts";
import { BlockScope, LeastIndent, LineScope } from "./scope_rules.ts";

export const SCOPES = ["line", "block", "auto", "none"] as const;

/** Every rule is off unless it is asked for. */
export interface OutputRules {
  /**
   * How far a completion may reach. line: to the first line break. block: to the first line that is indented less than
   * the one at the cursor, or no deeper where that one opens a block. auto: line where code stands right of the cursor, closing brackets and the like aside, else
   * block. none: anywhere.
   */
  readonly scope?: typeof SCOPES[number];
  /**
   * llama.cpp's `n_indent`: past the first line break, ends before the text of a line that has fewer blanks than this in
   * front of it, be it an empty one; its line break and its blanks stay. 0: off.
   */
  readonly minIndent?: number;
  /** Ends where the completion writes the lines that follow the cursor again, or its own lines for the third time. */
  readonly trimRepeats?: boolean;
  /** Cuts an end of the completion that stands right of the cursor already. */
  readonly trimSuffix?: boolean;
  /** Cuts blanks and line breaks from the completion's end. */
  readonly trimBlanks?: boolean;
  /** A file whose lines end with CRLF is shown to the model without the CRs, and gets its completion with them. */
  readonly keepCrlf?: boolean;
}

/** All of them, as suits a client that inserts what it gets. */
export const CODE_RULES: Required<Omit<OutputRules, "minIndent">> = {
  scope: "auto",
  trimRepeats: true,
  trimSuffix: true,
  trimBlanks: true,
  keepCrlf: true,
};

/** Every rule switched off, whatever the server's are. */
export const NO_RULES: Required<OutputRules> = {
  scope: "none",
  minIndent: 0,
  trimRepeats: false,
  trimSuffix: false,
  trimBlanks: false,
  keepCrlf: false,
};

export function anyRule(rules: OutputRules): boolean {
  return Object.values(rules).some((value) => value !== "none" && Boolean(value));
}

/** The rules of one completion at work. Without any it hands on what it gets. */
export class OutputCleaner {
  readonly #stages: readonly OutputStage[];

  constructor(stages: readonly OutputStage[] = []) {
    this.#stages = stages;
  }

  /** A rule has ended the text: no further piece adds to it. */
  get ended(): boolean {
    return this.#stages.some((stage) => stage.ended);
  }

  /**
   * Rules that have changed the text, each once. Of those that ended it the last: it did so before the place at which
   * an earlier one would have.
   */
  get acted(): OutputRuleName[] {
    const end = this.#stages.findLastIndex((stage) => stage.ended);
    const acted = this.#stages.filter((stage, i) => stage.acted && (i >= end || !stage.ended));
    return [...new Set(acted.map(({ rule }) => rule))];
  }

  /** @returns text that no rule will change any more */
  push(piece: string): string {
    return this.#stages.reduce((text, stage) => text === "" ? "" : stage.push(text), piece);
  }

  /** The text is over, by itself or because a rule ended it. @returns what was held back and stays */
  flush(): string {
    return this.#stages.reduce((text, stage) => stage.push(text) + stage.flush(), "");
  }
}

/** The rules as stages, in the order in which they work: where the text ends, then what its end is freed of. */
export function makeCleaner(rules: OutputRules, code: CodeAround): OutputCleaner {
  const scope = rules.scope === "auto" ? scopeAt(code) : rules.scope;
  const stages: (OutputStage | false | undefined)[] = [
    scope === "line" && new LineScope(),
    scope === "block" && new BlockScope(code.lineStart),
    rules.minIndent !== undefined && rules.minIndent > 0 && new LeastIndent(rules.minIndent),
    rules.trimRepeats && new FollowingLines(code),
    rules.trimRepeats && new Loops(code.lineStart),
    // Blanks at the end hide an overlap, and an overlap that is cut uncovers blanks.
    rules.trimBlanks && new TrailingBlanks(),
    rules.trimSuffix && new SuffixOverlap(code.after),
    rules.trimSuffix && rules.trimBlanks && new TrailingBlanks(),
    rules.keepCrlf && code.crlf && new CrlfBreaks(),
  ];
  return new OutputCleaner(stages.filter((stage) => stage !== false && stage !== undefined));
}

/** What may stand right of the cursor while one still writes whole blocks: what editors close by themselves. */
const CLOSERS_ONLY = /^[\s)\]}>"'`;:,]*$/;

function scopeAt({ lineEnd }: CodeAround): "line" | "block" {
  return CLOSERS_ONLY.test(lineEnd) ? "block" : "line";
}
