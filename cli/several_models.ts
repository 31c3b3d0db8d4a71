// `serve` with several models: what each takes, and the pool that loads them.
import { ModelPool, type PoolEvent } from "../engine/model_pool.ts";
import type { PoolModel } from "../engine/pool_slot.ts";
import { describeFim } from "../engine/fim.ts";
import { openVocabulary } from "../engine/vocabulary.ts";
import { WorkerEngine } from "../engine/worker_engine.ts";
import { modelFacts } from "../models/model_facts.ts";
import type { Log } from "../routes/log.ts";
import { findModel } from "./find_model.ts";
import { engineOptions, type ModelFlags } from "./model_options.ts";

export interface SeveralModels {
  /** The first is for requests that name none. */
  readonly models: readonly string[];
  readonly memoryBytes: number | undefined;
  readonly log: Log;
}

/**
 * Looks into every model, so that what cannot be served is said at the start, and starts to load the first.
 * @throws {Error} naming the model and what is wrong with it
 */
export async function openPool(
  flags: ModelFlags,
  { models, memoryBytes, log }: SeveralModels,
): Promise<ModelPool> {
  const budgetBytes = memoryBytes ?? Math.floor(Deno.systemMemoryInfo().total / 2);
  const pooled = await Promise.all(models.map((model) => poolModel(flags, model)));
  return new ModelPool(pooled, { budgetBytes, onEvent: (event) => logEvent(log, event) });
}

async function poolModel(flags: ModelFlags, model: string): Promise<PoolModel> {
  const options = engineOptions(flags, await findModel(model));
  const { memory, tokenizer: files, ...sizes } = await modelFacts(options.load);
  const { tokenizer, fim } = openVocabulary(files, options.fimTokens);
  const isCpu = (backend = flags.device as string) => backend === "cpu" || backend === "onnx";
  return {
    listed: { id: options.modelId, ...sizes, fim: describeFim(tokenizer, fim) },
    bytes: (backend) => isCpu(backend) ? memory.cpu : memory.gpu,
    open: () => new WorkerEngine(options),
  };
}

function logEvent(log: Log, { kind, id, ...fields }: PoolEvent): void {
  log.add(kind === "failed" ? "error" : "info", `model ${kind}`, { model: id, ...fields });
}
