// What the server is told of completions that were shown, in the form of Tabby's POST /v1/events.
import assert from "node:assert/strict";
import { FakeEngine } from "../routes/fake_engine.ts";
import { get, openApp } from "../routes/requests.ts";
import { type Editor, editorBefore, PROMPT_SETTINGS } from "./editor.ts";

interface Told {
  readonly path: string;
  readonly body: Record<string, unknown>;
}

/** An editor, and what its server was told and asked; `status` is the reply to events. */
async function withEvents(
  status: number,
  settings = {},
): Promise<{ editor: Editor; told: Told[]; ids: string[] }> {
  const app = openApp(new FakeEngine({ tokens: ["a", "b", " c"] }));
  const told: Told[] = [], ids: string[] = [];
  const editor = await editorBefore({
    fetch: async (request) => {
      const { pathname, search } = new URL(request.url);
      if (pathname === "/infill") ids.push(request.headers.get("X-Request-Id")!);
      if (pathname !== "/v1/events") return await app.fetch(request);
      told.push({ path: pathname + search, body: await request.json() });
      return new Response("", { status });
    },
  }, { settings: { ...PROMPT_SETTINGS, events: true, ...settings } });
  await editor.open("file:///work/a.py", "x = ▮\n");
  return { editor, told, ids };
}

Deno.test("LanguageServer tells once that a completion was shown, by its request's name, and what was taken of it", async () => {
  const { editor, told, ids } = await withEvents(200);
  await using _editor = editor;
  const [item] = await editor.ask();
  await editor.type("a");
  const [rest] = await editor.ask();
  assert.deepEqual(rest.command, item.command);
  const [id] = item.command!.arguments!;
  await editor.execute("hyades.accepted", [id, "word"]);
  await editor.execute("hyades.accepted", [id, "line"]);
  await editor.accept(rest);
  await editor.execute("hyades.dismissed", [id]);
  await settled(() => told.length === 4);
  assert.deepEqual(ids, [id]);
  const event = { completion_id: id, choice_index: 0, view_id: id };
  assert.deepEqual(told.map(({ path, body: { elapsed: _, ...body } }) => ({ path, body })), [
    { path: "/v1/events", body: { type: "view", ...event } },
    { path: "/v1/events?select_kind=line", body: { type: "select", ...event } },
    { path: "/v1/events?select_kind=line", body: { type: "select", ...event } },
    { path: "/v1/events", body: { type: "select", ...event } },
  ]);
  assert.ok(told.slice(1).every(({ body }) => Number.isInteger(body.elapsed)));
});

Deno.test("LanguageServer tells that a completion was dismissed, once", async () => {
  const { editor, told } = await withEvents(200);
  await using _editor = editor;
  const [item] = await editor.ask();
  for (let i = 0; i < 2; i++) await editor.execute("hyades.dismissed", item.command!.arguments!);
  await settled(() => told.length >= 2);
  assert.deepEqual(told.map(({ body }) => body.type), ["view", "dismiss"]);
});

Deno.test("LanguageServer tells nothing more to a server that knows no events, and nothing where they are off", async () => {
  const unknown = await withEvents(404);
  {
    await using editor = unknown.editor;
    const [item] = await editor.ask();
    await settled(() => unknown.told.length === 1);
    await editor.accept(item);
  }
  assert.equal(unknown.told.length, 1);
  const off = await withEvents(200, { events: false });
  {
    await using editor = off.editor;
    await editor.accept((await editor.ask())[0]);
  }
  assert.equal(off.told.length, 0);
});

Deno.test("the server counts what the language server tells", async () => {
  const app = openApp(new FakeEngine({ tokens: ["a"] }));
  await using editor = await editorBefore({ fetch: async (request) => await app.fetch(request) }, {
    settings: { ...PROMPT_SETTINGS, events: true },
  });
  await editor.open("file:///work/a.py", "x = ▮\n");
  const [item] = await editor.ask();
  await editor.execute("hyades.accepted", [item.command!.arguments![0], "word"]);
  const counted = async () => {
    const { text } = await get(app, "/metrics");
    return ["view", "select", "dismiss"].map((type) =>
      Number(new RegExp(`hyades_completion_events_total\\{type="${type}"\\} (\\d+)`).exec(text)?.[1] ?? 0)
    );
  };
  for (let tries = 0; (await counted())[1] === 0 && tries < 200; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.deepEqual(await counted(), [1, 1, 0]);
});

/** Waits until it is so, and a moment longer in which it might become too much. */
async function settled(isSo: () => boolean): Promise<void> {
  for (let tries = 0; !isSo() && tries < 500; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await new Promise((resolve) => setTimeout(resolve, 50));
}
