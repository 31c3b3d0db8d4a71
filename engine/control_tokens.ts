// Names of the tokens that structure a code model's training text: fill-in-the-middle marks and the separators
// between files, notebooks, commits and issues. Sources: StarCoder's and StarCoder2's vocabularies, SantaCoder's.

import type { FimLayout } from "./request.ts";

/** One family's spelling of the fill-in-the-middle tokens. */
export interface FimSpelling {
  readonly prefix: string;
  readonly middle: string;
  readonly suffix: string;
  readonly pad: string;
  /** Layouts that its models were trained on, the one to take first when both are as good. */
  readonly layouts: readonly FimLayout[];
}

/** Trained on in equal parts by the StarCoder family; in the first, what is typed comes last. */
const BOTH_LAYOUTS: readonly FimLayout[] = ["spm", "psm"];

export const FIM_SPELLINGS: readonly FimSpelling[] = [
  {
    prefix: "<fim_prefix>",
    middle: "<fim_middle>",
    suffix: "<fim_suffix>",
    pad: "<fim_pad>",
    layouts: BOTH_LAYOUTS,
  },
  {
    prefix: "<fim-prefix>",
    middle: "<fim-middle>",
    suffix: "<fim-suffix>",
    pad: "<fim-pad>",
    layouts: BOTH_LAYOUTS,
  },
  {
    prefix: "<|fim_prefix|>",
    middle: "<|fim_middle|>",
    suffix: "<|fim_suffix|>",
    pad: "<|fim_pad|>",
    layouts: ["psm"],
  },
];

/** A completion that reaches one of these has left the file: generation ends there. */
export const SEPARATOR_TOKENS: readonly string[] = [
  "<|endoftext|>",
  "<filename>",
  "<reponame>",
  "<gh_stars>",
  "<file_sep>",
  "<repo_name>",
  "<|file_sep|>",
  "<|repo_name|>",
  "<issue_start>",
  "<issue_comment>",
  "<issue_closed>",
  "<jupyter_start>",
  "<jupyter_text>",
  "<jupyter_code>",
  "<jupyter_output>",
  "<jupyter_script>",
  "<empty_output>",
  "<commit_before>",
  "<commit_msg>",
  "<commit_after>",
];

/** The names of one spelling. */
export function tokenNames({ prefix, middle, suffix, pad }: FimSpelling): string[] {
  return [prefix, middle, suffix, pad];
}

/** Every name above: text of the user's that spells one is text, unless asked otherwise. */
export function controlTokenNames(): Set<string> {
  return new Set([...SEPARATOR_TOKENS, ...FIM_SPELLINGS.flatMap(tokenNames)]);
}
