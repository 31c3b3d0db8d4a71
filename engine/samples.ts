// The sequences of a request: one a sample, each with the seed and the logit adjustments of its own.
import { MAX_ADJUSTMENTS } from "../kernels/control.ts";
import type { Flow } from "./fair_share.ts";
import type { EncodedPrompt, Sample } from "./generation.ts";
import type { CacheSpace } from "./prefix_cache.ts";
import type { GenerationRequest } from "./request.ts";
import { LogitAdjuster, randomSeed, samplingParams } from "./sampling.ts";
import { Sequence } from "./sequence.ts";
import type { ServedModel } from "./served_model.ts";
import type { TokenConstraint } from "./token_constraint.ts";
import { HealingConstraint } from "./token_healing.ts";

/** Sequences that a request takes; without new tokens all its samples are the same prompt. */
export function numSequencesOf(request: GenerationRequest): number {
  return request.maxTokens === 0 ? 1 : request.n ?? 1;
}

/** Whose cached tokens a request uses; without caching a space of its own, which only its samples share. */
export function cacheSpaceOf(request: GenerationRequest, cachePrompts: boolean): CacheSpace {
  if (!cachePrompts || request.cachePrompt === false) return Symbol("one request");
  return request.cacheSalt ?? "";
}

/** Without a key all are one key's; without a session the client stands for it. */
function flowOf({ requester: { key = "", session, client = "" } = {} }: GenerationRequest): Flow {
  return { key, session: session ?? client };
}

/**
 * The first sample computes the prompt, and scores it where that is asked for; the others find it in the cache.
 * @param openGrammar the constraint of a request with a grammar, one a sample
 */
export function makeSamples(
  request: GenerationRequest,
  prompt: EncodedPrompt,
  served: ServedModel,
  cacheSpace: CacheSpace,
  openGrammar: () => TokenConstraint | undefined,
): Sample[] {
  const seed = request.seed === undefined ? randomSeed() : BigInt(request.seed);
  const room = served.info.contextLength - prompt.ids.length;
  const samples: Sample[] = [];
  for (let index = 0; index < numSequencesOf(request); index++) {
    const adjuster = new LogitAdjuster(request);
    const leader = samples[0]?.sequence;
    const { healing } = prompt;
    const sequence = new Sequence({
      promptIds: prompt.ids,
      cacheSpace,
      // Tokens that only spell what was typed are none of the completion's.
      maxTokens: Math.min((request.maxTokens ?? room) + (healing?.bytes.length ?? 0), room),
      params: samplingParams(request, seed, index),
      topLogprobs: request.logprobs ?? (request.rankSamples ? 0 : -1),
      priority: request.priority ?? "live",
      flow: flowOf(request),
      scorePrompt: !leader && request.echoPrompt === true && request.logprobs !== undefined,
      adjustments: (drafted) => adjuster.adjustments(MAX_ADJUSTMENTS, drafted),
      speculates: request.speculation ?? true,
      ...(leader ? { leader } : { leads: numSequencesOf(request) > 1 }),
      constraint: healing
        ? new HealingConstraint(healing.bytes, served.tokenizer, served.tokenIndex)
        : openGrammar(),
    });
    samples.push({ index, sequence, adjuster });
  }
  return samples;
}
