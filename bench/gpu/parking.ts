// What parking in host memory saves on this GPU: a prompt that is computed, against the same prompt whose blocks gave way
// to another's and are brought back. Ends with 1 when its tokens differ.
//
//     deno run -A bench/gpu/parking.ts --model DIR --device dawn
import { parseArgs } from "node:util";
import { DEFAULT_MODEL_DIR } from "../../cli/default_model.ts";
import { type DeviceChoice } from "../../device/choose_backend.ts";
import { packBatch } from "../../engine/batch.ts";
import { Scheduler } from "../../engine/scheduler.ts";
import { Sequence } from "../../engine/sequence.ts";
import { BLOCK_SIZE } from "../../kernels/step.ts";
import { loadModel } from "../../models/load_model.ts";
import type { LoadedModel, LoadOptions } from "../../models/loaded_model.ts";
import type { ModelRunner } from "../../models/runner.ts";
import { median } from "../median.ts";

const USAGE = `Say what parking a prompt in host memory saves on this GPU.

  deno run -A bench/gpu/parking.ts [--model DIR] [--device dawn|webgpu] [--rounds N]

  --model DIR  model folder (default: the embedded one)
  --device D   provider (default: auto)
  --rounds N   of either (default: 9)`;

const NEW_TOKENS = 8;
const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    model: { type: "string", default: DEFAULT_MODEL_DIR },
    device: { type: "string", default: "auto" },
    rounds: { type: "string", default: "9" },
    help: { type: "boolean", short: "h" },
  },
});
if (import.meta.main) {
  if (flags.help) console.log(USAGE);
  else Deno.exit(await main() ? 0 : 1);
}

function load(sizes: Partial<LoadOptions> = {}): Promise<LoadedModel> {
  return loadModel({
    modelDir: flags.model,
    device: flags.device as DeviceChoice,
    maxSequences: 1,
    ...sizes,
  });
}

async function main(): Promise<boolean> {
  const { contextBytes, blockBytes, decision } = await probe();
  // The device has room for one context, so that each prompt takes the place of the one before.
  const loaded = await load({ kvBytes: contextBytes, hostBytes: 8 * contextBytes });
  await using runner = loaded.runner;
  const length = loaded.contextLength - NEW_TOKENS - BLOCK_SIZE;
  const prompts = [0, 1].map((first) =>
    Array.from({ length }, (_, i) => (first + i * 7919 + i % 13 * first) % loaded.vocabSize)
  );
  console.log(
    `${
      flags.model.split("/").at(-1)
    } on ${loaded.backend} (${loaded.adapter}): ${blockBytes} bytes a block; ` +
      `left to itself, a server ${decision}`,
  );
  const scheduler = new Scheduler(runner.limits);
  const computed: Answer[] = [], returned: Answer[] = [];
  for (let round = 0; round <= Number(flags.rounds); round++) {
    const own = prompts.map((ids) => [round + 1, ...ids]); // Another first token: nothing of it is cached.
    const answers: Answer[] = [];
    for (const ids of [...own, ...own]) answers.push(await ask(runner, scheduler, ids));
    if (round === 0) continue;
    computed.push(...answers.slice(0, 2));
    returned.push(...answers.slice(2));
  }
  const ms = (answers: Answer[]) => median(answers.map(({ seconds }) => seconds)) * 1000;
  const { parks, unparks } = scheduler.places.numMoved;
  console.log(
    `first token of ${length + 1}: computed ${ms(computed).toFixed(1)} ms, brought back ${
      ms(returned).toFixed(1)
    } ms`,
  );
  console.log(`${parks} blocks parked, ${unparks} brought back`);
  const differing = computed.filter(({ ids }, i) => String(ids) !== String(returned[i].ids)).length;
  console.log(`answers that differ: ${differing} of ${computed.length}`);
  return differing === 0 && unparks > 0;
}

/** What a server without flags decides. */
async function probe() {
  const loaded = await load();
  await using runner = loaded.runner;
  const { numHostBlocks = 0, maxBlocksPerSequence } = runner.limits;
  return {
    blockBytes: runner.kvBytesPerBlock,
    contextBytes: maxBlocksPerSequence * runner.kvBytesPerBlock,
    decision: numHostBlocks > 0 ? `parks up to ${numHostBlocks} blocks` : "parks nothing",
  };
}

interface Answer {
  readonly ids: readonly number[];
  /** Until the first token. */
  readonly seconds: number;
}

async function ask(runner: ModelRunner, scheduler: Scheduler, promptIds: readonly number[]): Promise<Answer> {
  const params = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] } as const;
  const sequence = new Sequence({ promptIds, maxTokens: NEW_TOKENS, params });
  scheduler.add(sequence);
  const began = performance.now();
  const ids: number[] = [];
  let seconds = 0;
  while (ids.length < NEW_TOKENS) {
    const step = scheduler.schedule();
    const { tokenIds } = await runner.step(packBatch(step, scheduler.beginMoves()));
    const drawn = [...tokenIds];
    scheduler.complete(step, [drawn], 0);
    if (drawn.length > 0 && ids.length === 0) seconds = (performance.now() - began) / 1000;
    ids.push(...drawn);
  }
  scheduler.finish(sequence);
  scheduler.places.checkIntegrity();
  return { ids, seconds };
}
