// How often the rest of a line is guessed exactly and how often the model stops by itself, with token healing and without,
// in each layout and from the prefix alone, through this repository's own server:
// `deno run -A bench/infill_accuracy.ts --source DIR`.
import { parseArgs } from "node:util";
import { digHoles, type Hole, PLACES } from "./infill_holes.ts";
import { readCorpus } from "./load/code_corpus.ts";
import { ServerProcess } from "./load/server_process.ts";
import { SeededRandom } from "./load/seeded_random.ts";
import { describeMachine } from "./machine.ts";

const USAGE = `Measure single-line infilling with token healing and without.

  deno run -A bench/infill_accuracy.ts --source DIR [--holes 300] [--seed 1] [--serve FLAGS] [...]

  --source DIR    code that the model has not seen (may be repeated)
  --holes N       holes to fill (default: 300)
  --seed N        chooses the holes (default: 1)
  --before N --after N   characters around the cursor (default: 1500 and 500, about 700 tokens of code)
  --forms LIST    of psm, spm, prefix (default: all)
  --serve FLAGS   flags of the server (default: --device cpu)`;

/** Each is asked for with healing and without. */
const FORMS = ["psm", "spm", "prefix"] as const;
type Form = (typeof FORMS)[number];

const MAX_TOKENS = 48;

/** Of one hole, by form. */
interface Guess {
  readonly hole: Hole;
  readonly form: Form;
  readonly plain: Outcome;
  readonly healed: Outcome;
}

interface Outcome {
  /** Its first line is the rest of the line that was cut out. */
  readonly exact: boolean;
  /** By itself, before MAX_TOKENS. */
  readonly stopped: boolean;
  /** The prompt did end inside a longer token. */
  readonly acted: boolean;
}

if (import.meta.main) await main(Deno.args);

async function main(args: string[]): Promise<void> {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args,
    options: {
      source: { ...text, multiple: true },
      holes: { ...text, default: "300" },
      seed: { ...text, default: "1" },
      before: { ...text, default: "1500" },
      after: { ...text, default: "500" },
      forms: { ...text, default: FORMS.join(",") },
      serve: { ...text, default: "--device cpu" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help || !values.source) return console.log(USAGE);
  const random = new SeededRandom(Number(values.seed));
  const window = { before: Number(values.before), after: Number(values.after) };
  const holes = digHoles(await readCorpus(values.source, random), Number(values.holes), random, window);
  const wanted = values.forms.split(",");
  const forms = FORMS.filter((form) => wanted.includes(form));
  await using server = await ServerProcess.startOwn(values.serve);
  const guesses: Guess[] = [];
  for (const [index, hole] of holes.entries()) {
    for (const form of forms) guesses.push(await guess(server.url, hole, form));
    if (Deno.stderr.isTerminal()) {
      Deno.stderr.writeSync(new TextEncoder().encode(`\r${index + 1} of ${holes.length}`));
    }
  }
  const { cpu, commit, date } = await describeMachine();
  console.log(`${cpu}. Commit ${commit}, ${date}. ${holes.length} holes, seed ${values.seed}.\n`);
  console.log(report(guesses, forms));
}

async function guess(url: string, hole: Hole, form: Form): Promise<Guess> {
  const [plain, healed] = [await complete(url, hole, form, false), await complete(url, hole, form, true)];
  return { hole, form, plain, healed };
}

/** Drawn to its end, not to the line's, so that it shows whether the model knows where to stop. */
async function complete(
  url: string,
  { prefix, suffix, rest }: Hole,
  form: Form,
  healing: boolean,
): Promise<Outcome> {
  const body = {
    prompt: prefix,
    ...(form !== "prefix" && { suffix, fim_layout: form }),
    ...{ token_healing: healing, max_tokens: MAX_TOKENS, temperature: 0 },
  };
  const response = await fetch(`${url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`Cannot fill in: ${response.status} ${await response.text()}`);
  const { text, finish_reason, healed } = (await response.json()).choices[0];
  return {
    exact: text.split("\n", 1)[0].trimEnd() === rest,
    stopped: finish_reason === "stop",
    acted: healed !== undefined,
  };
}

/** A row a form and place. "only": holes that one of both guessed and the other did not. */
function report(guesses: readonly Guess[], forms: readonly Form[]): string {
  const head = [
    "prompt",
    "cursor",
    "holes",
    "backed up",
    "exact, plain",
    "exact, healed",
    "only plain",
    "only healed",
    "stopped, plain",
    "stopped, healed",
  ];
  const rows = forms.flatMap((form) =>
    [undefined, ...PLACES].map((place) => {
      const some = guesses.filter((guess) => guess.form === form && (!place || guess.hole.place === place));
      const count = (is: (guess: Guess) => boolean) => some.filter(is).length;
      const share = (n: number) => `${(100 * n / Math.max(1, some.length)).toFixed(1)} %`;
      return [
        ...[form, place ?? "all", some.length, count(({ healed }) => healed.acted)],
        ...[share(count(({ plain }) => plain.exact)), share(count(({ healed }) => healed.exact))],
        count(({ plain, healed }) => plain.exact && !healed.exact),
        count(({ plain, healed }) => healed.exact && !plain.exact),
        ...[share(count(({ plain }) => plain.stopped)), share(count(({ healed }) => healed.stopped))],
      ];
    })
  );
  const line = (cells: readonly (string | number)[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}
