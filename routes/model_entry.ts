// A model as Ollama's lists have it: in those of its own dialect, and in llama.cpp's, which copies the form.
import { createHash } from "node:crypto";
import { z } from "@hono/zod-openapi";
import type { ListedModel } from "../engine/model_choice.ts";

export const modelDetails = z.object({
  parent_model: z.string(),
  format: z.enum(["safetensors", "gguf"]),
  family: z.string(),
  families: z.array(z.string()),
  parameter_size: z.string(),
  quantization_level: z.string().describe("Bits of a weight, on average."),
}).openapi("OllamaDetails");

export const modelEntry = z.object({
  name: z.string(),
  model: z.string(),
  modified_at: z.string().describe("When the server started."),
  size: z.int(),
  digest: z.string().describe("Of the model's name and sizes, not of its weights."),
  details: modelDetails,
  capabilities: z.array(z.string()),
}).openapi("OllamaModel");

/** @param name as clients of the list are to send it */
export function toModelEntry(
  model: ListedModel,
  name: string,
  modified_at: string,
): z.output<typeof modelEntry> {
  return {
    ...{ name, model: name, modified_at },
    size: model.weightBytes,
    digest: digestOf(model),
    details: detailsOf(model),
    capabilities: capabilitiesOf(model),
  };
}

export function capabilitiesOf({ fim }: ListedModel): string[] {
  return fim.supported ? ["completion", "insert"] : ["completion"];
}

/** As lines of a modelfile, without its PARAMETER. */
export function parametersOf({ contextLength }: ListedModel): string {
  return `num_ctx ${contextLength}`;
}

export function detailsOf(
  { architecture, fileFormat, numParameters, weightBytes }: ListedModel,
): z.output<typeof modelDetails> {
  return {
    parent_model: "",
    format: fileFormat,
    family: architecture,
    families: [architecture],
    parameter_size: parameterSize(numParameters),
    quantization_level: `${Math.round(weightBytes * 8 / numParameters)}-bit`,
  };
}

/** "31.0M", "1.1B". */
function parameterSize(count: number): string {
  return count < 1e9 ? `${(count / 1e6).toFixed(1)}M` : `${(count / 1e9).toFixed(1)}B`;
}

export function digestOf({ id, numParameters, weightBytes }: ListedModel): string {
  return createHash("sha256").update(`${id} ${numParameters} ${weightBytes}`).digest("hex");
}
