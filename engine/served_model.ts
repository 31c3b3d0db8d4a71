// A loaded model together with what its vocabulary means: how requests become prompts, which tokens end them. Holds
// no state of any request.
import type { LoadedModel } from "../models/loaded_model.ts";
import type { ModelRunner } from "../models/runner.ts";
import type { ModelInfo } from "./engine.ts";
import type { EngineOptions } from "./engine_options.ts";
import { detectFim, endTokenIds, type FimSupport, steadyPart } from "./fim.ts";
import type { EncodedPrompt } from "./generation.ts";
import { buildInfillPrompt, type CountCached } from "./infill_prompt.ts";
import type { FimLayout, GenerationRequest } from "./request.ts";
import { maxSequenceTokens } from "./sequence.ts";
import { Tokenizer } from "./tokenizer.ts";
import {
  contextLengthError,
  emptyPromptError,
  fimUnsupportedError,
  unknownTokenError,
} from "./validate_request.ts";

export class ServedModel {
  readonly info: ModelInfo;
  readonly runner: ModelRunner;
  readonly tokenizer: Tokenizer;
  /** Ids that end a generation. */
  readonly endIds: ReadonlySet<number>;
  readonly #fim: FimSupport;
  readonly #infillContext: number;

  /**
   * @throws {SyntaxError} when the tokenizer is no byte-level BPE
   * @throws {RangeError} when the vocabulary lacks a token that the options name
   */
  constructor(
    loaded: LoadedModel,
    options: Pick<EngineOptions, "modelId" | "fimTokens" | "fimLayout" | "infillContext">,
  ) {
    const { tokenizerJson, tokenizerConfig } = loaded.tokenizer;
    const { fimTokens, fimLayout, modelId } = options;
    const controlTokens = Object.values(fimTokens ?? {});
    this.runner = loaded.runner;
    this.tokenizer = new Tokenizer(tokenizerJson, tokenizerConfig, { controlTokens });
    const fim = detectFim(this.tokenizer, fimTokens);
    this.#infillContext = options.infillContext ?? Infinity;
    this.#fim = fimLayout ? { ...fim, layouts: [fimLayout] } : fim;
    this.endIds = endTokenIds(this.tokenizer, loaded.eosTokenId, this.#fim.tokens);
    this.info = {
      id: modelId,
      architecture: loaded.architecture,
      contextLength: Math.min(loaded.contextLength, maxSequenceTokens(loaded.runner.limits)),
      vocabSize: loaded.vocabSize,
      numParameters: loaded.numParameters,
      weightBytes: loaded.weightBytes,
      backend: loaded.backend,
      adapter: loaded.adapter,
      fim: { supported: this.#fim.tokens !== undefined, missing: this.#fim.missing },
      eosTokenId: this.#endOfText(loaded.eosTokenId),
    };
  }

  /** As `steadyPart` of `fim.ts`. */
  steadyPart(ids: readonly number[], layout: FimLayout): readonly number[] {
    return this.#fim.tokens ? steadyPart(this.#fim.tokens, layout, ids) : ids;
  }

  /**
   * The prompt's tokens, which leave room for at least one new token unless the request wants none.
   * @param countCached by which the layout of an infill is chosen
   * @throws {InvalidRequestError} when it is empty, does not fit, or asks for infill of a model that cannot
   */
  encodePrompt(request: GenerationRequest, countCached: CountCached): EncodedPrompt {
    const { contextLength } = this.info;
    const numNew = request.maxTokens === 0 ? 0 : 1;
    const prompt = this.#encode(request, numNew, countCached);
    if (prompt.ids.length === 0) throw emptyPromptError();
    this.#requireKnown(prompt.ids);
    if (prompt.ids.length > contextLength - numNew) {
      throw contextLengthError(prompt.ids.length, contextLength, { numNew });
    }
    return prompt;
  }

  #encode({ prompt, maxTokens }: GenerationRequest, numNew: number, countCached: CountCached): EncodedPrompt {
    switch (prompt.kind) {
      case "tokens":
        return { ids: [...prompt.ids], truncated: false };
      case "text": {
        this.#requireShort(prompt.text, numNew);
        const ids = this.tokenizer.encode(prompt.text, { parseSpecial: prompt.parseSpecial });
        return { ids, truncated: false, text: prompt.text };
      }
      case "infill":
        if (!this.#fim.tokens) throw fimUnsupportedError(this.#fim.missing);
        this.#requireShort(prompt.lineStart ?? "", numNew);
        return buildInfillPrompt(
          this.tokenizer,
          this.#fim,
          prompt,
          this.#infillBudget(maxTokens),
          countCached,
        );
    }
  }

  /** Room for the prompt: the completion's share is what was asked for, but at most half; unasked, a quarter. */
  #infillBudget(maxTokens: number | undefined): number {
    const { contextLength } = this.info;
    const reserve = Math.min(maxTokens ?? Math.floor(contextLength / 4), Math.floor(contextLength / 2));
    return Math.min(contextLength - reserve, this.#infillContext);
  }

  /** A tokenizer may name tokens that the model has no embedding of; a step with one would harm all its requests. */
  #requireKnown(ids: readonly number[]) {
    const { vocabSize } = this.info;
    const wrong = ids.find((id) => id >= vocabSize);
    if (wrong !== undefined) throw unknownTokenError(wrong, this.tokenizer.decode([wrong]), vocabSize);
  }

  /** Refuses text that cannot fit before it costs an encoding. */
  #requireShort(text: string, numNew: number) {
    const { contextLength } = this.info;
    const fewest = this.tokenizer.fewestTokens(text);
    if (fewest > contextLength - numNew) {
      throw contextLengthError(fewest, contextLength, { atLeast: true, numNew });
    }
  }

  /** Configurations name ends of text that are not in their vocabulary (50256 is transformers' default). */
  #endOfText(eosTokenId: number): number {
    if (this.tokenizer.has(eosTokenId)) return eosTokenId;
    return this.tokenizer.idOf("<|endoftext|>") ?? eosTokenId;
  }
}
