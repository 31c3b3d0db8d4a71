// What a request's output rules come to: the request as the model is to see it, and the rules ready to work.
import { codeAround, withoutCrlf, withoutCrs } from "./code_around.ts";
import { anyRule, makeCleaner, OutputCleaner, type OutputRules } from "./output_rules.ts";
import type { GenerationRequest } from "./request.ts";

export interface OutputPlan {
  /** Without CRs where the rules give them back. */
  readonly request: GenerationRequest;
  /** The rules at work on one sample. */
  readonly newCleaner: () => OutputCleaner;
}

/**
 * @param server rules of requests that do not say otherwise, and do not want their text as it was drawn
 * @param decode text of a prompt that came as token ids
 */
export function planOutput(
  request: GenerationRequest,
  server: OutputRules | undefined,
  decode: (ids: readonly number[]) => string,
): OutputPlan {
  const rules = { ...(wantsRawTokens(request) ? {} : server), ...request.outputRules };
  if (!anyRule(rules)) return { request, newCleaner: () => new OutputCleaner() };
  const code = codeAround(request.prompt, decode);
  const newCleaner = () => makeCleaner(rules, code);
  return { request: rules.keepCrlf && code.crlf ? withoutCrsIn(request) : request, newCleaner };
}

function wantsRawTokens({ logprobs, echoPrompt, grammar }: GenerationRequest): boolean {
  return logprobs !== undefined || echoPrompt === true || grammar !== undefined;
}

function withoutCrsIn(request: GenerationRequest): GenerationRequest {
  const { prompt, stop } = request;
  return { ...request, prompt: withoutCrlf(prompt), ...(stop && { stop: stop.map(withoutCrs) }) };
}
