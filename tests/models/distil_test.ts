import { deepStrictEqual, equal, ok, rejects } from "node:assert/strict";
import { loadFloat32 } from "../../kernels/tensor_source.ts";
import { readJson } from "../../models/checkpoint.ts";
import { fromPairs } from "../../models/complex_array.ts";
import { distilCheckpoint } from "../../models/distil.ts";
import { type HyenaConfig, hyenaLayout, loadHyenaFilter, parseHyenaConfig } from "../../models/hyena.ts";
import { deriveHyena } from "../../models/hyena_derived.ts";
import { SafetensorsSource } from "../../models/safetensors.ts";
import { loadHyenaReference, modalFilters } from "./hyena_reference.ts";
import { caseFolder, loadReference, openCase, relativeError } from "./long_conv_cases.ts";
import { readExpected } from "./parity_cases.ts";
import { withFolder } from "./safetensors_bytes.ts";

const NAME = "hyena-dna-hf", SOURCE = caseFolder(NAME);

interface OpenFolder extends Disposable {
  readonly config: HyenaConfig;
  readonly source: SafetensorsSource;
}

async function openFolder(folder: string): Promise<OpenFolder> {
  const config = parseHyenaConfig(await readJson(folder, "config.json"));
  const source = await SafetensorsSource.open(`${folder}/model.safetensors`);
  return { config, source, [Symbol.dispose]: () => source[Symbol.dispose]() };
}

/** Logits of the longest prompt, at once, and as a prompt of 40 tokens and steps. */
async function logitsOf(folder: string) {
  using opened = await openFolder(folder);
  const reference = await loadHyenaReference(opened.config, opened.source), { vocabSize } = reference;
  const [, , prompt] = (await readExpected({ expectedDir: SOURCE })).prompts;
  const whole = reference.forward(prompt),
    stepped = new Float64Array(whole.length),
    states = reference.newStates();
  stepped.set(reference.advance(prompt.slice(0, 40), states));
  for (let t = 40; t < prompt.length; t++) stepped.set(reference.step(prompt[t], states), t * vocabSize);
  return { whole, stepped };
}

Deno.test("distilCheckpoint() makes a model whose logits near the exact one's as modes are added", async () => {
  const reference = await loadReference(NAME);
  const [, , prompt] = (await readExpected({ expectedDir: SOURCE })).prompts,
    exact = reference.forward(prompt);
  const errors: number[] = [];
  for (const numModes of [2, 8, 32]) {
    await withFolder({}, async (folder) => {
      const told = await distilCheckpoint(SOURCE, folder, { numModes });
      const { whole, stepped } = await logitsOf(folder);
      const split = relativeError(stepped, whole);
      ok(split < 1e-12, `steps are off the whole by ${split}`);
      errors.push(relativeError(whole, exact));
      const worst = Math.max(...told.flatMap((layer) => [...layer]));
      console.log(
        `  ${numModes} modes: taps off by up to ${worst.toExponential(1)}, logits by ${
          errors.at(-1)!.toExponential(1)
        }`,
      );
    });
  }
  ok(errors[2] < 0.1 && errors[2] < errors[1] && errors[1] < errors[0], `logits are off by ${errors}`);
});

Deno.test("distilCheckpoint() tells what the filters that it wrote are off by, and copies all else", async () => {
  await withFolder({}, async (folder) => {
    const progress: number[] = [];
    const told = await distilCheckpoint(SOURCE, folder, {
      numModes: 6,
      onProgress: (done, total) => progress.push(done / total),
    });
    equal(progress.length, 16);
    equal(progress.at(-1), 1);
    using before = await openCase(NAME);
    using after = await openFolder(folder);
    equal(after.config.numModes, 6);
    const kept = before.source.names.filter((name) => !name.includes(".filter_fn."));
    const made = after.source.names.filter((name) => name.includes(".modal."));
    deepStrictEqual(after.source.names, [...kept, ...made].sort());
    for (const name of kept) {
      const info = before.source.find(name)!;
      deepStrictEqual(after.source.find(name), info);
      deepStrictEqual(
        await after.source.readRows(name, 0, info.shape[0]),
        await before.source.readRows(name, 0, info.shape[0]),
      );
    }
    const config = parseHyenaConfig(before.config), { width, contextLength } = config;
    for (const [layer, { long: exact }] of hyenaLayout(config, before.source).mixers.entries()) {
      const { long } = hyenaLayout(after.config, after.source).mixers[layer];
      ok(exact.form === "filter" && long.form === "modal");
      const wanted = await loadHyenaFilter(config, before.source, exact);
      const poles = fromPairs(await loadFloat32(after.source, long.poles));
      const residues = fromPairs(await loadFloat32(after.source, long.residues));
      const taps = modalFilters({ poles, residues }, width, contextLength);
      (await loadFloat32(after.source, long.skip)).forEach((share, c) => taps[c * contextLength] += share);
      for (let c = 0; c < width; c++) {
        const error = distance(taps, wanted, c * contextLength, (c + 1) * contextLength);
        ok(
          Math.abs(error - told[layer][c]) < 1e-5,
          `layer ${layer}, channel ${c}: ${error}, told ${told[layer][c]}`,
        );
      }
    }
  });
});

/** ‖a - b‖ / ‖b‖ of a range */
function distance(a: Float64Array, b: Float64Array, start: number, end: number): number {
  let difference = 0, size = 0;
  for (let i = start; i < end; i++) {
    difference += (a[i] - b[i]) ** 2;
    size += b[i] ** 2;
  }
  return Math.sqrt(difference / size);
}

Deno.test("deriveHyena() takes distilled filters as they are stored", async () => {
  await withFolder({}, async (folder) => {
    await distilCheckpoint(SOURCE, folder, { numModes: 3 });
    using opened = await openFolder(folder);
    const layout = hyenaLayout(opened.config, opened.source);
    const { source, steps } = deriveHyena(opened.config, layout, opened.source);
    ok(steps[0].long.form === "modal");
    deepStrictEqual(source.find(steps[0].long.poles.name)?.shape, [8, 6]);
  });
});

Deno.test("distilCheckpoint() refuses what it cannot distil, and to overwrite", async () => {
  await withFolder({}, async (folder) => {
    await distilCheckpoint(SOURCE, folder, { numModes: 2 });
    await rejects(
      distilCheckpoint(SOURCE, folder, { numModes: 2 }),
      /Cannot distil: ".*model.safetensors" exists/,
    );
    await distilCheckpoint(SOURCE, folder, { numModes: 4, force: true });
    await rejects(
      distilCheckpoint(folder, `${folder}/again`, { numModes: 2 }),
      /Cannot distil: its filters are modes already/,
    );
  });
  await rejects(distilCheckpoint(SOURCE, SOURCE, { numModes: 2 }), /is the checkpoint itself/);
  await rejects(
    distilCheckpoint(caseFolder("h3-attention"), SOURCE, { numModes: 2 }),
    /"model_type".*received "h3"/,
  );
});
