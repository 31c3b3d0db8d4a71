// Decode and prefill speed of transformers.js on the CPU (its native onnxruntime-node), one JSON line a case.
//
//     deno run -A --no-lock bench/peers/transformers_js.ts EXPORT_DIR --threads 2 --batch 1,8 --context 64,512 --dtype fp32,q8
import { resolve } from "node:path";
import { argmaxRows, measurePeer, parsePeerArguments, type PeerSequences } from "./timing.ts";

const VERSION = "4.3.1";

interface Tensor {
  readonly data: Float32Array<ArrayBuffer>;
}

/** The part of the package used here; its types are not imported, so that checking this file does not download it. */
interface TransformersJs {
  readonly env: { allowRemoteModels: boolean; localModelPath: string };
  readonly Tensor: new (type: "int64", data: BigInt64Array, dims: number[]) => Tensor;
  readonly AutoModelForCausalLM: {
    from_pretrained(path: string, options: Record<string, unknown>): Promise<CausalLm>;
  };
}

interface CausalLm {
  forward(inputs: Record<string, unknown>): Promise<Record<string, Tensor>>;
  dispose(): Promise<unknown>;
}

if (import.meta.main) {
  const args = parsePeerArguments(Deno.args);
  const specifier = `npm:@huggingface/transformers@${VERSION}`;
  const library = await import(specifier) as TransformersJs;
  const path = resolve(args.modelDir);
  library.env.allowRemoteModels = false;
  library.env.localModelPath = "";
  for (const dtype of args.dtypes) {
    const model = await library.AutoModelForCausalLM.from_pretrained(path, {
      dtype,
      device: "cpu",
      session_options: { intraOpNumThreads: args.threads, interOpNumThreads: 1 },
    });
    const label = { peer: "transformers.js", version: VERSION, dtype };
    await measurePeer(label, args, (batch) => Promise.resolve(startSequences(library, model, batch)));
    await model.dispose();
  }
}

function startSequences(library: TransformersJs, model: CausalLm, batch: number): PeerSequences {
  let past: Record<string, Tensor> | null = null;
  let length = 0;
  let logits = new Float32Array();
  const int64 = (data: BigInt64Array, dims: number[]) => new library.Tensor("int64", data, dims);
  return {
    async forward(tokenIds, rows) {
      length += rows;
      const output = await model.forward({
        input_ids: int64(tokenIds, [batch, rows]),
        attention_mask: int64(new BigInt64Array(batch * length).fill(1n), [batch, length]),
        num_logits_to_keep: int64(BigInt64Array.of(1n), []),
        past_key_values: past,
      });
      past = pastOf(output);
      logits = output.logits.data;
    },
    greedy: () => argmaxRows(logits, batch),
    release: () => Promise.resolve(),
  };
}

/** The outputs present.N.key and .value as the next call's past_key_values.N.key and .value, as generate() passes them on. */
function pastOf(output: Record<string, Tensor>): Record<string, Tensor> {
  const entries = Object.entries(output).filter(([name]) => name.startsWith("present."));
  return Object.fromEntries(
    entries.map(([name, tensor]) => [name.replace("present", "past_key_values"), tensor]),
  );
}
