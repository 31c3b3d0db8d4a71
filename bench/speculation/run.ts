// `deno task bench:speculation`: the same completions with and without drafts, by turns, on one device: the times of
// both, how many tokens a step has, and whether all texts are the same.
import { parseArgs } from "node:util";
import { DEFAULT_MODEL_DIR, DEFAULT_MODEL_ID } from "../../cli/default_model.ts";
import type { DeviceChoice } from "../../device/choose_backend.ts";
import { LocalEngine } from "../../engine/local_engine.ts";
import type { GenerationEvent, GenerationRequest } from "../../engine/request.ts";
import { loadModel } from "../../models/load_model.ts";
import { defaultFolders, readCorpus } from "../load/code_corpus.ts";
import { SeededRandom } from "../load/seeded_random.ts";
import { describeMachine } from "../machine.ts";
import { type Case, type Kind, KINDS, makeCases } from "./cases.ts";

const USAGE = `Measure what drafts save, on code of this repository and its dependencies.

  deno task bench:speculation [--device auto|cpu|dawn|webgpu] [--model DIR]

  --device D     what it runs on (default: auto)
  --profile P    fast or safe (default: fast)
  --threads N    CPU threads (default: all cores, 16 at most)
  --model DIR    model folder (default: the embedded ${DEFAULT_MODEL_ID})
  --source DIR   code to complete instead, may be repeated
  --cases N      completions of each kind (default: 24)
  --editors N    how many complete at once (default: 1)
  --temperature T  above 0 draws, with a seed a case (default: 0)
  --seed N       other seeds choose other places (default: 1)`;

/** What one engine took for the cases of one kind. */
interface Tally {
  ms: number;
  tokens: number;
  steps: number;
  drafted: number;
  accepted: number;
  readonly texts: string[];
}

if (import.meta.main) await main();

async function main(): Promise<void> {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    options: {
      device: { ...text, default: "auto" },
      profile: { ...text, default: "fast" },
      model: { ...text, default: DEFAULT_MODEL_DIR },
      source: { ...text, multiple: true },
      threads: text,
      cases: { ...text, default: "24" },
      editors: { ...text, default: "1" },
      temperature: { ...text, default: "0" },
      seed: { ...text, default: "1" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return console.log(USAGE);
  const load = {
    modelDir: values.model,
    device: values.device as DeviceChoice,
    profile: values.profile === "safe" ? "safe" as const : "fast" as const,
    ...(values.threads && { numThreads: Number(values.threads) }),
  };
  await using without = await openEngine(load, false);
  await using having = await openEngine(load, true);
  const random = new SeededRandom(Number(values.seed));
  const files = await readCorpus(values.source ?? await defaultFolders(), random);
  await printHead(having);
  for (const kind of KINDS) {
    const cases = makeCases(kind, files, random, Number(values.cases)).map((requests, index) =>
      requests.map((request) => ({ ...request, temperature: Number(values.temperature), seed: index }))
    );
    const [plain, drafted] = await measureBoth([without, having], cases, Number(values.editors));
    console.log(rowOf(kind, plain, drafted));
  }
}

async function openEngine(load: Parameters<typeof loadModel>[0], speculation: boolean): Promise<LocalEngine> {
  const ready = Promise.withResolvers<void>();
  const engine = new LocalEngine({
    modelId: "bench",
    speculation,
    typeThrough: false,
    warmUp: false,
    openModel: (onProgress) => loadModel(load, onProgress),
    onState: (state) => {
      if (state.phase === "ready") ready.resolve();
      if (state.phase === "failed") ready.reject(new Error(state.reason));
    },
  });
  await ready.promise;
  return engine;
}

async function printHead({ model }: LocalEngine): Promise<void> {
  const { cpu, cores, commit, date } = await describeMachine();
  console.log(`${cpu}, ${cores} cores; ${model.backend}: ${model.adapter}. Commit ${commit}, ${date}.\n`);
  const columns = [
    "tokens",
    "ms a token without",
    "with",
    "without / with",
    "tokens a step",
    "drafts right",
    "same texts",
  ];
  console.log(`| completion | ${columns.join(" | ")} |\n|---|${" ---: |".repeat(columns.length)}`);
}

/** By turns, so that whatever else the machine does falls on both; the first of each is for warming up. */
async function measureBoth(
  engines: readonly LocalEngine[],
  cases: readonly Case[],
  editors: number,
): Promise<Tally[]> {
  const tallies = engines.map((): Tally => ({
    ms: 0,
    tokens: 0,
    steps: 0,
    drafted: 0,
    accepted: 0,
    texts: [],
  }));
  for (let first = 0; first < cases.length; first += editors) {
    const together = cases.slice(first, first + editors);
    for (const [index, engine] of engines.entries()) {
      await Promise.all(together.map((requests) => runCase(engine, requests, tallies[index])));
    }
  }
  return tallies;
}

/** Counts the last request of a case, from its first token on. */
async function runCase(
  engine: LocalEngine,
  requests: readonly GenerationRequest[],
  tally: Tally,
): Promise<void> {
  let events: GenerationEvent[] = [];
  for (const request of requests) events = await Array.fromAsync(engine.submit(request));
  const finish = events.findLast((event) => event.kind === "finish")!;
  const tokens = events.filter((event) => event.kind === "token");
  tally.texts.push(tokens.map(({ id }) => id).join(" "));
  const { drafted, accepted } = finish.drafts ?? { drafted: 0, accepted: 0 };
  tally.ms += finish.timings.predictedMs;
  tally.tokens += Math.max(0, tokens.length - 1);
  tally.steps += Math.max(0, tokens.length - 1 - accepted);
  tally.drafted += drafted;
  tally.accepted += accepted;
}

function rowOf(kind: Kind, plain: Tally, drafted: Tally): string {
  const perToken = ({ ms, tokens }: Tally) => ms / tokens;
  const same = plain.texts.filter((text) => drafted.texts.includes(text)).length;
  const cells = [
    drafted.tokens,
    perToken(plain).toFixed(2),
    perToken(drafted).toFixed(2),
    (perToken(plain) / perToken(drafted)).toFixed(2),
    (drafted.tokens / drafted.steps).toFixed(2),
    `${drafted.accepted} of ${drafted.drafted}`,
    `${same} of ${plain.texts.length}`,
  ];
  return `| ${[kind, ...cells].join(" | ")} |`;
}
