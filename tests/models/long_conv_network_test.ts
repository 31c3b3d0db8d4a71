// H3, StripedHyena, and Hyena, exact and distilled, as graphs, run by the float64 reference of the graph's ops: against the fixtures' logits, and
// against the references of these families, which share nothing with the graph but the checkpoint.
import { deepStrictEqual, equal, ok } from "node:assert/strict";
import { weightsOf } from "../../kernels/graph_weights.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import { readJson } from "../../models/checkpoint.ts";
import { distilCheckpoint } from "../../models/distil.ts";
import { h3 } from "../../models/h3_network.ts";
import { parseHyenaConfig } from "../../models/hyena.ts";
import { hyena } from "../../models/hyena_network.ts";
import { type Architecture, type Network, requireWeights } from "../../models/network.ts";
import { stripedHyena } from "../../models/striped_hyena_network.ts";
import { architectureOf } from "../../models/registry.ts";
import { SafetensorsSource } from "../../models/safetensors.ts";
import { loadHyenaReference } from "./hyena_reference.ts";
import {
  caseFolder,
  expectedOf,
  H3_CASES,
  HYENA_CASES,
  loadReference,
  type LongConvCase,
  openCase,
  relativeError,
  STRIPED_CASE,
} from "./long_conv_cases.ts";
import { continueGreedily, type RunStep, runTogether } from "./long_conv_steps.ts";
import { withFolder } from "./safetensors_bytes.ts";

/** The graph reads filters and poles in f32, the references in float64. */
const F32_TOLERANCE = 1e-5;

async function executor({ graph, tensors }: Network): Promise<RunStep> {
  requireWeights(graph, tensors!);
  const reference = await ReferenceExecutor.create(graph, tensors!);
  return (batch) => reference.step(batch).output;
}

const NETWORKS: readonly {
  fixture: LongConvCase;
  architecture: Architecture;
  states: (width: number) => number[];
}[] = [
  ...H3_CASES.map((fixture) => ({
    fixture,
    architecture: h3,
    states: (width: number) => [63 * width, 64 * width],
  })),
  {
    fixture: STRIPED_CASE,
    architecture: stripedHyena,
    states: (width: number) => [4 * width, 2 * width, 4 * width],
  },
];

for (const { fixture, architecture, states } of NETWORKS) {
  Deno.test(`The graph gives the fixture's logits, however prompts are cut and batched: ${fixture}`, async () => {
    using opened = await openCase(fixture);
    const network = architecture.build(opened.config, opened.source), { vocabSize } = network;
    equal(network.graph.kvLayers.length, 1);
    const layer = states((opened.config as { hidden_size: number }).hidden_size);
    deepStrictEqual(network.graph.stateLayers.map(({ floats }) => floats), [...layer, ...layer]);
    const { prompts, rows, logits } = await expectedOf(fixture);
    for (const counts of [[100], [1], [7, 30, 1]]) {
      const all = await runTogether(await executor(network), vocabSize, [prompts[2], prompts[1]], counts);
      for (const [i, prompt] of [[0, 2], [1, 1]]) {
        const error = relativeError(all[i].subarray(-rows[prompt] * vocabSize), logits[prompt]);
        console.log(`  ${prompts[prompt].length} tokens in steps of ${counts}: ${error.toExponential(1)}`);
        ok(error < F32_TOLERANCE, `${prompts[prompt].length} tokens in steps of ${counts}: off by ${error}`);
      }
    }
  });
}

const GREEDY = [
  ...H3_CASES.map((fixture) => ["H3's", fixture, h3] as const),
  ["StripedHyena's", STRIPED_CASE, stripedHyena] as const,
  ...HYENA_CASES.map((fixture) => ["Exact Hyena's", fixture, hyena] as const),
];

for (const [whose, fixture, architecture] of GREEDY) {
  Deno.test(`${whose} graph gives the fixture's greedy tokens: ${fixture}`, async () => {
    using opened = await openCase(fixture);
    const network = architecture.build(opened.config, opened.source), { vocabSize } = network;
    const { prompts, greedy, greedyPrompt, numTokens } = await expectedOf(fixture);
    const ids = await continueGreedily(await executor(network), vocabSize, prompts[greedyPrompt], {
      numWanted: greedy.length,
      numTokens: numTokens!,
    });
    deepStrictEqual(ids, greedy);
  });
}

Deno.test("Hyena's graph in modal form gives its reference's logits, however prompts are cut and batched", async () => {
  await withFolder({}, async (folder) => {
    await distilCheckpoint(caseFolder("hyena-lm"), folder, { numModes: 12 });
    const config = await readJson(folder, "config.json");
    using source = await SafetensorsSource.open(`${folder}/model.safetensors`);
    const network = hyena.build(config, source), { vocabSize } = network;
    const reference = await loadHyenaReference(parseHyenaConfig(config), source);
    const { prompts } = await expectedOf("hyena-lm");
    const texts = [prompts[2], prompts[1]], wanted = texts.map((ids) => reference.forward(ids));
    for (const counts of [[100], [1], [7, 30, 1]]) {
      (await runTogether(await executor(network), vocabSize, texts, counts)).forEach((logits, i) => {
        const error = relativeError(logits, wanted[i]);
        ok(error < 1e-12, `${texts[i].length} tokens in steps of ${counts}: off by ${error}`);
      });
    }
  });
});

Deno.test("architectureOf() knows HyenaDNA by its port's name, and builds what distillation makes of it", async () => {
  await withFolder({}, async (folder) => {
    await distilCheckpoint(caseFolder("hyena-dna-hf"), folder, { numModes: 4 });
    const config = await readJson(folder, "config.json");
    using source = await SafetensorsSource.open(`${folder}/model.safetensors`);
    const { graph, tensors } = architectureOf(config).build(config, source);
    requireWeights(graph, tensors!);
    ok(graph.nodes.some(({ op }) => op === "diagonalSsm"));
  });
});

for (const name of HYENA_CASES) {
  Deno.test(`Exact Hyena's graph gives the fixture's logits, however prompts are cut and batched: ${name}`, async () => {
    using opened = await openCase(name);
    const network = hyena.build(opened.config, opened.source), { vocabSize } = network;
    const reference = await loadReference(name);
    const { prompts, rows, logits } = await expectedOf(name);
    const texts = [prompts[2], prompts[1]];
    for (const counts of [[100], [1], [7, 30, 1]]) {
      (await runTogether(await executor(network), vocabSize, texts, counts)).forEach((all, i) => {
        const prompt = 2 - i, last = all.subarray(-rows[prompt] * vocabSize);
        const error = relativeError(last, logits[prompt]);
        ok(error < F32_TOLERANCE, `${texts[i].length} tokens in steps of ${counts}: off by ${error}`);
        // The graph's filters are f32, its reference's float64.
        ok(relativeError(all, reference.forward(texts[i])) < 1e-6);
      });
    }
  });
}

Deno.test("Exact Hyena keeps its inputs in the paged cache", async () => {
  using opened = await openCase("hyena-lm");
  const { graph } = hyena.build(opened.config, opened.source),
    { width, numLayers } = parseHyenaConfig(
      opened.config,
    );
  deepStrictEqual(graph.historyLayers, Array.from({ length: numLayers }, () => ({ width })));
  equal(graph.kvLayers.length, 0);
});

Deno.test("H3's graph names every stored tensor that nothing is computed from", async () => {
  using opened = await openCase("h3-attention");
  const { graph, tensors } = h3.build(opened.config, opened.source);
  const named = new Set(weightsOf(graph).map(({ ref }) => ref.name));
  const derived = /ssm_k_|kernel\.kernel\./;
  deepStrictEqual(
    opened.source.names.filter((name) => !named.has(name)).filter((name) => !derived.test(name)),
    [],
  );
  ok([...named].every((name) => tensors!.find(name)));
});
