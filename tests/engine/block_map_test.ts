// The map of the KV cache's blocks, from the pools to the engine's interface.
import assert from "node:assert/strict";
import { BLOCK_KINDS, type BlockKind } from "../../engine/block_map.ts";
import { Machine, numbers } from "./cache_machine.ts";
import { collect, Gate, openFakeEngine, request, textPrompt, until } from "./fake_model.ts";

/** How many there are of each kind. */
function count(bytes: Uint8Array): Partial<Record<BlockKind, number>> {
  const kinds = Map.groupBy(bytes, (byte) => BLOCK_KINDS[byte]);
  return Object.fromEntries([...kinds].map(([kind, blocks]) => [kind, blocks.length]));
}

Deno.test("PrefixCache.blockMap tells who holds a block, and whether it is cached once nobody does", () => {
  const machine = new Machine(8, 4);
  const kinds = () => count(machine.cache.blockMap.device);
  assert.deepEqual(kinds(), { empty: 8 });
  const first = machine.admit("", numbers(40))!;
  assert.deepEqual(kinds(), { empty: 5, held: 3 }, "held before anything is computed");
  machine.advance(first, 40);
  assert.deepEqual(kinds(), { empty: 5, held: 3 }, "the tree is no holder");
  const second = machine.admit("", [...numbers(32), 0])!;
  assert.deepEqual(kinds(), { empty: 4, held: 2, shared: 2 });
  machine.end(first);
  assert.deepEqual(kinds(), { empty: 4, cached: 1, held: 3 });
  for (const block of second.table) {
    assert.equal(BLOCK_KINDS[machine.cache.blockMap.device[block]], "held");
  }
  machine.end(second);
  assert.deepEqual(kinds(), { empty: 5, cached: 3 });
});

Deno.test("PrefixCache.blockMap has the slots of host memory where blocks are parked", () => {
  const machine = new Machine(4, 4);
  for (const first of [0, 100]) {
    const holder = machine.admit("", numbers(40, first))!;
    machine.advance(holder, 40);
    machine.end(holder);
  }
  const { device, host } = machine.cache.blockMap;
  assert.deepEqual([count(device), count(host)], [{ cached: 4 }, { cached: 2, empty: 2 }]);
  assert.deepEqual(new Machine(4).cache.blockMap.host, new Uint8Array());
});

Deno.test("LocalEngine.blocks() agrees with what its statistics count", async () => {
  const gate = new Gate();
  await using fake = await openFakeEngine({ beforeStep: () => gate.pass() });
  using _ = { [Symbol.dispose]: () => gate.open() };
  const { engine } = fake;
  const completions = Promise.all(
    ["p".repeat(40), "q".repeat(40)].map((text) => collect(engine.submit(request(textPrompt(text))))),
  );
  completions.catch(() => {}); // Or a failed assertion would be hidden behind the engine's end.
  await until(() => gate.waiting === 1);
  const running = count((await engine.blocks()).device);
  const { freeBlocks, totalBlocks } = await engine.stats();
  assert.ok(running.held! > 0);
  assert.equal((running.held ?? 0) + (running.shared ?? 0), totalBlocks - freeBlocks);
  gate.open();
  await completions;
  const after = count((await engine.blocks()).device), { cachedBlocks } = await engine.stats();
  assert.ok(cachedBlocks > 0);
  assert.deepEqual(after, { cached: cachedBlocks, empty: totalBlocks - cachedBlocks });
});
