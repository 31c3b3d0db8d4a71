// From the checked body of a Tabby completion to the engine's request. What Tabby writes as comments above the prefix is
// shown to the model as files, as it was trained.
import { CODE_RULES } from "../../engine/output_rules.ts";
import type { GenerationRequest, Prompt } from "../../engine/request.ts";
import { defined } from "../defined.ts";
import type { OtherFiles } from "../infill_fields.ts";
import { toOutputRules } from "../output_rule_fields.ts";
import { engineSeed } from "../seed.ts";
import type { TabbyRequest, TabbySegments, TabbySnippet } from "./completion_schema.ts";

/** Tabby's own. */
const MAX_NEW_TOKENS = 64;
export function toGeneration(body: TabbyRequest): GenerationRequest {
  const { temperature, seed, debug_options } = body;
  return defined<GenerationRequest>({
    prompt: toPrompt(body),
    maxTokens: MAX_NEW_TOKENS,
    temperature,
    seed: seed === undefined ? undefined : engineSeed(seed),
    // Tabby's server ends completions by words of each language; indentation tells as much, whatever the language.
    outputRules: { ...CODE_RULES, ...toOutputRules(body) },
    promptText: debug_options.return_prompt || undefined,
  });
}

function toPrompt({ segments, debug_options }: TabbyRequest): Prompt {
  const { raw_prompt, disable_retrieval_augmented_code_completion: alone } = debug_options;
  if (raw_prompt !== undefined) return { kind: "text", text: raw_prompt, parseSpecial: true };
  const { prefix, suffix, filepath } = segments!;
  return {
    kind: "infill",
    prefix,
    suffix: suffix === "" ? "\n" : suffix,
    ...(filepath && { filename: filepath }),
    ...(!alone && { extra: otherFiles(segments!) }),
  };
}

/** The snippets that are shown, the most relevant last: there the model looks first, and nothing is cut. */
export function snippetsOf(segments: TabbySegments): TabbySnippet[] {
  const rising = (snippets: readonly TabbySnippet[]) => snippets.toSorted((a, b) => a.score - b.score);
  return [
    ...rising(segments.relevant_snippets_from_recently_opened_files),
    ...rising(segments.relevant_snippets_from_changed_files),
    ...segments.declarations.map((declaration) => ({ ...declaration, score: 1 })),
  ];
}

function otherFiles(segments: TabbySegments): OtherFiles {
  const { clipboard } = segments;
  return [
    ...(clipboard?.trim() ? [{ text: clipboard }] : []),
    ...snippetsOf(segments).map(({ filepath, body }) => ({ filename: filepath, text: body })),
  ];
}
