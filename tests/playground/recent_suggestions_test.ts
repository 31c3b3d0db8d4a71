import assert from "node:assert/strict";
import { RecentSuggestions } from "../../clients/playground/src/recent_suggestions.ts";

Deno.test("RecentSuggestions.find() gives the rest of what is being typed, and nothing to what is not", () => {
  const recent = new RecentSuggestions();
  recent.add({ prefix: "x = ", suffix: "\n" }, "foo(bar)");
  assert.equal(recent.find({ prefix: "x = ", suffix: "\n" }), "foo(bar)");
  assert.equal(recent.find({ prefix: "x = foo", suffix: "\n" }), "(bar)");
  assert.equal(recent.find({ prefix: "x = foo(bar)", suffix: "\n" }), undefined, "all of it is typed");
  assert.equal(recent.find({ prefix: "x = fob", suffix: "\n" }), undefined);
  assert.equal(recent.find({ prefix: "x = foo", suffix: ")\n" }), undefined, "another suffix");
});

Deno.test("RecentSuggestions forgets what was used longest ago", () => {
  const recent = new RecentSuggestions();
  recent.add({ prefix: "a", suffix: "" }, "1");
  for (let i = 0; i < 99; i++) recent.add({ prefix: `b${i}`, suffix: "" }, "2");
  assert.equal(recent.find({ prefix: "a", suffix: "" }), "1", "used again");
  recent.add({ prefix: "c", suffix: "" }, "3");
  assert.equal(recent.find({ prefix: "b0", suffix: "" }), undefined);
  assert.equal(recent.find({ prefix: "a", suffix: "" }), "1");
});
