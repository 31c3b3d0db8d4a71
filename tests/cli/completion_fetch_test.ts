import assert from "node:assert/strict";
import { CompletionFetch, type OwnServer } from "../../cli/completion_fetch.ts";

const BASE = "http://127.0.0.1:8012";

function ask(source: CompletionFetch): Promise<string> {
  const request = new Request(`${BASE}/infill`, { method: "POST", body: "question" });
  return source.fetch(request).then((response) => response.text());
}

class Own {
  started = 0;
  disposed = 0;
  start = (): OwnServer => {
    this.started++;
    return {
      fetch: async (request) => new Response(`own: ${await request.text()}`),
      [Symbol.asyncDispose]: () => Promise.resolve(void this.disposed++),
    };
  };
}

/** A server that is there, or is not, or is something else. */
function network(healthy: () => unknown) {
  return async (request: Request): Promise<Response> => {
    const body = healthy();
    if (body === undefined) throw new TypeError("connection refused");
    return request.url.endsWith("/health")
      ? Response.json(body)
      : new Response(`net: ${await request.text()}`);
  };
}

Deno.test("CompletionFetch asks the server that runs, one that loads its model too", async () => {
  for (const health of [{ status: "ok" }, { error: { code: 503, message: "Loading model" } }]) {
    const own = new Own();
    await using source = new CompletionFetch({
      baseUrl: BASE,
      startOwn: own.start,
      network: network(() => health),
    });
    assert.equal(await ask(source), "net: question");
    assert.deepEqual([source.place, own.started], [BASE, 0]);
  }
});

Deno.test("CompletionFetch starts one server of its own where none runs, or where something else does", async () => {
  for (const health of [undefined, { hello: "world" }]) {
    const own = new Own();
    {
      await using source = new CompletionFetch({
        baseUrl: BASE,
        startOwn: own.start,
        network: network(() => health),
      });
      const both = await Promise.all([ask(source), ask(source)]);
      assert.deepEqual(both, ["own: question", "own: question"]);
      assert.deepEqual([source.place, own.started], ["own process", 1]);
    }
    assert.equal(own.disposed, 1);
  }
});

Deno.test("CompletionFetch goes on with its own server when the other one dies, and loses no question", async () => {
  const own = new Own();
  let health: unknown = { status: "ok" };
  await using source = new CompletionFetch({
    baseUrl: BASE,
    startOwn: own.start,
    network: network(() => health),
  });
  assert.equal(await ask(source), "net: question");
  health = undefined;
  assert.equal(await ask(source), "own: question");
});

Deno.test("CompletionFetch starts nothing where a server was named, and asks nobody where none may be", async () => {
  await using named = new CompletionFetch({ baseUrl: BASE, network: network(() => undefined) });
  await assert.rejects(ask(named), /connection refused/);
  const own = new Own();
  await using alone = new CompletionFetch({
    startOwn: own.start,
    network: () => Promise.reject(new Error("asked")),
  });
  assert.equal(await ask(alone), "own: question");
});
