// The architectures that a checkpoint may name in config.json.
import { gptBigCode } from "./gpt_bigcode.ts";
import { h3 } from "./h3_network.ts";
import { hyena, hyenaDna } from "./hyena_network.ts";
import type { Architecture } from "./network.ts";
import { qwen2 } from "./qwen2.ts";
import { starcoder2 } from "./starcoder2.ts";
import { stripedHyena } from "./striped_hyena_network.ts";

/** All that are served. */
export const architectures: readonly Architecture[] = [
  gptBigCode,
  starcoder2,
  qwen2,
  h3,
  hyena,
  hyenaDna,
  stripedHyena,
];

/**
 * The architecture of a configuration.
 * @throws {TypeError} when config.json names none, or one that is not supported
 */
export function architectureOf(config: unknown): Architecture {
  const modelType = (config as { model_type?: unknown } | null)?.model_type;
  const found = architectures.find((architecture) => architecture.modelType === modelType);
  if (found) return found;
  const supported = architectures.map((architecture) => `"${architecture.modelType}"`).join(", ");
  throw new TypeError(
    `Cannot load model: config.json "model_type" must be one of ${supported}, received ${
      JSON.stringify(modelType)
    }`,
  );
}
