// A loaded model together with what its vocabulary means: how requests become prompts, which tokens end them. Holds
// no state of any request.
import type { LoadedModel } from "../models/loaded_model.ts";
import type { ModelRunner } from "../models/runner.ts";
import type { ModelInfo } from "./engine.ts";
import type { EngineOptions } from "./engine_options.ts";
import { InvalidRequestError } from "./errors.ts";
import { lastTokens } from "./edge_tokens.ts";
import { describeFim, endTokenIds, type FimSupport, steadyPart } from "./fim.ts";
import { type EncodedPrompt, wholePromptIds } from "./generation.ts";
import type { GrammarVocabulary } from "./grammar.ts";
import { buildInfillPrompt, type ComputedTokens, type InfillRoom } from "./infill_prompt.ts";
import type { FimLayout, GenerationRequest, Prompt } from "./request.ts";
import { maxSequenceTokens } from "./sequence.ts";
import { byteLevelAlphabet } from "./token_bytes.ts";
import { backupOf } from "./token_healing.ts";
import { TokenIndex } from "./token_index.ts";
import type { Tokenizer } from "./tokenizer.ts";
import {
  contextLengthError,
  emptyPromptError,
  fimUnsupportedError,
  unknownTokenError,
} from "./validate_request.ts";
import { openVocabulary } from "./vocabulary.ts";

/** Where reading a token takes long, what is far from the cursor costs more than it helps: docs/performance.md. */
const CPU_INFILL_CONTEXT = 1024, CPU_INFILL_SUFFIX = 128;
/** What is there already is read for nothing, so a prompt that begins with it may be longer by half. */
const STRETCH = 1.5;

type ServedModelOptions = Pick<
  EngineOptions,
  "modelId" | "fimTokens" | "fimLayout" | "tokenHealing" | "infillContext" | "infillSuffix"
>;

export class ServedModel {
  readonly info: ModelInfo;
  readonly runner: ModelRunner;
  readonly tokenizer: Tokenizer;
  /** Ids that end a generation. */
  readonly endIds: ReadonlySet<number>;
  readonly #fim: FimSupport;
  readonly #options: ServedModelOptions;
  readonly #loaded: LoadedModel;
  #tokenIndex: TokenIndex | undefined;
  readonly #infillContext: number;
  readonly #infillSuffix: number;

  /**
   * @throws {SyntaxError} when the tokenizer is no byte-level BPE
   * @throws {RangeError} when the vocabulary lacks a token that the options name
   */
  constructor(loaded: LoadedModel, options: ServedModelOptions) {
    const { fimTokens, fimLayout, modelId } = options;
    const { tokenizer, fim } = openVocabulary(loaded.tokenizer, fimTokens);
    this.#options = options;
    this.#loaded = loaded;
    this.runner = loaded.runner;
    this.tokenizer = tokenizer;
    const isSlow = loaded.backend === "cpu";
    this.#infillContext = options.infillContext ?? (isSlow ? CPU_INFILL_CONTEXT : Infinity);
    this.#infillSuffix = options.infillSuffix ?? (isSlow ? CPU_INFILL_SUFFIX : Infinity);
    this.#fim = fimLayout ? { ...fim, layouts: [fimLayout] } : fim;
    this.endIds = endTokenIds(this.tokenizer, loaded.eosTokenId, this.#fim.tokens);
    this.info = {
      id: modelId,
      architecture: loaded.architecture,
      fileFormat: loaded.fileFormat,
      contextLength: Math.min(loaded.contextLength, maxSequenceTokens(loaded.runner.limits)),
      vocabSize: loaded.vocabSize,
      width: loaded.width,
      numParameters: loaded.numParameters,
      weightBytes: loaded.weightBytes,
      backend: loaded.backend,
      adapter: loaded.adapter,
      fim: describeFim(tokenizer, fim),
      eosTokenId: this.#endOfText(loaded.eosTokenId),
      ...statesOf(loaded.runner),
      ...(loaded.runner.longConvolutions && { longConvolutions: loaded.runner.longConvolutions }),
    };
  }

  /** Whether layers keep a state of a sequence, which every row changes. */
  get isRecurrent(): boolean {
    return this.info.states !== undefined;
  }

  /** The tokens that a text can go on with: none that ends it, and none that is never drawn. Made when first asked for. */
  get tokenIndex(): TokenIndex {
    return this.#tokenIndex ??= this.#indexTokens();
  }

  #indexTokens(): TokenIndex {
    const { vocabSize, suppressedTokens } = this.#loaded;
    const suppressed = new Set(suppressedTokens);
    const isText = (id: number) =>
      !this.tokenizer.isControl(id) && !this.endIds.has(id) && !suppressed.has(id);
    return new TokenIndex(this.tokenizer, vocabSize, isText);
  }

  /** The same for grammars, spelled as in tokenizer.json, and what may end a completion that follows one. */
  grammarVocabulary(): GrammarVocabulary {
    const { vocabSize, suppressedTokens: suppressed } = this.#loaded;
    const letters = new Map(Array.from(byteLevelAlphabet(), ([letter, byte]) => [byte, letter]));
    const spell = (id: number) => Array.from(this.tokenizer.bytes(id), (byte) => letters.get(byte)).join("");
    const isText = (id: number) => !this.tokenizer.isControl(id) && !this.endIds.has(id);
    return {
      tokens: Array.from({ length: vocabSize }, (_, id) => isText(id) ? spell(id) : ""),
      vocabSize,
      endIds: [...this.endIds].filter((id) => !suppressed.includes(id)),
      suppressed,
    };
  }

  /** @throws {InvalidRequestError} naming an id that is no token's */
  detokenize(ids: readonly number[]): string {
    this.#requireTokens(ids);
    return this.tokenizer.decode(ids);
  }

  /**
   * Copies, so that they can be sent.
   * @throws {InvalidRequestError} naming an id that is no token's
   */
  tokenBytes(ids: readonly number[]): Uint8Array[] {
    this.#requireTokens(ids);
    return ids.map((id) => this.tokenizer.bytes(id).slice());
  }

  #requireTokens(ids: readonly number[]) {
    const { vocabSize } = this.info;
    const wrong = ids.find((id) => !(id >= 0 && id < vocabSize));
    if (wrong === undefined) return;
    throw new InvalidRequestError(
      `Cannot detokenize: ids must be from 0 to ${vocabSize - 1}, received ${wrong}`,
      { field: "tokens", reason: "invalid_value" },
    );
  }

  /** As `steadyPart` of `fim.ts`. */
  steadyPart(ids: readonly number[], layout: FimLayout): readonly number[] {
    return this.#fim.tokens ? steadyPart(this.#fim.tokens, layout, ids) : ids;
  }

  /**
   * The prompt's tokens, which leave room for at least one new token unless the request wants none.
   * @param computed by which layout and cut of an infill are chosen
   * @throws {InvalidRequestError} when it is empty, does not fit, or asks for infill of a model that cannot
   */
  encodePrompt(request: GenerationRequest, computed: ComputedTokens): EncodedPrompt {
    const { contextLength } = this.info;
    const numNew = request.maxTokens === 0 ? 0 : 1;
    const prompt = this.#encode(request, numNew, computed);
    const ids = wholePromptIds(prompt);
    if (ids.length === 0) throw emptyPromptError();
    this.#requireKnown(ids);
    if (ids.length > contextLength - numNew) throw contextLengthError(ids.length, contextLength, { numNew });
    return prompt;
  }

  #encode(request: GenerationRequest, numNew: number, computed: ComputedTokens): EncodedPrompt {
    const { prompt, maxTokens } = request;
    switch (prompt.kind) {
      case "tokens":
        return { ids: [...prompt.ids], truncated: false };
      case "text": {
        const encoded = this.#encodeText(prompt, numNew), { ids } = encoded;
        const isInfill = this.#fim.tokens !== undefined && ids.includes(this.#fim.tokens.middle);
        // One token has to be left to follow on.
        const backup = this.#heals(request, isInfill) && this.#backupOf(ids.slice(1));
        if (!backup) return encoded;
        const kept = ids.slice(0, ids.length - backup.numTokens);
        return { ...encoded, ids: kept, healing: { bytes: backup.bytes, wholeIds: ids } };
      }
      case "infill":
        if (!this.#fim.tokens) throw fimUnsupportedError(this.#fim.missing);
        this.#requireShort(prompt.lineStart ?? "", numNew);
        return buildInfillPrompt(
          this.tokenizer,
          this.#fim,
          prompt,
          this.#infillRoom(maxTokens),
          computed,
          this.#heals(request, true) ? (ids) => this.#backupOf(ids) : undefined,
        );
    }
  }

  #encodeText(prompt: Extract<Prompt, { kind: "text" }>, numNew: number): EncodedPrompt & { ids: number[] } {
    const { text, parseSpecial, before = [], keep = Infinity } = prompt;
    if (keep > this.info.contextLength - numNew) this.#requireShort(text, numNew);
    const end = lastTokens(this.tokenizer, text, keep, { parseSpecial });
    const all = [...before, ...end.ids], ids = all.slice(Math.max(0, all.length - keep));
    const truncated = end.truncated || ids.length < all.length;
    return { ids, truncated, ...(!truncated && before.length === 0 && { text }) };
  }

  #heals(request: GenerationRequest, isInfill: boolean): boolean {
    const { maxTokens, logprobs, grammar, tokenHealing = this.#options.tokenHealing } = request;
    // Who reads log-probabilities wants tokens as they were drawn, and all of them.
    if (maxTokens === 0 || grammar || logprobs !== undefined) return false;
    return tokenHealing ?? (!isInfill || (this.#loaded.healsInfills ?? false));
  }

  #backupOf(ids: readonly number[]) {
    return backupOf(ids, this.tokenizer, this.tokenIndex);
  }

  /** Room for the prompt: the completion's share is what was asked for, but at most half; unasked, a quarter. */
  #infillRoom(maxTokens: number | undefined): InfillRoom {
    const { contextLength } = this.info;
    const reserve = Math.min(maxTokens ?? Math.floor(contextLength / 4), Math.floor(contextLength / 2));
    const most = contextLength - reserve, context = this.#infillContext;
    return {
      prompt: Math.min(most, context),
      suffix: this.#infillSuffix,
      stretched: Math.min(most, Math.floor(context * STRETCH)),
    };
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

function statesOf({ limits, stateBytes }: ModelRunner): Pick<ModelInfo, "states"> {
  const { numStateSlots = 0 } = limits;
  return numStateSlots > 0 ? { states: { numSlots: numStateSlots, bytes: stateBytes } } : {};
}
