// What a model folder holds, in a few words, without opening its tensors.
import { architectures } from "./registry.ts";

/** "starcoder2", "starcoder2, int8", "GGUF", or why it cannot be served. */
export async function kindOf(folder: string): Promise<string> {
  const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  if (!names.includes("config.json")) {
    return names.some((name) => name.toLowerCase().endsWith(".gguf")) ? "GGUF" : "no model";
  }
  const config = await Deno.readTextFile(`${folder}/config.json`).then(JSON.parse).catch(() => undefined);
  const type = config?.model_type, bits = config?.quantization_config?.bits;
  if (typeof type !== "string") return "no model";
  const isServed = architectures.some(({ modelType }) => modelType === type);
  return `${type}${bits ? `, int${bits}` : ""}${isServed ? "" : " (not served)"}`;
}
