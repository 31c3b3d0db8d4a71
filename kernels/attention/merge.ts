// Joins the splits of attention of single new tokens: in a dispatch of its own (merge.wgsl), or in WGSL for the linear that
// reads the output.
import type { StepShape } from "../control.ts";
import type { GpuContext, KernelCall } from "../gpu_op.ts";
import type { AttentionNode } from "../graph.ts";
import { specialise, unroll } from "../wgsl.ts";
import { type BytesOf, bytesOfValues, movingWork } from "../work.ts";
import { fixedPointCode, type WholeType } from "../linear/fixed_point.ts";
import { leaveWholeNumbers } from "../linear/whole_numbers.ts";
import { attentionConstants, type DivisionContext, headQuads, writeSnippet } from "./access.ts";
import mergeCode from "./merge.wgsl" with { type: "text" };
import { attendsInSplits, splitCount, splitResults, type Splitting } from "./split.ts";

/** Splits whose results are asked for at once: those of 640 keys, or of 576 and the token's own. */
const AT_ONCE = 10;

/**
 * WGSL `mergedQuad(token, head, quad)`: the sum of the splits' outputs over the sum of their sums, each weighted by
 * 2^(its largest score - the largest of all). Reads `control`, `splitSums`, and the splits' outputs in `partials`.
 */
export function mergedQuad(
  node: AttentionNode,
  splitting: Splitting,
  context: GpuContext,
  partials = "partials",
): string {
  const { splits, quads } = splitting;
  const heads = node.numHeads;
  const each = (line: (i: number) => string) => unroll(AT_ONCE, line);
  const most = Array.from({ length: AT_ONCE }).reduce((rest, _, i) => `max(${rest}, sum${i}.x)`, "most");
  return `fn mergedQuad(token: u32, head: u32, quad: u32) -> vec4<f32> {
    let context = control[${context.layout.positions}u + token] + 1u;
    let splits = ${splitCount(node, "context", splitting)};
    let first = token * ${splits * heads}u + head;
    var most = -1e30f;
    var total = 0.0;
    var value = vec4<f32>();
    for (var split = 0u; split < splits; split += ${AT_ONCE}u) {
${
    each((i) =>
      `        let at${i} = first + min(split + ${i}u, splits - 1u) * ${heads}u;
        let sum${i} = splitSums[at${i}];
        let part${i} = ${partials}[at${i} * ${quads}u + quad];`
    )
  }
        let mostNow = ${most};
        let before = exp2(most - mostNow);
        total *= before;
        value *= before;
        most = mostNow;
${
    each((i) =>
      `        let weight${i} = select(0.0, exp2(sum${i}.x - most), split + ${i}u < splits);
        total = fma(weight${i}, sum${i}.y, total);
        value = fma(vec4<f32>(weight${i}), part${i}, value);`
    )
  }
    }
    return value / total;
}`;
}

/** Of one row, whose fours the threads are. */
function leaveOneRow(type: WholeType, width: number): string {
  return `    if (control[NUM_TOKENS] == 1u) {
        let quad0 = id.x;
${leaveWholeNumbers(0, "value", "isPresent", "output", type, width)}
        return;
    }`;
}

/** Whether that dispatch can leave a row as whole numbers: its threads have whole fours. */
export function leavesWholeMerge(node: AttentionNode, context: DivisionContext): boolean {
  return node.headSize % 4 === 0 && attendsInSplits(node, context);
}

/** The dispatch of its own. */
export function mergeCall(
  node: AttentionNode,
  splitting: Splitting,
  partialBytes: BytesOf,
  runs: (shape: StepShape) => boolean,
  context: GpuContext,
): KernelCall {
  const { partials, sums } = splitResults(node, splitting, context);
  const wholeType = context.wholeType(node.output);
  const output = writeSnippet(node, context, 3, { bits: wholeType !== undefined });
  const code = specialise(mergeCode, attentionConstants(node, context), {
    mergedQuad: mergedQuad(node, splitting, context),
    output: `${wholeType ? fixedPointCode(wholeType) : ""}\n${output.code}`,
    builtins: wholeType ? "@builtin(subgroup_invocation_id) lane: u32," : "",
    leave: wholeType ? leaveOneRow(wholeType, node.output.width) : "",
  });
  return {
    label: `attention ${node.layer} merge`,
    code: wholeType ? `enable subgroups;\n${code}` : code,
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: partials, access: "read" },
      { buffer: sums, access: "read" },
      ...output.bindings,
    ],
    work: movingWork(partialBytes, bytesOfValues([node.output], context)),
    grid: (shape) =>
      runs(shape) ? [Math.ceil(node.numHeads * headQuads(node) / 64), shape.numTokens, 1] : undefined,
  };
}
