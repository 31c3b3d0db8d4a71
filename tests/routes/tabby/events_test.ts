import assert from "node:assert/strict";
import { FakeEngine } from "../fake_engine.ts";
import { get, openApp, post } from "../requests.ts";

const EVENT = { completion_id: "cmpl-1", choice_index: 0 };

Deno.test("/v1/events counts what became of completions", async () => {
  const app = openApp(new FakeEngine());
  for (const type of ["view", "view", "select"]) {
    const reply = await post(app, "/v1/events?select_kind=line", {
      ...EVENT,
      type,
      view_id: "v",
      elapsed: 5,
    });
    assert.deepEqual([reply.status, reply.text], [200, ""]);
  }
  const { text } = await get(app, "/metrics");
  for (const [type, count] of [["view", 2], ["select", 1], ["dismiss", 0]]) {
    assert.ok(text.includes(`hyades_completion_events_total{type="${type}"} ${count}\n`), text);
  }
});

Deno.test("/v1/events rejects what is none with a status, and says why", async () => {
  const cases: [body: Record<string, unknown>, message: RegExp][] = [
    [{ type: "hover" }, /^"type" must be one of "view", "select", "dismiss", received "hover"$/],
    [{ type: "view", completion_id: undefined }, /^"completion_id" is required$/],
    [{ type: "view", choice_index: -1 }, /^"choice_index" must be at least 0/],
  ];
  for (const [body, message] of cases) {
    const reply = await post(openApp(new FakeEngine()), "/v1/events", { ...EVENT, ...body });
    assert.equal(reply.status, 400);
    assert.match(reply.text, message);
  }
});
