// The engine as routes and the command line see it: submit requests, read events. `local_engine.ts` runs it in this
// thread, `worker_engine.ts` in a worker of its own; both are this interface.
import type { FileFormat } from "../models/checkpoint.ts";
import type { LongConvolutions } from "../models/runner.ts";
import type { BlockMap } from "./block_map.ts";
import type { GenerationEvent, GenerationRequest } from "./request.ts";
import type { Stage } from "./generation.ts";
import type { SequenceInfo } from "./sequence_info.ts";
import type { StepCounts } from "./step_stats.ts";

export interface ModelInfo {
  /** Name under which the model is served. */
  readonly id: string;
  readonly architecture: string;
  readonly fileFormat: FileFormat;
  readonly contextLength: number;
  readonly vocabSize: number;
  /** Channels of a token on its way through the layers. */
  readonly width: number;
  readonly numParameters: number;
  /** Bytes of the checkpoint's tensors. */
  readonly weightBytes: number;
  /** "dawn", "webgpu" or "cpu", with the adapter's name. */
  readonly backend: string;
  readonly adapter: string;
  /** Whether the vocabulary has fill-in-the-middle tokens, and which are missing when it does not. */
  readonly fim: {
    readonly supported: boolean;
    readonly missing: readonly string[];
    /** How the tokens are written; absent when they are not all there. */
    readonly spelling?: { readonly prefix: string; readonly suffix: string; readonly middle: string };
  };
  readonly eosTokenId: number;
  /**
   * Of models with recurrent layers: slots for what these keep of a sequence, those for states from which others go on
   * included, and bytes of each.
   */
  readonly states?: { readonly numSlots: number; readonly bytes: number };
  /** How exact long convolutions sum what earlier tokens add; absent: the model has none. */
  readonly longConvolutions?: LongConvolutions;
}

export type EngineState =
  | { readonly phase: "loading"; readonly progress: number }
  | { readonly phase: "ready" }
  /** The device was lost and is being opened anew; requests wait in the queue. */
  | { readonly phase: "rebuilding"; readonly reason: string }
  | { readonly phase: "failed"; readonly reason: string };

export interface EngineStats extends StepCounts {
  readonly waiting: number;
  readonly running: number;
  /** Blocks that no sequence holds, `cachedBlocks` included. */
  readonly freeBlocks: number;
  /** Blocks that hold tokens for later requests, until somebody needs the block. */
  readonly cachedBlocks: number;
  readonly totalBlocks: number;
  /** Slots for the states of recurrent layers, and those that no sequence holds; 0 for models without. */
  readonly totalStateSlots: number;
  readonly freeStateSlots: number;
  /** Those of the free ones with a state for later requests, until somebody needs the slot. */
  readonly stateSnapshots: number;
  /** Blocks in host memory, brought back when a request needs them. */
  readonly parkedBlocks: number;
  /** Blocks that host memory has slots for. */
  readonly hostBlocks: number;
  /** Blocks copied to host memory so far, and back from it. */
  readonly parks: number;
  readonly unparks: number;
  readonly steps: number;
  /** Tokens of the prompts read so far, as replies count them: each prompt once, however many samples it has. */
  readonly promptTokens: number;
  /** Those of them that the cache had. */
  readonly cachedTokens: number;
  /** New tokens, as replies count them: no end tokens, and none that only spells what was typed (`token_healing.ts`). */
  readonly generatedTokens: number;
  /** All tokens drawn, ends and those that spell a healed prompt's end included. */
  readonly drawnTokens: number;
  /** Requests answered with what an earlier completion had left; of their tokens none is counted here. */
  readonly typeThroughHits: number;
  readonly preemptions: number;
  readonly cancelled: number;
  /** The same, by how far the request had got. */
  readonly cancelledIn: Readonly<Record<Stage, number>>;
  /** Requests that a newer one of their session took the place of, by how far they had got. */
  readonly supersededIn: Readonly<Record<Stage, number>>;
}

export interface Engine extends AsyncDisposable {
  readonly state: EngineState;
  /** @throws {EngineUnavailableError} while the model is not loaded. */
  readonly model: ModelInfo;
  /**
   * Starts a request. Ending the iteration early, or aborting the signal, cancels it: its blocks are free within
   * one step. After an abort the reader gets the signal's reason.
   * @throws {InvalidRequestError} from the first `next()`, when the request cannot be served as it is
   * @throws {EngineUnavailableError} when the engine cannot take it (loading, failed, queue full) or the device was lost
   */
  submit(request: GenerationRequest, signal?: AbortSignal): AsyncIterable<GenerationEvent>;
  tokenize(text: string, options?: { parseSpecial?: boolean }): Promise<number[]>;
  detokenize(ids: readonly number[]): Promise<string>;
  /**
   * The bytes that each token stands for, which may be a part of a character.
   * @throws {InvalidRequestError} naming an id that is no token's
   */
  tokenBytes(ids: readonly number[]): Promise<Uint8Array[]>;
  stats(): Promise<EngineStats>;
  /** What every sequence in flight holds: those that run, then those that wait, each in order of arrival. */
  sequences(options?: { withPrompts?: boolean }): Promise<SequenceInfo[]>;
  /** What every block of the KV cache is good for; made when it is asked for. */
  blocks(): Promise<BlockMap>;
}
