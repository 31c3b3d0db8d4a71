// Causal attention over the paged cache on the CPU, and the kernel that fills the cache.
//   in      f32 [tokens][stride], a row being [q of all heads | k of all KV heads | v of all KV heads]
//   keys    f32 [block][KV head][headSize][16]: one vector holds four keys
//   values  f32 [block][KV head][16][valueStride]: one vector holds four columns
//   out     f32 [tokens][stride]
//   task    up to MOST_QUERY_ROWS query rows (token and head) of one sequence that share a KV head: they pass over the
//           cache together, a block at a time, from the block with the first key that one of them sees. Scores of a row
//           are kept whole, so that a row's sums have one order in every batch and chunk.
// Reference: attention/reference.ts. AssemblyScript; compiled into cpu.wasm (cpu.wasm.ts).
import {
  ATTENTION_WINDOW,
  BLOCK_TABLES,
  CONTEXT_LENGTHS,
  HEAD_SIZE,
  INPUT,
  INPUT_STRIDE,
  KEYS,
  MAX_BLOCKS,
  MOST_QUERY_ROWS,
  NUM_HEADS,
  NUM_KV_HEADS,
  NUM_SEQUENCES,
  NUM_THREADS,
  OUTPUT,
  OUTPUT_STRIDE,
  QUERY_START,
  SCORE_SCALE,
  SCORE_STRIDE,
  SCRATCH,
  SCRATCH_BYTES,
  SLOT_MAPPING,
  VALUES,
  VALUE_STRIDE,
} from "../cpu_layout";
import { exp4, maxLanes, sumLanes } from "../cpu_math.wasm";
import { ceilDiv, rowAt, word } from "../cpu_step.wasm";

/** Query rows that are computed together, each key and value loaded once for all. */
const TILE: u32 = 4;
const BLOCK: u32 = 16;

/** Stores one token's keys and values at its slot. */
export function storeKv(call: usize, row: u32): void {
  const slot = load<u32>(<usize>load<u32>(SLOT_MAPPING) + (<usize>row << 2));
  const numKvHeads = word(call, NUM_KV_HEADS), headSize = word(call, HEAD_SIZE);
  const headBytes = <usize>headSize << 2, valueBytes = <usize>word(call, VALUE_STRIDE) << 2;
  const place = <usize>(slot % BLOCK);
  let key = rowAt(call, INPUT, INPUT_STRIDE, row) + <usize>word(call, NUM_HEADS) * headBytes;
  let value = key + <usize>numKvHeads * headBytes;
  for (let head: u32 = 0; head < numKvHeads; head++) {
    const index = <usize>(slot / BLOCK * numKvHeads + head);
    let to = <usize>word(call, KEYS) + index * headBytes * BLOCK + (place << 2);
    for (const end = key + headBytes; key < end; key += 4, to += BLOCK << 2) store<f32>(to, load<f32>(key));
    memory.copy(<usize>word(call, VALUES) + (index * BLOCK + place) * valueBytes, value, headBytes);
    value += headBytes;
  }
}

export function attentionTasks(call: usize): u32 {
  return tasksAt(call, rowsPerTask(call));
}

/** Tasks are large unless that leaves threads without work. */
function rowsPerTask(call: usize): u32 {
  return tasksAt(call, MOST_QUERY_ROWS) >= load<u32>(NUM_THREADS) ? MOST_QUERY_ROWS : TILE;
}

function tasksAt(call: usize, rows: u32): u32 {
  let tasks: u32 = 0;
  for (let s: u32 = 0, count = load<u32>(NUM_SEQUENCES); s < count; s++) tasks += tasksOf(call, s, rows);
  return tasks;
}

/** Tasks of sequence `s`, all KV heads together. */
@inline
function tasksOf(call: usize, s: u32, rows: u32): u32 {
  return ceilDiv(queriesOf(s) * groupOf(call), rows) * word(call, NUM_KV_HEADS);
}

@inline
function queriesOf(s: u32): u32 {
  const start = <usize>load<u32>(QUERY_START) + (<usize>s << 2);
  return load<u32>(start + 4) - load<u32>(start);
}

/** Query heads that share a KV head. */
@inline
function groupOf(call: usize): u32 {
  return word(call, NUM_HEADS) / word(call, NUM_KV_HEADS);
}

export function attention(call: usize, task: u32, thread: u32): void {
  const most = rowsPerTask(call);
  let s: u32 = 0;
  for (let tasks = tasksOf(call, 0, most); task >= tasks; tasks = tasksOf(call, s, most)) {
    task -= tasks;
    s++;
  }
  const kvHead = task % word(call, NUM_KV_HEADS);
  const first = task / word(call, NUM_KV_HEADS) * most;
  const group = groupOf(call), numQueries = queriesOf(s);
  const last = min(first + most, numQueries * group);
  const numTiles = ceilDiv(last - first, TILE);
  const firstToken = load<u32>(<usize>load<u32>(QUERY_START) + (<usize>s << 2));
  // Cached keys, which all queries see; query i sees i + 1 more.
  const past = load<u32>(<usize>load<u32>(CONTEXT_LENGTHS) + (<usize>s << 2)) - numQueries;
  const numKeys = past + (last - 1) / group + 1;
  const window = word(call, ATTENTION_WINDOW);
  // Blocks before this one no row of the task sees; all keys are counted from its first.
  const skipped = firstSeen(past + first / group + 1, window) / BLOCK;
  const numNear = numKeys - skipped * BLOCK;

  const headBytes = <usize>word(call, HEAD_SIZE) << 2;
  const scoreBytes = <usize>word(call, SCORE_STRIDE) << 2, valueBytes = <usize>word(call, VALUE_STRIDE) << 2;
  const queries = <usize>load<u32>(SCRATCH) + <usize>thread * <usize>load<u32>(SCRATCH_BYTES);
  const inverseSums = queries + <usize>MOST_QUERY_ROWS * valueBytes;
  const scores = inverseSums + (MOST_QUERY_ROWS << 2);
  const blockTable = <usize>load<u32>(BLOCK_TABLES) + (<usize>(s * load<u32>(MAX_BLOCKS) + skipped) << 2);

  const scale = load<f32>(call + SCORE_SCALE);
  for (let r: u32 = 0; r < numTiles * TILE; r++) {
    // A tile that is not full repeats its last row, and drops what comes of it.
    const row = min(first + r, last - 1), head = kvHead * group + row % group;
    const from = rowAt(call, INPUT, INPUT_STRIDE, firstToken + row / group) + <usize>head * headBytes;
    const to = queries + <usize>r * valueBytes;
    for (let at: usize = 0; at < headBytes; at += 4) store<f32>(to + at, load<f32>(from + at) * scale);
  }
  scoreKeys(call, queries, scores, blockTable, kvHead, numNear, numTiles);
  for (let r: u32 = 0; r < numTiles * TILE; r++) {
    const length = past + min(first + r, last - 1) / group + 1;
    const seen = firstSeen(length, window) - skipped * BLOCK, visible = length - skipped * BLOCK;
    softmax(scores + <usize>r * scoreBytes, seen, visible, numNear, inverseSums + <usize>(r << 2));
  }
  // The queries have done their work; the sums take their place.
  weighValues(call, scores, queries, blockTable, kvHead, numNear, numTiles);
  for (let row = first; row < last; row++) {
    const r = <usize>(row - first), head = kvHead * group + row % group;
    const from = queries + r * valueBytes, inverseSum = load<f32>(inverseSums + (r << 2));
    const to = rowAt(call, OUTPUT, OUTPUT_STRIDE, firstToken + row / group) + <usize>head * headBytes;
    for (let at: usize = 0; at < headBytes; at += 4) store<f32>(to + at, load<f32>(from + at) * inverseSum);
  }
}

/** The first position that the last of `length` tokens sees. */
@inline
function firstSeen(length: u32, window: u32): u32 {
  return length - min(length, window);
}

/** scores[r][k] = queries[r] · keys[k], for whole blocks. */
function scoreKeys(
  call: usize,
  queries: usize,
  scores: usize,
  blockTable: usize,
  kvHead: u32,
  numKeys: u32,
  numTiles: u32,
): void {
  const keyBytes = <usize>word(call, HEAD_SIZE) * (BLOCK << 2);
  const queryBytes = <usize>word(call, VALUE_STRIDE) << 2, scoreBytes = <usize>word(call, SCORE_STRIDE) << 2;
  for (let block: u32 = 0, count = ceilDiv(numKeys, BLOCK); block < count; block++) {
    const index = load<u32>(blockTable + (<usize>block << 2)) * word(call, NUM_KV_HEADS) + kvHead;
    const keys = <usize>word(call, KEYS) + <usize>index * keyBytes;
    for (let tile: u32 = 0; tile < numTiles; tile++) {
      const query = queries + <usize>(tile * TILE) * queryBytes;
      const to = scores + <usize>(tile * TILE) * scoreBytes + (<usize>block << 6);
      scoreEightKeys(keys, keyBytes, query, queryBytes, to, scoreBytes);
      scoreEightKeys(keys + 32, keyBytes, query, queryBytes, to + 32, scoreBytes);
    }
  }
}

/** Four queries' scores against half a block of keys. */
function scoreEightKeys(
  keys: usize,
  keyBytes: usize,
  query: usize,
  queryBytes: usize,
  to: usize,
  scoreBytes: usize,
): void {
  const query1 = query + queryBytes, query2 = query1 + queryBytes, query3 = query2 + queryBytes;
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
  let b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  for (let end = keys + keyBytes, at: usize = 0; keys < end; keys += BLOCK << 2, at += 4) {
    const ka = v128.load(keys), kb = v128.load(keys, 16);
    let q = v128.load32_splat(query + at);
    a0 = f32x4.relaxed_madd(ka, q, a0);
    b0 = f32x4.relaxed_madd(kb, q, b0);
    q = v128.load32_splat(query1 + at);
    a1 = f32x4.relaxed_madd(ka, q, a1);
    b1 = f32x4.relaxed_madd(kb, q, b1);
    q = v128.load32_splat(query2 + at);
    a2 = f32x4.relaxed_madd(ka, q, a2);
    b2 = f32x4.relaxed_madd(kb, q, b2);
    q = v128.load32_splat(query3 + at);
    a3 = f32x4.relaxed_madd(ka, q, a3);
    b3 = f32x4.relaxed_madd(kb, q, b3);
  }
  const to1 = to + scoreBytes, to2 = to1 + scoreBytes, to3 = to2 + scoreBytes;
  v128.store(to, a0);
  v128.store(to, b0, 16);
  v128.store(to1, a1);
  v128.store(to1, b1, 16);
  v128.store(to2, a2);
  v128.store(to2, b2, 16);
  v128.store(to3, a3);
  v128.store(to3, b3, 16);
}

/**
 * Replaces a row's scores by e^(score - max), 0 before `seen` and from `visible` on up to `numKeys`, and stores 1 / their
 * sum at `inverseSum`. A row of NaN stays one.
 */
function softmax(scores: usize, seen: u32, visible: u32, numKeys: u32, inverseSum: usize): void {
  const near = scores + (<usize>seen << 2), first = scores + (<usize>(seen & ~3) << 2);
  memory.fill(scores, 0, first - scores);
  // What lies in the first key's vector before it must not count, nor what lies in the last key's behind it.
  for (let at = first; at < near; at += 4) store<f32>(at, -Infinity);
  const end = scores + (<usize>visible << 2);
  for (let at = end, last = scores + (<usize>ceilDiv(visible, 4) << 4); at < last; at += 4) store<f32>(at, -Infinity);
  let most4 = f32x4.splat(-Infinity);
  for (let at = first; at < end; at += 16) most4 = f32x4.pmax(most4, v128.load(at));
  const most = f32x4.splat(maxLanes(most4));
  let sum = f32x4.splat(0), at = first;
  for (; at + 16 <= end; at += 16) {
    const p = exp4(f32x4.sub(v128.load(at), most));
    v128.store(at, p);
    sum = f32x4.add(sum, p);
  }
  let total = sumLanes(sum);
  if (at < end) {
    const p = exp4(f32x4.sub(v128.load(at), most));
    v128.store(at, p);
    for (; at < end; at += 4) total += load<f32>(at);
  }
  for (const last = scores + (<usize>numKeys << 2); at < last; at += 4) store<f32>(at, 0);
  for (at = first; at < near; at += 4) store<f32>(at, 0);
  store<f32>(inverseSum, <f32>1 / total);
}

/** sums[r] = sum over keys of scores[r][k] * values[k], a block of keys at a time: it stays in the first-level cache. */
function weighValues(
  call: usize,
  scores: usize,
  sums: usize,
  blockTable: usize,
  kvHead: u32,
  numKeys: u32,
  numTiles: u32,
): void {
  const valueBytes = <usize>word(call, VALUE_STRIDE) << 2, scoreBytes = <usize>word(call, SCORE_STRIDE) << 2;
  memory.fill(sums, 0, <usize>(numTiles * TILE) * valueBytes);
  for (let done: u32 = 0; done < numKeys; done += BLOCK) {
    const index = load<u32>(blockTable + (<usize>(done / BLOCK) << 2)) * word(call, NUM_KV_HEADS) + kvHead;
    const values = <usize>word(call, VALUES) + <usize>index * BLOCK * valueBytes;
    const end = values + <usize>min(BLOCK, numKeys - done) * valueBytes;
    for (let tile: u32 = 0; tile < numTiles; tile++) {
      const score = scores + <usize>(tile * TILE) * scoreBytes + (done << 2);
      const to = sums + <usize>(tile * TILE) * valueBytes;
      for (let at: usize = 0; at < valueBytes; at += 32) {
        addBlock(values + at, end, valueBytes, score, scoreBytes, to + at);
      }
    }
  }
}

/** Adds a block's values, weighed, to eight columns of the sums. */
function addBlock(value: usize, end: usize, valueBytes: usize, score: usize, scoreBytes: usize, sums: usize): void {
  const score1 = score + scoreBytes, score2 = score1 + scoreBytes, score3 = score2 + scoreBytes;
  const sums1 = sums + valueBytes, sums2 = sums1 + valueBytes, sums3 = sums2 + valueBytes;
  let a0 = v128.load(sums), b0 = v128.load(sums, 16);
  let a1 = v128.load(sums1), b1 = v128.load(sums1, 16);
  let a2 = v128.load(sums2), b2 = v128.load(sums2, 16);
  let a3 = v128.load(sums3), b3 = v128.load(sums3, 16);
  for (let at: usize = 0; value < end; value += valueBytes, at += 4) {
    const va = v128.load(value), vb = v128.load(value, 16);
    let p = v128.load32_splat(score + at);
    a0 = f32x4.relaxed_madd(va, p, a0);
    b0 = f32x4.relaxed_madd(vb, p, b0);
    p = v128.load32_splat(score1 + at);
    a1 = f32x4.relaxed_madd(va, p, a1);
    b1 = f32x4.relaxed_madd(vb, p, b1);
    p = v128.load32_splat(score2 + at);
    a2 = f32x4.relaxed_madd(va, p, a2);
    b2 = f32x4.relaxed_madd(vb, p, b2);
    p = v128.load32_splat(score3 + at);
    a3 = f32x4.relaxed_madd(va, p, a3);
    b3 = f32x4.relaxed_madd(vb, p, b3);
  }
  v128.store(sums, a0);
  v128.store(sums, b0, 16);
  v128.store(sums1, a1);
  v128.store(sums1, b1, 16);
  v128.store(sums2, a2);
  v128.store(sums2, b2, 16);
  v128.store(sums3, a3);
  v128.store(sums3, b3, 16);
}
