// What tools/convert_checkpoint.py made of the fixtures' source files. That it renames rightly is seen in the logits
// (h3_test.ts, hyena_test.ts); here, that every value came over bit for bit, and once.
import { Buffer } from "node:buffer";
import { deepStrictEqual, equal, ok } from "node:assert/strict";
import { caseFolder, type LongConvCase, openCase } from "./long_conv_cases.ts";

const CONVERTED: readonly [name: LongConvCase, source: string][] = [
  ["h3-attention", "model.pt"],
  ["h3-rotary-old-names", "model.pt"],
  ["hyena-lm", "model.ckpt"],
];

for (const [name, file] of CONVERTED) {
  Deno.test(`converted tensors are their source's, bit for bit: ${name}`, async () => {
    using opened = await openCase(name);
    // PyTorch's files are archives that store tensors' bytes as they are.
    const source = Buffer.from(await Deno.readFile(`${caseFolder(name)}/${file}`));
    const found = new Set<number>();
    for (const tensor of opened.source.names) {
      const [rows] = opened.source.find(tensor)!.shape;
      const bytes = Buffer.from(await opened.source.readRows(tensor, 0, rows));
      // Projections of H3 layers lie side by side here, in the source one by one.
      const parts = source.includes(bytes) ? [bytes] : thirds(bytes);
      for (const part of parts) {
        const at = source.indexOf(part);
        ok(at >= 0, `"${tensor}" has values that the source does not`);
        ok(!found.has(at), `"${tensor}" repeats values of another tensor`);
        found.add(at);
      }
    }
  });
}

function thirds(bytes: Buffer): Buffer[] {
  const length = bytes.length / 3;
  return [0, 1, 2].map((i) => bytes.subarray(i * length, (i + 1) * length));
}

Deno.test("converted H3 checkpoints have the names and shapes of their layers", async () => {
  using opened = await openCase("h3-rotary-old-names");
  const { source, config } = opened;
  deepStrictEqual(config.attention_layers, [2]);
  equal(config.rotary_dims, 4);
  const layer = (i: number) =>
    source.names.filter((name) => name.startsWith(`backbone.layers.${i}.mixer.`))
      .map((name) => `${name.replace(`backbone.layers.${i}.mixer.`, "")} [${source.find(name)!.shape}]`);
  deepStrictEqual(layer(1), [
    "D [16]",
    "Wqkv.bias [48]",
    "Wqkv.weight [48,16]",
    "kernel.kernel.A_imag [16,32]",
    "kernel.kernel.B [16,32,2]",
    "kernel.kernel.C [1,16,32,2]",
    "kernel.kernel.inv_A_real [16,32]",
    "kernel.kernel.log_dt [16]",
    "out_proj.bias [16]",
    "out_proj.weight [16,16]",
    "ssm_k_D [16]",
    "ssm_k_kernel.kernel.B [16,64]",
    "ssm_k_kernel.kernel.C [1,16,64]",
  ]);
  deepStrictEqual(layer(2), [
    "Wqkv.bias [48]",
    "Wqkv.weight [48,16]",
    "out_proj.bias [16]",
    "out_proj.weight [16,16]",
  ]);
  deepStrictEqual(source.names.filter((name) => !name.startsWith("backbone.layers.")), [
    "backbone.embeddings.word_embeddings.weight",
    "backbone.ln_f.bias",
    "backbone.ln_f.weight",
  ]);
});

Deno.test("converted Hyena checkpoints have the names and shapes of their layers", async () => {
  using opened = await openCase("hyena-lm");
  const { source } = opened;
  const layer = source.names.filter((name) => name.startsWith("backbone.layers.0.mixer."))
    .map((name) => `${name.replace("backbone.layers.0.mixer.", "")} [${source.find(name)!.shape}]`);
  deepStrictEqual(layer, [
    "filter_fn.bias [8]",
    "filter_fn.implicit_filter.0.bias [6]",
    "filter_fn.implicit_filter.0.weight [6,5]",
    "filter_fn.implicit_filter.1.freq [1,6]",
    "filter_fn.implicit_filter.2.bias [6]",
    "filter_fn.implicit_filter.2.weight [6,6]",
    "filter_fn.implicit_filter.4.bias [6]",
    "filter_fn.implicit_filter.4.weight [6,6]",
    "filter_fn.implicit_filter.6.weight [8,6]",
    "filter_fn.modulation.deltas [1,1,8]",
    "filter_fn.pos_emb.z [1,128,5]",
    "in_proj.bias [24]",
    "in_proj.weight [24,8]",
    "out_proj.bias [8]",
    "out_proj.weight [8,8]",
    "short_filter.bias [24]",
    "short_filter.weight [24,1,3]",
  ]);
});
