// training/ from end to end: a tiny model of each architecture is trained, written, quantised and served, and the server
// computes what PyTorch does. Without Python or an index to fetch PyTorch from the test is left out, and says so; with
// CI=true that is a failure.
import { equal, ok } from "node:assert/strict";
import { fromFileUrl } from "std/path/mod.js";
import { loadModel } from "../../models/load_model.ts";
import { startServer } from "../cli/running_server.ts";
import { packBatch, TestSequence } from "../models/cpu_models.ts";
import { logitError } from "../models/logit_error.ts";
import { readExpected } from "../models/parity_cases.ts";
import { trainingPython } from "./python_environment.ts";

const SCRIPT = fromFileUrl(new URL("../../training/smoke.sh", import.meta.url));
const ARCHITECTURES = ["starcoder", "h3", "hyena"];
/** Nats a token of a model that knows nothing, by its vocabulary. */
const CLUELESS = Math.log(512);
/** The slot that a recurrent model's only sequence has. */
const SLOT = 1;

Deno.test("training/smoke.sh trains, writes and quantises models that the server computes as PyTorch does, and serves", async () => {
  const python = await pythonOrReason();
  if (!python) return;
  const work = await Deno.makeTempDir();
  try {
    await smoke(work, python);
    for (const architecture of ARCHITECTURES) {
      await checkLearning(`${work}/${architecture}/log.jsonl`);
      await checkParity(`${work}/${architecture}`);
      await checkCompletion(`${work}/${architecture}/int8`);
    }
  } finally {
    await Deno.remove(work, { recursive: true });
  }
});

async function pythonOrReason(): Promise<string | undefined> {
  try {
    return await trainingPython();
  } catch (error) {
    if (Deno.env.get("CI") === "true") throw error;
    console.error(`Not checked: training/, for want of a Python with PyTorch: ${(error as Error).message}`);
  }
}

async function smoke(work: string, python: string): Promise<void> {
  const { code, stdout, stderr } = await new Deno.Command("bash", {
    args: [SCRIPT, work],
    env: { PYTHON: python, DENO: Deno.execPath(), NO_COLOR: "1", CUDA_VISIBLE_DEVICES: "" },
    stdin: "null",
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  equal(code, 0, `${text(stdout)}\n${text(stderr)}`);
}

async function checkLearning(log: string): Promise<void> {
  const entries = (await Deno.readTextFile(log)).trimEnd().split("\n").map((line) => JSON.parse(line));
  const { held_out } = entries.at(-1);
  console.log(`  ${log}: held-out loss ${held_out.text} of text, ${held_out.middle} of middles`);
  ok(held_out.text < 0.9 * CLUELESS && held_out.middle < 0.9 * CLUELESS, JSON.stringify(held_out));
}

async function checkParity(folder: string): Promise<void> {
  const { prompts, rows, logits } = await readExpected({ expectedDir: `${folder}/expected` });
  const sizes = { kvBytes: 2 ** 24, maxSequences: 8 };
  const { runner, vocabSize, suppressedTokens } = await loadModel({
    modelDir: `${folder}/int8`,
    device: "cpu",
    ...sizes,
  });
  await using _ = runner;
  for (const [i, prompt] of prompts.entries()) {
    const sequence = new TestSequence(prompt, [7, 2, 5, 0, 4, 6, 1, 3]);
    const batch = packBatch([{ sequence, count: prompt.length }], { everyRow: true });
    const samples = batch.samples.slice(-rows[i]);
    const step = await runner.step({ ...batch, samples, stateSlots: Uint32Array.of(SLOT) });
    const { largest } = logitError(step.logits!, logits[i], vocabSize, new Set(suppressedTokens));
    console.log(`  ${prompt.length} tokens: largest difference ${largest.toExponential(1)}`);
    ok(largest <= 1e-4, `largest difference must be at most 1e-4, received ${largest}`);
  }
}

async function checkCompletion(model: string): Promise<void> {
  await using server = await startServer(["--model", model]);
  for (const fim_layout of ["psm", "spm"]) {
    const body = {
      prompt: "def main(",
      suffix: "\n    return 0\n",
      fim_layout,
      max_tokens: 8,
      temperature: 0,
    };
    const response = await fetch(server.url("/v1/completions"), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const { choices: [choice], usage } = await response.json();
    equal(response.status, 200);
    ok(usage.completion_tokens > 0, JSON.stringify(usage));
    ok(["stop", "length"].includes(choice.finish_reason), choice.finish_reason);
  }
}
