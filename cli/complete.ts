// `complete FILE[:LINE:COL]`: prints the completion at a place in a file, straight from the engine, no server.
import { Command, InvalidArgumentError } from "commander";
import { CODE_RULES } from "../engine/output_rules.ts";
import type { OutputRuleName } from "../engine/output_stage.ts";
import type { GenerationRequest } from "../engine/request.ts";
import { WorkerEngine } from "../engine/worker_engine.ts";
import { callersPath } from "./callers_path.ts";
import { findModel } from "./find_model.ts";
import {
  addModelOptions,
  engineOptions,
  type ModelFlags,
  parsePositive,
  parseWhole,
} from "./model_options.ts";
import { ProgressBar } from "./progress_bar.ts";

interface CompleteFlags extends ModelFlags {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly seed?: number;
  readonly line?: boolean;
}

const EXAMPLES = `
Examples:
  deno task complete app.py                 what comes after the file's end
  deno task complete app.py:12:9            fill in at line 12, before its column 9 (both count from 1)
  deno task complete app.py:12              fill in at the end of line 12
  deno task complete app.py:12:9 --line     only the rest of the line
  deno task complete app.py:12 --clean off  as the model wrote it, past the end of the block too
`;

export function completeCommand(): Command {
  const command = new Command("complete")
    .description("Print a completion at a place in a file, without a server")
    .argument("<file[:line[:column]]>", "the place to complete; the end of the file when no line is given")
    .option("--max-tokens <n>", "most tokens to generate", parsePositive, 64)
    .option("--temperature <t>", "0 takes the likeliest token", parseTemperature, 0)
    .option("--seed <n>", "seed for temperatures above 0", parseWhole)
    .option("--line", "stop at the end of the line");
  // What is printed is to be inserted.
  return addModelOptions(command, [CODE_RULES, "code"]).addHelpText("after", EXAMPLES)
    .action((place: string, flags: CompleteFlags) => complete(callersPath(place), flags));
}

async function complete(place: string, flags: CompleteFlags): Promise<void> {
  const { prefix, suffix } = await readPlace(place);
  await using engine = new WorkerEngine(engineOptions(flags, await findModel(flags.model)));
  await loaded(engine);
  const request = generationRequest(prefix, suffix, flags, engine.model.fim.supported);
  const encoder = new TextEncoder();
  let isEmpty = true, rules: readonly OutputRuleName[] = [];
  for await (const event of engine.submit(request)) {
    if (event.kind === "finish") rules = event.rules ?? [];
    if (event.kind === "prompt" || !event.text) continue;
    isEmpty = false;
    await Deno.stdout.write(encoder.encode(event.text));
  }
  await Deno.stdout.write(encoder.encode("\n"));
  if (isEmpty) console.error(whyEmpty(rules));
}

/** @param rules those that changed the text */
function whyEmpty(rules: readonly OutputRuleName[]): string {
  return rules.length === 0
    ? "Nothing to insert: the model ended at once"
    : `Nothing to insert: all that the model wrote was cut (${rules.join(", ")}); --clean off shows it`;
}

/** Waits for the model. @throws {Error} when it cannot be loaded. */
export async function loaded(engine: WorkerEngine): Promise<void> {
  const bar = new ProgressBar("Loading model");
  while (engine.state.phase === "loading") {
    bar.update(engine.state.progress);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  bar.update(1);
  if (engine.state.phase === "failed") throw new Error(engine.state.reason);
}

/** An infill wherever the model can: it is cut to the context, however long the file. */
function generationRequest(
  prefix: string,
  suffix: string,
  flags: CompleteFlags,
  canInfill: boolean,
): GenerationRequest {
  if (!canInfill && suffix.trim() !== "") {
    throw new Error(
      "Cannot fill in: the model has no fill-in-the-middle tokens; complete at the end of the file",
    );
  }
  return {
    prompt: canInfill
      ? { kind: "infill", prefix, suffix }
      : { kind: "text", text: prefix, parseSpecial: false },
    maxTokens: flags.maxTokens,
    temperature: flags.temperature,
    ...(flags.seed !== undefined && { seed: flags.seed }),
    stop: flags.line ? ["\n"] : [],
  };
}

function parseTemperature(text: string): number {
  const temperature = Number(text);
  if (text.trim() === "" || !(temperature >= 0)) {
    throw new InvalidArgumentError("must be a number, 0 or above");
  }
  return temperature;
}

/** Splits "file:line:column" (from 1; columns count UTF-16 units, as editors do) into what lies before and after. */
export async function readPlace(place: string): Promise<{ prefix: string; suffix: string }> {
  const found = /^(.*?)(?::(\d+))?(?::(\d+))?$/s.exec(place)!;
  const [, file, line, column] = found;
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (error) {
    const why = error instanceof Error ? error.message : error;
    throw new Error(`Cannot read "${file}": ${why}; a place is FILE, FILE:LINE or FILE:LINE:COLUMN`);
  }
  const offset = line === undefined ? text.length : offsetOf(text, file, Number(line), column);
  return { prefix: text.slice(0, offset), suffix: text.slice(offset) };
}

function offsetOf(text: string, file: string, line: number, column: string | undefined): number {
  const lines = text.split("\n");
  if (line < 1 || line > lines.length) {
    throw new Error(`Cannot complete: "${file}" has lines 1 to ${lines.length}, received ${line}`);
  }
  const length = lines[line - 1].replace(/\r$/, "").length;
  const at = column === undefined ? length : Number(column) - 1;
  if (at < 0 || at > length) {
    throw new Error(`Cannot complete: line ${line} has columns 1 to ${length + 1}, received ${column}`);
  }
  const offset = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0) + at;
  if (/^[\uD800-\uDBFF][\uDC00-\uDFFF]$/.test(text.slice(offset - 1, offset + 1))) {
    throw new Error(
      `Cannot complete: column ${column} of line ${line} is within a character, take ${at} or ${at + 2}`,
    );
  }
  return offset;
}
