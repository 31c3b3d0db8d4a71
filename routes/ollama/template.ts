// How a model's prompts are laid out, in Go's notation, which Ollama's clients read and may send.
import type { ModelInfo } from "../../engine/engine.ts";

const PROMPT_ALONE = "{{ .Prompt }}";

/** Continue and others take `.Suffix` in it for the sign that a model fills in. */
export function templateOf({ fim: { spelling } }: Pick<ModelInfo, "fim">): string {
  if (!spelling) return PROMPT_ALONE;
  const { prefix, suffix, middle } = spelling;
  return `{{- if .Suffix }}${prefix}{{ .Prompt }}${suffix}{{ .Suffix }}${middle}{{ else }}${PROMPT_ALONE}{{ end }}`;
}

/** Whether prompts are laid out so anyway. */
export function isApplied(template: string, model: ModelInfo): boolean {
  return ["", PROMPT_ALONE, templateOf(model)].includes(template.trim());
}
