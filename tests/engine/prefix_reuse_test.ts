// The cache seen from the engine: it changes no token, and saves what an editor's next request has in common with those
// before.
import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import type { Engine } from "../../engine/engine.ts";
import type { FimLayout, GenerationRequest, Prompt } from "../../engine/request.ts";
import { Editor, edits } from "./edit_traces.ts";
import {
  collect,
  complete,
  completionOf,
  openFakeEngine,
  request,
  textPrompt,
  VOCAB_SIZE,
} from "./fake_model.ts";
import { byteIds } from "./tiny_tokenizer.ts";

const FILE = "import os\n\ndef f(x):\n    return x\n\ndef g(x):\n    re";
const LIMITS = { maxTokens: 24, maxBlocksPerSequence: 16 };

/**
 * @param slots for the states of recurrent layers
 * @param least share of the prompts' tokens that must be reused
 */
async function checkEdits(slots: fc.Arbitrary<number>, least: number): Promise<void> {
  const layout = fc.constantFrom("psm" as const, "spm" as const, undefined);
  const options = {
    prompt: fc.boolean(),
    layout,
    n: fc.integer({ min: 1, max: 2 }),
    salt: fc.constantFrom("", "b"),
  };
  const trace = fc.array(fc.record({ edit: edits, ...options }), { minLength: 5, maxLength: 25 });
  let reused = 0, prompts = 0;
  await fc.assert(
    fc.asyncProperty(
      trace,
      fc.integer({ min: 16, max: 40 }),
      fc.nat(50),
      slots,
      async (trace, numBlocks, cursor, numStateSlots) => {
        await using cold = await openFakeEngine({ limits: LIMITS }, { cachePrompts: false });
        await using cached = await openFakeEngine({ limits: { ...LIMITS, numBlocks, numStateSlots } }, {
          typeThrough: false,
        });
        const editor = new Editor(FILE, cursor);
        let offered = "";
        for (const { edit, prompt, layout, n, salt } of trace) {
          editor.apply(edit, offered);
          const { prefix, suffix } = editor.state;
          const wanted = request(
            prompt
              ? textPrompt(prefix || "x")
              : { kind: "infill", prefix, suffix, ...(layout && { layout }) },
            { maxTokens: 6, n, cacheSalt: salt },
          );
          const events = await collect(cached.engine.submit(wanted)), here = completionOf(events);
          const used = events[0].kind === "prompt" ? events[0].layout : undefined;
          const plain = used ? { ...wanted, prompt: { ...wanted.prompt, layout: used } as Prompt } : wanted;
          const there = await complete(cold.engine, plain);
          assert.deepEqual(here.ids, there.ids);
          offered = here.text;
        }
        const { freeBlocks, totalBlocks, cachedTokens, promptTokens, ...states } = await cached.engine
          .stats();
        assert.equal(freeBlocks, totalBlocks);
        assert.equal(states.freeStateSlots, numStateSlots);
        assert.equal((await cold.engine.stats()).cachedTokens, 0);
        reused += cachedTokens;
        prompts += promptTokens;
        await new Promise((resolve) => setTimeout(resolve, 1)); // The engine checks its cache when idle.
        assert.equal(cached.engine.state.phase, "ready", "the cache's integrity check must hold");
      },
    ),
    { numRuns: 40 },
  );
  assert.ok(reused > prompts * least, `too tame: ${reused} of ${prompts} tokens were reused`);
}

Deno.test("LocalEngine gives an editor the same tokens cold and cached, over random edits", async () => {
  await checkEdits(fc.constant(0), 1 / 4);
});

Deno.test("LocalEngine does so where layers are recurrent, with few states kept or many", async () => {
  await checkEdits(fc.integer({ min: 3, max: 40 }), 1 / 8);
});

Deno.test("LocalEngine.submit() reports what was cached, and counts what was computed", async () => {
  await using fake = await openFakeEngine();
  const wanted = (text: string, options: Partial<GenerationRequest> = {}) =>
    request(textPrompt(text), { maxTokens: 1, ...options });
  const text = "abcghijklmnopqrstuvwyz 01234567890123";
  const cachedOf = async (request: GenerationRequest) =>
    (await complete(fake.engine, request)).finish.cachedTokens;
  assert.equal(await cachedOf(wanted(text)), 0);
  assert.equal(await cachedOf(wanted(text)), text.length - 1);
  assert.equal(await cachedOf(wanted(text + "!")), text.length);
  assert.equal(await cachedOf(wanted(text, { cachePrompt: false })), 0);
  assert.equal(await cachedOf(wanted(text, { cacheSalt: "key" })), 0);
  assert.equal(await cachedOf(wanted(text, { cacheSalt: "key", n: 3 })), text.length - 1);
  const { promptTokens, cachedTokens, computedTokens } = await fake.engine.stats();
  assert.equal(promptTokens, 6 * text.length + 1);
  assert.equal(cachedTokens, 3 * text.length - 2);
  assert.equal(computedTokens, promptTokens - cachedTokens + 2, "two samples more compute a token each");
});

Deno.test("LocalEngine stays with the layout that is cached, and reports it", async () => {
  await using fake = await openFakeEngine({ limits: { maxTokens: 128, maxBlocksPerSequence: 16 } });
  await using psmServer = await openFakeEngine({}, { fimLayout: "psm" });
  const layoutOf = async (engine: Engine, prefix: string, wanted?: FimLayout) => {
    const prompt = {
      kind: "infill" as const,
      prefix,
      suffix: prefix[0].repeat(20),
      ...(wanted && { layout: wanted }),
    };
    const [first] = await collect(engine.submit(request(prompt, { maxTokens: 1 })));
    return first.kind === "prompt" && first.layout;
  };
  assert.equal(await layoutOf(fake.engine, "cold file"), "spm");
  assert.equal(await layoutOf(fake.engine, "another file", "psm"), "psm");
  assert.equal(
    await layoutOf(fake.engine, "another file!"),
    "psm",
    "its prefix is cached in this layout only",
  );
  assert.equal(await layoutOf(fake.engine, "cold file!"), "spm");
  assert.equal(await layoutOf(psmServer.engine, "x"), "psm");
  assert.equal(await layoutOf(psmServer.engine, "x", "spm"), "spm");
});

Deno.test("LocalEngine computes only what is typed where the rest stands before it", async () => {
  await using fake = await openFakeEngine({ limits: { maxTokens: 128, maxBlocksPerSequence: 16 } });
  const infill = (prefix: string, layout: "psm" | "spm"): GenerationRequest =>
    request({ kind: "infill", prefix, suffix: "s".repeat(50), layout }, { maxTokens: 1 });
  const computed = async (wanted: GenerationRequest) => {
    const before = fake.runners[0].rows;
    await complete(fake.engine, wanted);
    return fake.runners[0].rows - before;
  };
  const typed = ["p", "pq", "pqr", "pqrs"];
  assert.deepEqual(await Promise.all([computed(infill("p", "spm"))]), [54]);
  for (const prefix of typed.slice(1)) assert.equal(await computed(infill(prefix, "spm")), 1);
  assert.equal(await computed(infill("p", "psm")), 53);
  for (const prefix of typed.slice(1)) assert.equal(await computed(infill(prefix, "psm")), 53);
});

Deno.test("LocalEngine keeps the state as if accepted warm: the old text with the completion after it is cached", async () => {
  await using fake = await openFakeEngine({ limits: { maxTokens: 128, maxBlocksPerSequence: 16 } });
  const wanted = (prefix: string, layout: FimLayout, maxTokens: number): GenerationRequest => ({
    // Bytes that the tokenizer merges with nothing: the completion's tokens are the text's.
    prompt: { kind: "infill", prefix, suffix: "s".repeat(30), layout },
    temperature: 0,
    maxTokens,
    logitBias: [...Array(19).keys(), ...outside(byteIds("abcgh"))].map((id) => ({ id, delta: -100 })),
  });
  for (const layout of ["spm", "psm"] as const) {
    const prefix = layout.repeat(3);
    const first = await complete(fake.engine, wanted(prefix, layout, 20));
    assert.equal(first.ids.length, 20);
    const events = await collect(fake.engine.submit(wanted(prefix + first.text, layout, 1)));
    const promptTokens = events[0].kind === "prompt" ? events[0].tokenIds.length : 0;
    assert.equal(promptTokens, 3 + 30 + prefix.length + 20);
    const { cachedTokens } = completionOf(events).finish;
    // In SPM the last token given is the only one that is not computed. In PSM the completion was written after the
    // suffix and stands before it now: what is left is the prefix.
    const expected = layout === "spm" ? promptTokens - 1 : 1 + prefix.length;
    assert.equal(cachedTokens, expected, layout);
  }
});

/** All byte tokens and merges but these. */
function outside(ids: readonly number[]): number[] {
  return Array.from({ length: VOCAB_SIZE - 19 }, (_, i) => 19 + i).filter((id) => !ids.includes(id));
}
