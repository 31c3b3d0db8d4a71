import { deepStrictEqual, equal, ok, rejects } from "node:assert/strict";
import type { Graph } from "../../kernels/graph.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import { BLOCK_SIZE, type StepBatch, type StepResult } from "../../kernels/step.ts";
import type { TensorSource } from "../../kernels/tensor_source.ts";
import { openCheckpoint } from "../../models/checkpoint.ts";
import { lossPerToken } from "../../models/evaluate.ts";
import type { ModelRunner } from "../../models/runner.ts";
import { PARITY_CASES, readExpected } from "./parity_cases.ts";

/** Scores by the float64 reference, with limits so tight that a window takes many steps. */
async function referenceRunner(graph: Graph, tensors: TensorSource): Promise<ModelRunner> {
  const executor = await ReferenceExecutor.create(graph, tensors);
  const vocabSize = graph.output.width;
  return {
    limits: { maxTokens: 7, maxSequences: 1, maxSamples: 5, maxBlocksPerSequence: 12, numBlocks: 12 },
    stepsInFlight: 1,
    kvBytesPerBlock: BLOCK_SIZE,
    stateBytes: 0,
    lost: new Promise(() => {}),
    step(batch: StepBatch): Promise<StepResult> {
      ok(batch.tokenIds.length <= 7 && batch.samples.length <= 5);
      const { output } = executor.step(batch);
      const scores = batch.samples.map(({ target }, i) => {
        const row = output.subarray(i * vocabSize, (i + 1) * vocabSize);
        return { logprob: logProbability(row, target!), top: [] };
      });
      return Promise.resolve({ tokenIds: new Uint32Array(batch.samples.length), scores });
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

function logProbability(logits: Float64Array, id: number): number {
  const most = logits.reduce((a, b) => Math.max(a, b));
  return logits[id] - most - Math.log(logits.reduce((sum, x) => sum + Math.exp(x - most), 0));
}

Deno.test("lossPerToken() chunks a window without changing what its tokens see: transformers' loss", async () => {
  const parityCase = PARITY_CASES[0];
  using checkpoint = await openCheckpoint(parityCase.modelDir);
  const { graph, contextLength, vocabSize } = checkpoint.network;
  const runner = await referenceRunner(graph, checkpoint.tensors);
  const { prompts, logits } = await readExpected(parityCase);
  const prompt = prompts[1];
  const expected = prompt.slice(1).map((id, i) =>
    -logProbability(logits[1].subarray(i * vocabSize, (i + 1) * vocabSize), id)
  );
  const loss = await lossPerToken(runner, Uint32Array.from(prompt), contextLength);
  equal(loss.numTokens, 16);
  const mean = expected.reduce((a, b) => a + b) / 16;
  ok(Math.abs(loss.nats - mean) < 1e-9, `${loss.nats} and ${mean}`);
});

Deno.test("lossPerToken() starts a new window where the context ends", async () => {
  using checkpoint = await openCheckpoint(PARITY_CASES[0].modelDir);
  const runner = await referenceRunner(checkpoint.network.graph, checkpoint.tensors);
  const ids = Uint32Array.from({ length: 25 }, (_, i) => (i * 37) % 263);
  const progress: number[] = [];
  const whole = await lossPerToken(runner, ids, 12, (done) => progress.push(done));
  // 25 = 12 + 12 + 1: the last token would be alone in its window, where nothing predicts it.
  deepStrictEqual(progress, [12, 24]);
  equal(whole.numTokens, 22);
  const first = await lossPerToken(runner, ids.subarray(0, 12), 12);
  const second = await lossPerToken(runner, ids.subarray(12, 24), 12);
  ok(Math.abs(whole.nats - (first.nats + second.nats) / 2) < 1e-12);
  await rejects(lossPerToken(runner, ids.subarray(0, 1), 12), /at least 2 tokens, received 1/);
});
