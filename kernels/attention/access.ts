// How attention kernels read queries, keys and values and write outputs: in fours of a head's columns where its size
// allows, else column by column. The kernels see vec4<f32> either way, zero beyond the head.
import { controlConstants } from "../control.ts";
import { type Binding, type GpuContext, type GpuKvCache, rowStride } from "../gpu_op.ts";
import type { AttentionNode } from "../graph.ts";
import { FEWEST_HALF_ROWS, PACK_HALVES } from "../half_values.ts";
import { quadSnippet } from "../wgsl.ts";
import { INT8_GROUP, int8HeadWords, kvAtSnippet, type KvOrder, kvOrder, type KvType } from "./kv_layout.ts";

/** Sizes that every attention kernel knows, with the layout of the control buffer. */
export function attentionConstants(node: AttentionNode, context: GpuContext): Record<string, number> {
  return {
    ...controlConstants(context.layout),
    NUM_HEADS: node.numHeads,
    GROUP: node.numHeads / node.numKvHeads,
    HEAD_SIZE: node.headSize,
    HEAD_QUADS: headQuads(node),
    INPUT_STRIDE: rowStride(node.input.width),
    OUTPUT_STRIDE: rowStride(node.output.width),
  };
}

/** What of a context decides how attention is divided: known before there are any buffers. */
export type DivisionContext = Pick<GpuContext, "profile" | "layout" | "caps"> & {
  kvCache(layer: number): Pick<GpuKvCache, "type">;
};

/** The order of the node's cache. */
export function cacheOrder(node: AttentionNode, context: DivisionContext): KvOrder {
  return kvOrder(node, context.kvCache(node.layer).type, context.profile, context.caps);
}

/** WGSL `kvAt(slot, column)` for the node's cache, where that is f32 or f16. */
export function cacheSnippet(node: AttentionNode, context: GpuContext): string {
  return kvAtSnippet(cacheOrder(node, context), node);
}

/** WGSL for the first position that the last of `length` tokens sees. */
export function firstSeen({ window }: AttentionNode, length: string): string {
  return window === undefined ? "0u" : `${length} - min(${length}, ${window}u)`;
}

/** Scale that turns dot products into scores in base 2, as a WGSL constant. */
export function scoreScale(node: AttentionNode): string {
  return `${Math.fround(node.scale * Math.LOG2E)}f`;
}

/** Fours of columns that a head takes. */
export function headQuads(node: AttentionNode): number {
  return Math.ceil(node.headSize / 4);
}

const SLOT_OF = `
/** Cache slot of a position of the sequence whose block table starts at word blockTable. */
fn slotOf(blockTable: u32, position: u32) -> u32 {
    return control[blockTable + position / BLOCK_SIZE] * BLOCK_SIZE + position % BLOCK_SIZE;
}`;

/**
 * Bindings `queries`, `keys` and `values` from `firstBinding` on, with slotOf(blockTable, position),
 * queryQuad(token, head, quad), keyQuad(slot, kvHead, quad) and valueQuad(slot, kvHead, quad). Stored is what a four is
 * best kept in, keyStored() and valueStored() read it, unpackStored() makes it a vec4<f32>. With `stores`, for heads
 * of whole fours, also storeQuad(token, slot, kvHead, quad), which puts the token's own key and value into the cache.
 */
export function readSnippet(
  node: AttentionNode,
  context: GpuContext,
  firstBinding: number,
  stores = false,
): string {
  const { type } = context.kvCache(node.layer);
  const whole = node.headSize % 4 === 0;
  const cacheAccess = stores ? "read_write" : "read";
  const query = whole ? "vec4<f32>" : "f32";
  const stored = storedType(type, whole);
  return [
    `@group(0) @binding(${firstBinding}) var<storage, read> queries: array<${query}>;`,
    `@group(0) @binding(${firstBinding + 1}) var<storage, ${cacheAccess}> keys: array<${stored}>;`,
    `@group(0) @binding(${firstBinding + 2}) var<storage, ${cacheAccess}> values: array<${stored}>;`,
    ...(whole || type === "i8" ? [quadSnippet(type)] : []),
    ...(type === "i8" ? [] : [cacheSnippet(node, context)]),
    ...(stores ? [storeSnippet(node, type)] : []),
    SLOT_OF,
    whole
      ? `fn queryQuad(token: u32, head: u32, quad: u32) -> vec4<f32> {
    return queries[(token * INPUT_STRIDE + head * HEAD_SIZE) / 4u + quad];
}`
      : readColumns("query", "queries", (column) => `token * INPUT_STRIDE + ${column}`, "f32"),
    `alias Stored = ${keepsQuads(type, whole) ? "Quad" : "vec4<f32>"};
fn unpackStored(stored: Stored) -> vec4<f32> { return ${
      keepsQuads(type, whole) ? "unpackQuad(stored)" : "stored"
    }; }`,
    ...["key", "value"].map((name) =>
      type === "i8"
        ? readScaled(name, node)
        : whole
        ? readQuad(name)
        : readColumns(name, `${name}s`, (column) => `kvAt(token, ${column})`, type)
    ),
  ].join("\n");
}

function storedType(type: KvType, whole: boolean): string {
  if (type === "i8") return "u32";
  return whole ? "Quad" : type === "f32" ? "f32" : "u32";
}

/** Whether a four is best kept as it lies in the cache: of i8 it would need its head's scale as well. */
function keepsQuads(type: KvType, whole: boolean): boolean {
  return whole && type !== "i8";
}

/** Fours of a head of i8, which follow its scales. */
function readScaled(name: string, node: AttentionNode): string {
  const { scales, all } = int8HeadWords(node);
  return `fn ${name}Stored(slot: u32, head: u32, quad: u32) -> Stored {
    let first = (slot * ${node.numKvHeads}u + head) * ${all}u;
    return bitcast<f32>(${name}s[first + quad / ${
    INT8_GROUP / 4
  }u]) * unpackQuad(${name}s[first + ${scales}u + quad]);
}
fn ${name}Quad(slot: u32, head: u32, quad: u32) -> vec4<f32> { return ${name}Stored(slot, head, quad); }`;
}

const PACK_QUAD = {
  f32: "value",
  f16: `vec2<u32>(pack2x16float(clamp(value.xy, vec2<f32>(-65504.0), vec2<f32>(65504.0))),
        pack2x16float(clamp(value.zw, vec2<f32>(-65504.0), vec2<f32>(65504.0))))`,
};

function storeSnippet(node: AttentionNode, type: KvType): string {
  if (type === "i8") {
    throw new TypeError("Cannot write kernel: keys in int8 are stored by a dispatch of their own");
  }
  const firstKey = node.numHeads, firstValue = node.numHeads + node.numKvHeads;
  return `// Beyond f16's range packing would give anything at all.
fn packQuad(value: vec4<f32>) -> Quad { return ${PACK_QUAD[type]}; }
fn storeQuad(token: u32, slot: u32, head: u32, quad: u32) {
    let at = kvAt(slot, head * HEAD_SIZE + 4u * quad) / 4u;
    keys[at] = packQuad(queryQuad(token, ${firstKey}u + head, quad));
    values[at] = packQuad(queryQuad(token, ${firstValue}u + head, quad));
}`;
}

function readQuad(name: string): string {
  return `fn ${name}Stored(slot: u32, head: u32, quad: u32) -> Stored {
    return ${name}s[kvAt(slot, head * HEAD_SIZE + 4u * quad) / 4u];
}
fn ${name}Quad(slot: u32, head: u32, quad: u32) -> vec4<f32> { return unpackQuad(${name}Stored(slot, head, quad)); }`;
}

/** Heads whose size is no multiple of four start anywhere, so their columns are read one at a time. */
function readColumns(
  name: string,
  buffer: string,
  placeOf: (column: string) => string,
  type: "f32" | "f16",
): string {
  const element = type === "f32"
    ? `${buffer}[at]`
    : `select(unpack2x16float(${buffer}[at / 2u]).x, unpack2x16float(${buffer}[at / 2u]).y, at % 2u == 1u)`;
  return `fn ${name}Column(token: u32, head: u32, column: u32) -> f32 {
    let at = ${placeOf("head * HEAD_SIZE + min(column, HEAD_SIZE - 1u)")};
    return select(0.0, ${element}, column < HEAD_SIZE);
}
fn ${name}Quad(token: u32, head: u32, quad: u32) -> vec4<f32> {
    let c = 4u * quad;
    return vec4<f32>(${[0, 1, 2, 3].map((i) => `${name}Column(token, head, c + ${i}u)`).join(", ")});
}
fn ${name}Stored(token: u32, head: u32, quad: u32) -> vec4<f32> { return ${name}Quad(token, head, quad); }`;
}

/** What a kernel stores its output through. */
export interface OutputAccess {
  /**
   * WGSL: bindings from a first one on, packHalves, and `fn storeOutput(token: u32, head: u32, quad: u32,
   * value: vec4<f32>)`.
   */
  readonly code: string;
  readonly bindings: readonly Binding[];
}

/**
 * As f32 or, where the output is a half value and the step has as many tokens as those have, as f16. With `bits`, for heads
 * of whole fours, `output` is bound as u32.
 */
export function writeSnippet(
  node: AttentionNode,
  context: GpuContext,
  firstBinding: number,
  { bits = false } = {},
): OutputAccess {
  const whole = node.headSize % 4 === 0;
  const halves = context.halves(node.output);
  const at = "token * OUTPUT_STRIDE + head * HEAD_SIZE";
  const store = whole
    ? bits
      ? `let bits = bitcast<vec4<u32>>(value);
    for (var i = 0u; i < 4u; i++) { output[${at} + 4u * quad + i] = bits[i]; }`
      : `output[(${at}) / 4u + quad] = value;`
    : [0, 1, 2, 3].map((i) =>
      `if (4u * quad + ${i}u < HEAD_SIZE) { output[${at} + 4u * quad + ${i}u] = value[${i}]; }`
    ).join("\n    ");
  const output = `@group(0) @binding(${firstBinding}) var<storage, read_write> output: array<${
    bits ? "u32" : whole ? "vec4<f32>" : "f32"
  }>;`;
  const binding: Binding = { buffer: context.activation(node.output), access: "readWrite" };
  if (!halves) {
    return {
      code: `${output}
${PACK_HALVES}
fn storeOutput(token: u32, head: u32, quad: u32, value: vec4<f32>) {
    ${store}
}`,
      bindings: [binding],
    };
  }
  return {
    code: `${output}
@group(0) @binding(${firstBinding + 1}) var<storage, read_write> outputHalves: array<vec2<u32>>;
${PACK_HALVES}
fn storeOutput(token: u32, head: u32, quad: u32, value: vec4<f32>) {
    if (control[NUM_TOKENS] >= ${FEWEST_HALF_ROWS}u) {
        outputHalves[token * ${2 * halves.words}u + head * HEAD_QUADS + quad] = packHalves(value);
        return;
    }
    ${store}
}`,
    bindings: [binding, { buffer: halves.buffer, access: "readWrite" }],
  };
}
