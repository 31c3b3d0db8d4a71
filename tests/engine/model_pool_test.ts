// The pool of models, with engines that load and answer when they are told to.
import { deepStrictEqual, equal, match, ok, rejects, throws } from "node:assert/strict";
import type { Engine, EngineState, ModelInfo } from "../../engine/engine.ts";
import { EngineUnavailableError } from "../../engine/errors.ts";
import { ModelPool, type PoolEvent, type PoolOptions } from "../../engine/model_pool.ts";
import type { PoolModel } from "../../engine/pool_slot.ts";
import type { GenerationEvent, GenerationRequest } from "../../engine/request.ts";
import { Random, testSeed } from "../kernels/random.ts";

const REQUEST = { prompt: { kind: "text", text: "x", parseSpecial: false } } as GenerationRequest;

/** An engine whose requests last until they are told to end. */
class TestEngine implements Engine {
  state: EngineState = { phase: "loading", progress: 0.5 };
  readonly #id: string;
  readonly #running = new Set<PromiseWithResolvers<void>>();
  isClosed = false;

  constructor(id: string, loadMs = 0, failure?: string) {
    this.#id = id;
    setTimeout(
      () => this.state = failure ? { phase: "failed", reason: failure } : { phase: "ready" },
      loadMs,
    );
  }

  get model(): ModelInfo {
    if (this.state.phase === "loading") throw new EngineUnavailableError("loading", "loading");
    return infoOf(this.#id);
  }

  async *submit(_: GenerationRequest, signal?: AbortSignal): AsyncIterable<GenerationEvent> {
    if (this.isClosed) throw new EngineUnavailableError("The engine was closed", "closed");
    const end = Promise.withResolvers<void>();
    end.promise.catch(() => {});
    this.#running.add(end);
    const abort = () => end.reject(signal!.reason);
    signal?.addEventListener("abort", abort);
    try {
      yield { kind: "token", text: this.#id } as GenerationEvent;
      await end.promise;
    } finally {
      this.#running.delete(end);
      signal?.removeEventListener("abort", abort);
    }
  }

  get numRunning(): number {
    return this.#running.size;
  }

  finish(): void {
    for (const { resolve } of this.#running) resolve();
  }

  tokenize = () => Promise.resolve([1, 2]);
  detokenize = () => Promise.resolve(this.#id);
  tokenBytes = (ids: readonly number[]) => Promise.resolve(ids.map((id) => new Uint8Array([id])));
  blocks = () => Promise.resolve({ device: new Uint8Array([1]), host: new Uint8Array() });
  stats = () => Promise.reject(new Error("not asked"));
  sequences = () => Promise.resolve([]);

  [Symbol.asyncDispose](): Promise<void> {
    this.isClosed = true;
    return Promise.resolve();
  }
}

function infoOf(id: string): ModelInfo {
  const sizes = { contextLength: 100, vocabSize: 10, width: 4, numParameters: 5, weightBytes: 20 };
  const device = {
    architecture: "test",
    fileFormat: "safetensors" as const,
    backend: "cpu",
    adapter: "test",
    eosTokenId: 0,
  };
  return { id, ...sizes, ...device, fim: { supported: true, missing: [] } };
}

interface Bench {
  readonly pool: ModelPool;
  readonly events: PoolEvent[];
  /** All engines that were ever opened, by model. */
  readonly opened: Record<string, TestEngine[]>;
}

/** Models of 10 bytes each, unless `bytes` says otherwise. */
function bench(
  ids: readonly string[],
  options: Partial<PoolOptions> & { fails?: Record<string, number>; bytes?: PoolModel["bytes"] } = {},
): Bench {
  const events: PoolEvent[] = [], opened: Record<string, TestEngine[]> = {};
  const { fails = {}, bytes = () => 10, ...poolOptions } = options;
  const models = ids.map((id) => ({
    listed: infoOf(id),
    bytes,
    open: () => {
      const before = (opened[id] ??= []).length;
      const engine = new TestEngine(id, 1, before < (fails[id] ?? 0) ? "the file is broken" : undefined);
      opened[id].push(engine);
      return engine;
    },
  }));
  const pool = new ModelPool(models, {
    budgetBytes: 20,
    pollMs: 1,
    onEvent: (event) => events.push(event),
    ...poolOptions,
  });
  return { pool, events, opened };
}

/** Starts a request and returns once its first event has come. */
async function start(engine: Engine, signal?: AbortSignal) {
  const events = engine.submit(REQUEST, signal)[Symbol.asyncIterator]();
  const { value } = await events.next();
  return { text: (value as { text: string }).text, end: () => events.next(), leave: () => events.return!() };
}

const named = ({ events }: Bench) => events.map(({ kind, id }) => `${kind} ${id}`);

Deno.test("ModelPool loads the first model at once and others when they are named", async () => {
  const test = bench(["a", "b"]), { pool, opened } = test;
  equal(pool.primary.state.phase, "loading");
  throws(() => pool.primary.model, EngineUnavailableError);
  deepStrictEqual(pool.statuses().map(({ phase }) => phase), ["loading", "unloaded"]);
  equal((await pool.choose(undefined))!.model.id, "a");
  equal(await pool.choose(""), await pool.choose("a"));
  equal(await pool.choose("c"), undefined);
  deepStrictEqual([pool.find("c"), pool.find(""), pool.find(undefined)], [
    undefined,
    pool.primary,
    pool.primary,
  ]);
  deepStrictEqual(named(test), ["loading a", "loaded a"]);
  equal(pool.find("b")!.state.phase, "ready");
  deepStrictEqual(Object.keys(opened), ["a"], "to look at a model loads it");
  equal((await pool.choose("b"))!.model.id, "b");
  equal(pool.find("b"), await pool.choose("b"));
  deepStrictEqual(pool.statuses().map(({ id, phase, users }) => [id, phase, users]), [["a", "ready", 0], [
    "b",
    "ready",
    0,
  ]]);
  deepStrictEqual(pool.list().map(({ id }) => id), ["a", "b"]);
  await pool[Symbol.asyncDispose]();
  ok(opened.a[0].isClosed && opened.b[0].isClosed);
});

Deno.test("ModelPool evicts the model that was not used for longest, and loads it again when it is asked for", async () => {
  const test = bench(["a", "b", "c"]), { pool, opened } = test;
  await using _ = pool;
  const [a, b] = [await pool.choose("a"), await pool.choose("b")];
  await pool.choose("a");
  await pool.choose("c");
  deepStrictEqual(named(test).slice(4), ["evicted b", "loading c", "loaded c"]);
  ok(opened.b[0].isClosed && !opened.a[0].isClosed);
  // A model that had to give way takes requests as any other.
  equal(b!.state.phase, "ready");
  equal(b!.model.id, "b");
  const request = await start(b!);
  equal(request.text, "b");
  ok(opened.a[0].isClosed && opened.b.length === 2);
  await request.leave();
  equal(a!.model.id, "a");
  await rejects(a!.blocks(), /The model is not loaded/);
  deepStrictEqual(await a!.tokenize("x"), [1, 2]);
  equal(opened.a.length, 2);
  equal((await a!.blocks()).device.length, 1);
  deepStrictEqual(await a!.tokenBytes([7]), [new Uint8Array([7])]);
});

Deno.test("ModelPool never evicts a model in use: who needs the room waits until it is idle", async () => {
  const { pool, opened } = bench(["a", "b"], { budgetBytes: 10 });
  await using _ = pool;
  const request = await start(pool.primary), waiting = pool.choose("b");
  await new Promise((resolve) => setTimeout(resolve, 30));
  ok(!opened.a[0].isClosed && !opened.b);
  opened.a[0].finish();
  await request.end();
  equal((await waiting)!.model.id, "b");
  ok(opened.a[0].isClosed);
});

Deno.test("ModelPool refuses a model for which no room is made in time", async () => {
  const { pool, opened } = bench(["a", "b"], { budgetBytes: 10, roomTimeoutMs: 20 });
  await using _ = pool;
  await start(pool.primary);
  const refused = await pool.choose("b").then(() => undefined, (error) => error);
  ok(refused instanceof EngineUnavailableError && refused.retryAfter === 5);
  match(refused.message, /There is no memory for the model "b" while "a" is in use; try again shortly/);
  equal(opened.a[0].isClosed, false);
});

Deno.test("ModelPool forgets whoever leaves while a model loads, and goes on loading it", async () => {
  const test = bench(["a", "b"]), { pool } = test;
  await using _ = pool;
  await pool.choose("a");
  const controller = new AbortController(), reason = new Error("left");
  const left = pool.choose("b", controller.signal);
  controller.abort(reason);
  await rejects(left, reason);
  await rejects(pool.choose("b", controller.signal), reason);
  equal((await pool.choose("b"))!.model.id, "b");
  deepStrictEqual(named(test).filter((event) => event.endsWith("b")), ["loading b", "loaded b"]);
  deepStrictEqual(pool.statuses().map(({ users }) => users), [0, 0]);
});

Deno.test("ModelPool evicts nothing for requests that have left, and lets others load meanwhile", async () => {
  const test = bench(["a", "b", "c"], { budgetBytes: 20 }), { pool, opened } = test;
  await using _ = pool;
  await pool.choose("a");
  await pool.choose("c");
  const [onA, onC] = [await start(pool.primary), await start(pool.find("c")!)];
  const controller = new AbortController(), reason = new Error("left");
  const left = pool.choose("b", controller.signal); // Has its turn, and waits for room.
  await new Promise((resolve) => setTimeout(resolve, 5));
  controller.abort(reason);
  await rejects(left, reason);
  await Promise.all([onA.leave(), onC.leave()]);
  await new Promise((resolve) => setTimeout(resolve, 10));
  ok(!opened.b && !opened.a[0].isClosed && !opened.c[0].isClosed, named(test).join());
  equal((await pool.choose("b"))!.model.id, "b");
  deepStrictEqual(pool.statuses().map(({ users }) => users), [0, 0, 0]);
});

Deno.test("ModelPool begins anew for who comes just as a load is given up", async () => {
  for (let ticks = 0; ticks < 16; ticks++) {
    const { pool, opened } = bench(["a", "b"], { budgetBytes: 10 });
    await using _ = pool;
    await pool.choose("a");
    const request = await start(pool.primary), controller = new AbortController();
    const left = pool.choose("b", controller.signal);
    await new Promise((resolve) => setTimeout(resolve, 2));
    controller.abort(new Error("left"));
    left.catch(() => {});
    for (let tick = 0; tick < ticks; tick++) await undefined;
    const next = pool.choose("b");
    opened.a[0].finish();
    await request.end();
    equal((await next)!.model.id, "b");
  }
});

Deno.test("ModelPool says of a model that is loaded anew that it takes requests, for it does", async () => {
  const { pool, opened } = bench(["a", "b"], { budgetBytes: 10 });
  await using _ = pool;
  await pool.choose("a");
  await pool.choose("b");
  const again = pool.choose("a");
  while (opened.a.length < 2) await new Promise((resolve) => setTimeout(resolve));
  const [{ phase: told }, { phase: held }] = [pool.primary.state, pool.statuses()[0]];
  await again;
  deepStrictEqual([told, held], ["ready", "loading"]);
});

Deno.test("ModelPool tells all who wait that a model cannot be loaded, and tries again for the next", async () => {
  const test = bench(["a", "b"], { fails: { b: 1 } }), { pool } = test;
  await using _ = pool;
  const both = await Promise.allSettled([pool.choose("b"), pool.choose("b")]);
  for (const outcome of both) {
    equal(outcome.status, "rejected");
    match(
      String(outcome.status === "rejected" && outcome.reason),
      /The model "b" cannot be loaded: the file is broken/,
    );
  }
  deepStrictEqual(pool.statuses()[1], { id: "b", users: 0, phase: "failed", reason: "the file is broken" });
  equal((await pool.choose("b"))!.model.id, "b");
  deepStrictEqual(named(test).slice(2), ["loading b", "failed b", "loading b", "loaded b"]);
});

Deno.test("ModelPool loads a model anew whose engine has failed", async () => {
  const { pool, opened } = bench(["a"]);
  await using _ = pool;
  await pool.choose("a");
  opened.a[0].state = { phase: "failed", reason: "the device was lost" };
  equal(pool.primary.state.phase, "failed");
  equal((await start(await pool.choose("a") as Engine)).text, "a");
  ok(opened.a[0].isClosed && opened.a.length === 2);
});

Deno.test("ModelPool ends what waits when it is closed", async () => {
  const { pool } = bench(["a", "b"], { budgetBytes: 10 });
  await start(pool.primary);
  const waiting = pool.choose("b");
  waiting.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 10));
  await pool[Symbol.asyncDispose]();
  await rejects(waiting, /The engine was closed/);
  await rejects(pool.choose("b"), /The engine was closed/);
});

Deno.test("ModelPool refuses two models of one name, and one that can never fit", () => {
  throws(() => bench(["a", "a"]), /Cannot serve two models under one name: "a"/);
  throws(
    () => bench(["a"], { budgetBytes: 9 }),
    /Cannot serve "a": --models-memory must be at least 1MB for it, received 0MB; raise it, or lower --kv-memory/,
  );
});

Deno.test("ModelPool counts the first model by the backend that it turns out to have", async () => {
  const test = bench(["a", "b"], { bytes: (backend) => backend === infoOf("a").backend ? 10 : 20 });
  await using _ = test.pool;
  await test.pool.choose("a");
  await test.pool.choose("b");
  deepStrictEqual(named(test), ["loading a", "loaded a", "loading b", "loaded b"]);
});

Deno.test("ModelPool keeps its budget, and whoever is in use, through a storm of requests", async () => {
  const random = new Random(testSeed()), ids = ["a", "b", "c", "d"];
  const { pool, opened } = bench(ids, { budgetBytes: 25 });
  await using _ = pool;
  const isLoaded = (engine: TestEngine) => !engine.isClosed;
  const watch = setInterval(() => {
    const loaded = Object.values(opened).flat().filter(isLoaded);
    ok(loaded.length <= 2, `${loaded.length} models are loaded`);
  }, 1);
  const one = async () => {
    const id = ids[random.below(4)], controller = new AbortController();
    if (random.below(4) === 0) setTimeout(() => controller.abort(new Error("left")), random.below(20));
    try {
      const engine = (await pool.choose(id, controller.signal))!;
      const request = await start(engine, controller.signal);
      equal(request.text, id);
      await new Promise((resolve) => setTimeout(resolve, random.below(10)));
      ok(opened[id].some((opened) => isLoaded(opened) && opened.numRunning > 0), `${id} was evicted in use`);
      await request.leave();
    } catch (error) {
      equal((error as Error).message, "left");
    }
  };
  try {
    await Promise.all(Array.from({ length: 60 }, () => one()));
  } finally {
    clearInterval(watch);
  }
  deepStrictEqual(pool.statuses().map(({ users }) => users), [0, 0, 0, 0]);
});
