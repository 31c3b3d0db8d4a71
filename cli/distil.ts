// `distil SOURCE TARGET`: makes a Hyena checkpoint with modes in place of its long filters, and says what they are off by.
import { Command, InvalidArgumentError } from "commander";
import { distilCheckpoint } from "../models/distil.ts";
import { callersPath } from "./callers_path.ts";
import { ProgressBar } from "./progress_bar.ts";

interface DistilFlags {
  readonly modes: number;
  readonly force?: boolean;
}

const DETAILS = `
Each layer's line says what its filters' taps are off by, as a share of their norm: the mean over the channels, and the
channel that is off most. Filters of trained models need few modes; where the error is not small, the model is another one.

Example:
  deno task distil hyena-small hyena-small-16 --modes 16
`;

export function distilCommand(): Command {
  return new Command("distil")
    .description(
      "Replace a Hyena model's long filters by modes, so that a sequence keeps a state of fixed size",
    )
    .argument("<source>", "folder of a Hyena model", callersPath)
    .argument("<target>", "folder for the distilled model; made where it is missing", callersPath)
    .option("--modes <n>", "complex modes a channel may have", parseModes, 16)
    .option("--force", "overwrite a model that is already in the target folder")
    .addHelpText("after", DETAILS)
    .action((source: string, target: string, flags: DistilFlags) => distil(source, target, flags));
}

async function distil(source: string, target: string, { modes, force = false }: DistilFlags): Promise<void> {
  const bar = new ProgressBar("Distilling");
  const layers = await distilCheckpoint(source, target, {
    numModes: modes,
    force,
    onProgress: (done, total) => bar.update(done / total),
  });
  layers.forEach((errors, layer) => {
    const mean = errors.reduce((sum, error) => sum + error, 0) / errors.length;
    console.log(
      `layer ${layer}: off by ${mean.toExponential(1)}, channel ${errors.indexOf(Math.max(...errors))} by ${
        Math.max(...errors).toExponential(1)
      }`,
    );
  });
}

/** @throws {InvalidArgumentError} */
function parseModes(text: string): number {
  const modes = Number(text);
  if (Number.isInteger(modes) && modes >= 1 && modes <= 1024) return modes;
  throw new InvalidArgumentError("Must be a whole number from 1 to 1024.");
}
