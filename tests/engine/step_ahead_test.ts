// A step that has begun before the tokens are known that it follows changes nothing but when it is done.
import assert from "node:assert/strict";
import type { GenerationRequest } from "../../engine/request.ts";
import { DeviceLostError } from "../../device/device_lost_error.ts";
import { LocalEngine } from "../../engine/local_engine.ts";
import { BACKGROUND_EVERY } from "../../engine/scheduler.ts";
import type { StepBatch, StepResult } from "../../kernels/step.ts";
import { FakeRunner, type FakeRunnerOptions } from "./fake_runner.ts";
import {
  collect,
  completionOf,
  fakeModel,
  openFakeEngine,
  request,
  textPrompt,
  until,
  VOCAB_SIZE,
} from "./fake_model.ts";
import { byteIds } from "./tiny_tokenizer.ts";

/** No drafts: where they pay, no step is begun ahead. */
const PLAIN = { speculation: false, typeThrough: false } as const;

/** The text, ids and log-probabilities of each request, all asked at once, and how the runner was used. */
async function answers(requests: readonly GenerationRequest[], options: FakeRunnerOptions) {
  await using fake = await openFakeEngine(options, PLAIN);
  const { engine, runners: [runner] } = fake;
  const replies = await Promise.all(requests.map((one) => collect(engine.submit(one))));
  const { freeBlocks, totalBlocks } = await engine.stats();
  assert.equal(freeBlocks, totalBlocks);
  const told = replies.map((events) =>
    events.flatMap((event) => event.kind === "prompt" ? [] : [untimed(event)])
  );
  return { told, ahead: runner.ahead };
}

function untimed(event: object): object {
  return Object.fromEntries(Object.entries(event).filter(([name]) => name !== "timings"));
}

Deno.test("LocalEngine gives the same answers with two steps in flight as with one, however requests end", async () => {
  const requests = Array.from(
    { length: 24 },
    (_, i) =>
      request(textPrompt(`def f${i}(x): ` + "y + ".repeat(i % 7)), {
        maxTokens: 1 + 3 * i % 50,
        temperature: i % 2,
        seed: i,
        ...(i % 3 === 0 && { ignoreEos: false, stop: ["a", "e"] }),
        ...(i % 4 === 0 && { logprobs: 2 }),
        ...(i % 5 === 0 && { presencePenalty: 1, frequencyPenalty: 0.5 }),
        ...(i % 6 === 0 && { n: 2 }),
      }),
  );
  const limits = { maxTokens: 40, maxSequences: 40, maxSamples: 40, numBlocks: 120 };
  const [one, two] = [
    await answers(requests, { limits, stepsInFlight: 1 }),
    await answers(requests, { limits, stepsInFlight: 2 }),
  ];
  assert.deepEqual(two.told, one.told);
  assert.equal(one.ahead, 0);
  assert.ok(two.ahead > 20, `${two.ahead} steps began ahead`);
});

Deno.test("LocalEngine has two steps in flight all the time while it only decodes, and none too many", async () => {
  const maxTokens = 60;
  await using fake = await openFakeEngine({}, PLAIN);
  const { engine, runners: [runner] } = fake;
  const { ids } = completionOf(await collect(engine.submit(request(textPrompt("abc"), { maxTokens }))));
  assert.equal(ids.length, maxTokens);
  assert.equal(runner.steps, maxTokens, "a step for each token: how long it may be is known beforehand");
  assert.equal(runner.ahead, maxTokens - 1, "all but the prompt's");
});

Deno.test("LocalEngine has two steps in flight although the cache has filled all blocks, in host memory too", async () => {
  const sizes = { maxTokens: 64, maxSequences: 16, maxSamples: 16, numBlocks: 120 };
  for (const numHostBlocks of [0, 40]) {
    await using fake = await openFakeEngine({ limits: { ...sizes, numHostBlocks } }, PLAIN);
    const { engine, runners: [runner] } = fake;
    // Of all lengths, so that in every step somebody needs a new block.
    const ask = (letter: string) =>
      Promise.all(Array.from({ length: 16 }, (_, i) => {
        const wanted = request(textPrompt(letter + String.fromCharCode(97 + i).repeat(15 + i)), {
          maxTokens: 64,
        });
        return collect(engine.submit(wanted));
      }));
    const first = (await ask("a")).map((events) => completionOf(events).ids);
    await ask("b");
    const { cachedBlocks, totalBlocks } = await engine.stats();
    assert.ok(cachedBlocks > totalBlocks - 20, `${cachedBlocks} of ${totalBlocks} blocks are cached`);
    const before = runner.ahead;
    await ask("c");
    assert.ok(runner.ahead - before > 45, `${runner.ahead - before} of 64 steps began ahead`);
    assert.deepEqual((await ask("a")).map((events) => completionOf(events).ids), first);
  }
});

for (const stepsInFlight of [1, 2]) {
  const order = stepsInFlight === 1 ? "after" : "before";
  Deno.test(`LocalEngine begins a step that is no step ahead ${order} it tells the tokens of the one before, ${stepsInFlight} in flight`, async () => {
    /** By step, the tokens that were told when the runner began with it; the third is the first that follows a decode. */
    const told: Promise<number>[] = [];
    // Somebody always waits for the one place, so that nothing is begun before the step under way is done.
    const limits = { maxSequences: 1 };
    const beforeStep = () =>
      void told.push(fake.engine.stats().then(({ generatedTokens }) => generatedTokens));
    await using fake = await openFakeEngine({ limits, stepsInFlight, beforeStep }, PLAIN);
    const first = collect(fake.engine.submit(request(textPrompt("x"), { maxTokens: 20 })));
    const second = collect(fake.engine.submit(request(textPrompt("abcdef"), { maxTokens: 2 })));
    await Promise.all([first, second]);
    const late = stepsInFlight - 1;
    // The prompt's token, which is not decoded, is told at once.
    const expected = Array.from({ length: 20 }, (_, step) => step < 2 ? step : step - late);
    assert.deepEqual((await Promise.all(told)).slice(0, 20), expected);
  });
}

Deno.test("LocalEngine takes from the step before each sequence's own draw, also after drafts of one that has ended", async () => {
  // It says its prompt again and again, so that drafts are right, until a stop string is told while its next drafts run.
  const letters = Array.from({ length: 60 }, (_, i) => String.fromCharCode(33 + (i + 17) % 60)).join("");
  const again = byteIds(letters);
  const next = (visible: readonly number[]) =>
    visible[0] === again[0] ? visible[visible.length - again.length] : undefined;
  const limits = { maxTokens: 128, maxSamples: 32, numBlocks: 40 };
  async function answer(beside: boolean) {
    let time = 0;
    await using fake = await openFakeEngine({ next, limits }, { typeThrough: false, now: () => time++ });
    const submit = (ids: number[], stop: string[]) =>
      collect(fake.engine.submit(request({ kind: "tokens", ids }, { maxTokens: 60, stop })));
    const drafting = beside ? submit(again, ["Z"]) : undefined;
    const { ids } = completionOf(await submit(byteIds("other"), []));
    if (drafting) assert.ok(completionOf(await drafting).finish.drafts!.accepted > 10);
    assert.ok(fake.runners[0].ahead > 10);
    return ids;
  }
  assert.deepEqual(await answer(true), await answer(false));
});

Deno.test("LocalEngine lets a newcomer in with the second step after it came", async () => {
  const holds: (() => void)[] = [];
  const beforeStep = () => new Promise<void>((resolve) => holds.push(resolve));
  await using fake = await openFakeEngine({ beforeStep }, PLAIN);
  const { engine, runners: [runner] } = fake;
  const first = collect(engine.submit(request(textPrompt("abc"), { maxTokens: 40 })));
  async function pass() {
    await until(() => holds.length > 0);
    holds.shift()!();
  }
  for (let i = 0; i < 5; i++) await pass();
  await until(() => holds.length > 0);
  const before = runner.steps;
  const second = engine.submit(request(textPrompt("x"), { maxTokens: 1 }));
  const answered = collect(second);
  let done = false;
  answered.then(() => done = true);
  while (!done) {
    await pass();
    await until(() => done || holds.length > 0);
  }
  assert.ok(runner.steps - before <= 3, `${runner.steps - before} steps until the newcomer had its token`);
  for (let over = false; !over;) {
    const rest = await Promise.race([
      first.then(() => "over"),
      until(() => holds.length > 0).then(() => "held"),
    ]);
    over = rest === "over";
    if (!over) await pass();
  }
});

Deno.test("LocalEngine gives batch work no more steps beside live work with two steps in flight than with one", async () => {
  const rows: number[] = [];
  // So many rows that in the background's turn all four decodes of batch work have one.
  const limits = { maxTokens: 256, maxSequences: 8, maxSamples: 32, numBlocks: 80 };
  const beforeStep = ({ tokenIds }: StepBatch) => {
    rows.push(tokenIds.length);
    return new Promise<void>((resolve) => setTimeout(resolve, 0));
  };
  await using fake = await openFakeEngine({ limits, beforeStep }, PLAIN);
  const submit = (text: string, maxTokens: number, priority: "live" | "batch") =>
    collect(fake.engine.submit(request(textPrompt(text), { maxTokens, priority })));
  const batch = Promise.all([1, 2, 3, 4].map((i) => submit(`b${i}`, 100, "batch")));
  await until(() => rows.length > 10);
  const before = rows.length;
  await submit("x", 64, "live");
  const beside = rows.slice(before + 2).filter((count) => count > 1).length;
  assert.ok(beside <= Math.ceil(64 / BACKGROUND_EVERY) + 1, `${beside} of 64 steps had batch rows`);
  await batch;
});

Deno.test("LocalEngine tells nobody a token twice who was in a step ahead of one that failed, with host memory", async () => {
  const holds: PromiseWithResolvers<void>[] = [];
  const beforeStep = () => {
    const hold = Promise.withResolvers<void>();
    holds.push(hold);
    return hold.promise;
  };
  const maxTokens = 7;
  const wanted = request(textPrompt("x"), { maxTokens: 4 });
  await using other = await openFakeEngine({}, PLAIN);
  const alone = completionOf(await collect(other.engine.submit(wanted))).ids;
  await using fake = await openFakeEngine({ beforeStep, limits: { numHostBlocks: 8 } }, PLAIN);
  const { engine, runners: [runner] } = fake;
  const run = runner.step.bind(runner);
  let begun = 0;
  runner.step = (batch) => {
    begun++;
    return run(batch);
  };
  const first = assert.rejects(
    collect(engine.submit(request(textPrompt("abc"), { maxTokens }))),
    /a step that fails/,
  );
  for (let i = 0; i < maxTokens - 2; i++) {
    await until(() => holds.length > 0);
    holds.shift()!.resolve();
  }
  await until(() => holds.length > 0 && begun === maxTokens);
  const second = collect(engine.submit(wanted));
  holds.shift()!.resolve();
  // Its prompt is read in the step after the other's last.
  await until(() => holds.length > 0 && begun === maxTokens + 1);
  holds.shift()!.reject(new Error("a step that fails"));
  await first;
  let done = false;
  const over = () => void (done = true);
  second.then(over, over);
  while (!done) {
    await until(() => done || holds.length > 0);
    holds.shift()?.resolve();
  }
  assert.deepEqual(completionOf(await second).ids, alone);
});

/** Loses its device in the first of two steps that are under way; the second is never answered. */
class DyingRunner extends FakeRunner {
  dying = false;
  #told = false;

  override async step(batch: StepBatch): Promise<StepResult> {
    if (!this.dying) return await super.step(batch);
    if (this.#told) return await new Promise<never>(() => {});
    this.#told = true;
    throw new DeviceLostError("gone");
  }
}

Deno.test("LocalEngine closes though a lost device never answers the second of two steps", async () => {
  const runners: DyingRunner[] = [];
  const ready = Promise.withResolvers<void>();
  const engine = new LocalEngine({
    ...{ modelId: "fake", tokenHealing: false, reopenDelaysMs: [0] },
    openModel: () => {
      if (runners.length > 0) return Promise.reject(new Error("no device any more"));
      const beforeStep = () => new Promise<void>((resolve) => setTimeout(resolve, 1));
      runners.push(new DyingRunner({ vocabSize: VOCAB_SIZE, beforeStep }));
      return Promise.resolve(fakeModel(runners[0]));
    },
    onState: ({ phase }) => phase === "ready" && ready.resolve(),
  });
  await ready.promise;
  const answer = assert.rejects(collect(engine.submit(request(textPrompt("abc"), { maxTokens: 60 }))));
  await until(() => runners[0].ahead > 2);
  runners[0].dying = true;
  await answer;
  await until(() => engine.state.phase === "failed");
  await engine[Symbol.asyncDispose]();
});
