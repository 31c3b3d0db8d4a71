// The H3 and Hyena that were trained for this repository, and what PyTorch computes for them in float64
// (training/reference_logits.py on the folders in weights/). Knows no backend.
import { fileURLToPath } from "node:url";
import { type Expected, readExpected } from "./parity_cases.ts";

export const TRAINED_MODELS = ["hyades-h3-30m", "hyades-hyena-30m"] as const;

export interface TrainedModel {
  readonly modelDir: string;
  readonly expected: Expected;
}

export async function trainedModel(id: (typeof TRAINED_MODELS)[number]): Promise<TrainedModel> {
  const folder = (name: string) => fileURLToPath(new URL(`../../${name}/${id}`, import.meta.url));
  return {
    modelDir: folder("weights"),
    expected: await readExpected({ expectedDir: folder("tests/fixtures/trained") }),
  };
}
