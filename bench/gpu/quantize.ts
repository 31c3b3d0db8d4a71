// Quantises a checkpoint with nothing but the packages that pack.sh packs.
//
//     deno run -A bench/gpu/quantize.ts SOURCE TARGET 4
import { quantizeCheckpoint } from "../../models/quantize.ts";

const [source, target, bits] = Deno.args;
const started = performance.now();
const { sourceBytes, targetBytes } = await quantizeCheckpoint(source, target, {
  bits: bits === "4" ? 4 : 8,
  force: true,
});
const seconds = ((performance.now() - started) / 1000).toFixed(1);
console.log(`${(sourceBytes / 1e9).toFixed(2)} GB -> ${(targetBytes / 1e9).toFixed(2)} GB in ${seconds} s`);
