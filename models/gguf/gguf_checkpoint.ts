// Opens a GGUF file as a model folder is opened: the same checkpoint comes of it.
import { basename } from "std/path/mod.js";
import { type Checkpoint, checkpointOf } from "../checkpoint.ts";
import { ggufModel } from "./gguf_architectures.ts";
import { readGgufHeader } from "./gguf_header.ts";
import { GgufSource } from "./gguf_source.ts";
import { ggufTokenizer } from "./gguf_tokenizer.ts";

export function isGgufPath(path: string): boolean {
  return path.toLowerCase().endsWith(".gguf");
}

/**
 * @throws {SyntaxError} when the file is no GGUF
 * @throws {TypeError} when its architecture, tokenizer or a tensor is not what is served
 * @throws {RangeError} when the file ends before its tensors do
 */
export async function openGgufCheckpoint(path: string): Promise<Checkpoint> {
  const header = await readGgufHeader(path), file = basename(path);
  const { config, nameOf } = ggufModel(header, file);
  const tokenizer = ggufTokenizer(header, file);
  const tensors = await GgufSource.open(path, header, nameOf);
  return checkpointOf(tensors, { fileFormat: "gguf", config, tokenizer, eosTokenId: tokenizer.eosTokenId });
}
