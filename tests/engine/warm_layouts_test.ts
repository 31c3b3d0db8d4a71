// Both layouts of an editor's infills are kept warm, and the cheaper one is taken.
import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import { WarmLayouts } from "../../engine/warm_layouts.ts";
import { collect, completionOf, openFakeEngine, request, until } from "./fake_model.ts";

/** Each row takes long enough for a prompt to be felt. */
async function openSlowEngine({ stepMs = 0, ...options }: { warmUp?: boolean; stepMs?: number } = {}) {
  const clock = { now: 0 };
  const limits = { maxBlocksPerSequence: 32, numBlocks: 256, maxTokens: 64 };
  const beforeStep = ({ tokenIds }: { tokenIds: Uint32Array }) =>
    void (clock.now += stepMs + 10 * tokenIds.length);
  const fake = await openFakeEngine({ limits, beforeStep, stepsInFlight: 1 }, {
    now: () => clock.now,
    typeThrough: false,
    ...options,
  });
  const { engine, runners: [runner] } = fake;
  /** The completion, its layout, and the rows that were computed for it. */
  async function ask(prefix: string, suffix: string, more: Partial<GenerationRequest> = {}) {
    const before = runner.rows;
    const prompt = { kind: "infill", prefix, suffix } as const;
    const events = await collect(
      engine.submit(request(prompt, { maxTokens: 2, requester: { session: "me" }, ...more })),
    );
    const [first] = events;
    assert.ok(first.kind === "prompt");
    return { layout: first.layout, rows: runner.rows - before, ...completionOf(events) };
  }
  const idle = () =>
    until(async () => {
      const { running, waiting } = await engine.stats();
      return running + waiting === 0;
    });
  return { ask, idle, engine, runner, [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose]() };
}

const PREFIX = "p".repeat(50), SUFFIX = "s".repeat(20);

Deno.test("LocalEngine computes the suffix alone when it changes, and a letter alone once there was time", async () => {
  await using server = await openSlowEngine();
  const { ask, idle } = server;
  assert.equal((await ask(PREFIX, SUFFIX)).layout, "spm", "nobody knows yet that a row takes long");
  assert.equal(
    (await ask(PREFIX, "q".repeat(20))).layout,
    "psm",
    "nothing is cached, and the suffix may change again",
  );
  const deleted = await ask(PREFIX, "r".repeat(20));
  assert.deepEqual(
    [deleted.layout, deleted.rows],
    ["psm", 20 + 1 + 1],
    "suffix, a control token, and a decode",
  );
  await idle();
  const jumped = await ask(PREFIX, "t".repeat(20));
  assert.deepEqual(
    [jumped.layout, jumped.rows],
    ["psm", 20 + 1 + 1],
    "as much, with SPM ready for what was deleted",
  );
  await idle();
  const typed = await ask(PREFIX + "x", "t".repeat(20));
  assert.deepEqual([typed.layout, typed.rows], ["spm", 1 + 1], "the letter and a decode");
});

Deno.test("LocalEngine takes SPM at the latest when PSM has cost twice as much, where there is no time between letters", async () => {
  await using server = await openSlowEngine();
  const { ask, idle } = server;
  await ask(PREFIX, SUFFIX);
  await idle();
  const layouts: (string | undefined)[] = [];
  let rows = 0;
  for (let letters = 0; letters < 8; letters++) {
    const [asked] = await Promise.all([ask(PREFIX + "x".repeat(letters), "t".repeat(20))]);
    layouts.push(asked.layout);
    rows += asked.rows;
  }
  const first = layouts.indexOf("spm");
  assert.ok(first > 0 && layouts.slice(first).every((layout) => layout === "spm"), `${layouts}`);
  assert.ok(rows < 3 * (50 + 20 + 3) + 8 * 3, `${rows} rows`);
});

Deno.test("LocalEngine computes some four prompts at most before it takes SPM, where nothing was cached", async () => {
  await using server = await openSlowEngine();
  let rows = 0, numTyped = 0;
  for (; numTyped < 20; numTyped++) {
    const asked = await server.ask("q".repeat(100) + "x".repeat(numTyped), SUFFIX);
    rows += asked.rows;
    if (asked.layout === "spm") break;
  }
  const whole = 100 + 20 + 3 + numTyped;
  assert.ok(numTyped < 20 && rows < 4.2 * whole, `${rows} rows for ${numTyped} letters and ${whole} tokens`);
});

Deno.test("LocalEngine computes nothing ahead when all of the other layout is there, however long a step takes", async () => {
  await using server = await openSlowEngine({ stepMs: 100 });
  for (let turn = 0; turn < 3; turn++) {
    await server.ask(PREFIX, SUFFIX);
    await server.idle();
  }
  const { rows } = server.runner;
  await server.ask(PREFIX, SUFFIX);
  await server.idle();
  assert.equal(server.runner.rows - rows, 1 + 1, "the prompt's last token and a decode");
});

Deno.test("LocalEngine cuts infills to as many tokens as it is told, and no others", async () => {
  const infill = { kind: "infill", prefix: PREFIX, suffix: SUFFIX } as const;
  await using fake = await openFakeEngine({}, { infillContext: 64 });
  for (const layout of ["psm", "spm"] as const) {
    const [prompt] = await collect(fake.engine.submit(request({ ...infill, layout })));
    assert.ok(prompt.kind === "prompt" && prompt.tokenIds.length <= 64 && prompt.truncated);
  }
  const [text] = await collect(
    fake.engine.submit(request({ kind: "text", text: "x".repeat(80), parseSpecial: false })),
  );
  assert.ok(text.kind === "prompt" && text.tokenIds.length === 80);
});

Deno.test("LocalEngine prepares nothing where that is off, for requests that name a layout, nor for nobody", async () => {
  const askers: [object, Partial<GenerationRequest>][] = [
    [{ warmUp: false }, {}],
    [{}, { requester: { key: "nobody in particular" } }],
    [{}, { priority: "batch" }],
    [{}, { cachePrompt: false }],
  ];
  for (const [options, more] of askers) {
    await using server = await openSlowEngine(options);
    const { rows } = await server.ask(PREFIX, SUFFIX, more);
    await server.idle();
    assert.equal(rows, 50 + 20 + 3 + 1);
    assert.equal(server.runner.rows, rows, JSON.stringify([options, more]));
  }
});

Deno.test("LocalEngine gives the same completions in a layout, whatever was prepared, and holds no block in the end", async () => {
  const edit = fc.record({
    prefix: fc.integer({ min: 0, max: 60 }),
    suffix: fc.constantFrom("s", "t", "u"),
    session: fc.constantFrom("a", "b"),
    pause: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { minLength: 2, maxLength: 10 }), async (edits) => {
      await using warm = await openSlowEngine();
      await using plain = await openSlowEngine({ warmUp: false });
      for (const { prefix, suffix, session, pause } of edits) {
        const [before, after] = ["p".repeat(prefix), suffix.repeat(20)];
        const got = await warm.ask(before, after, { requester: { session } });
        const layout = got.layout!;
        const prompt = { kind: "infill", prefix: before, suffix: after, layout } as const;
        const wanted = completionOf(
          await collect(plain.engine.submit(request(prompt, { maxTokens: 2, cachePrompt: false }))),
        );
        assert.deepEqual(got.ids, wanted.ids);
        if (pause) await warm.idle();
      }
      await warm.idle();
      const { freeBlocks, totalBlocks } = await warm.engine.stats();
      assert.equal(freeBlocks, totalBlocks);
    }),
    { numRuns: 60 },
  );
});

Deno.test("WarmLayouts keeps no more of an editor's suffix than a prompt has room for", () => {
  const layouts = new WarmLayouts({
    msOf: () => 0,
    steadyPart: (ids) => ids,
    warm: () => undefined,
    withdraw: () => {},
  });
  const before = Deno.memoryUsage().heapUsed;
  for (let editor = 0; editor < 256; editor++) {
    const suffix = JSON.parse(`"${"s".repeat(2 ** 21)}${editor}"`); // As a body is read.
    const prompt = { kind: "infill", prefix: "", suffix } as const;
    layouts.begin(request(prompt, { requester: { session: `${editor}` } }));
  }
  const mebibytes = (Deno.memoryUsage().heapUsed - before) / 2 ** 20;
  assert.ok(mebibytes < 256, `${mebibytes} MiB for 512 MiB of suffixes`);
  assert.ok(
    layouts.begin(request({ kind: "infill", prefix: "", suffix: "" }, { requester: { session: "0" } })),
  );
});
