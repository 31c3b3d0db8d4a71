import assert from "node:assert/strict";
import { amount, duration, percent, plural } from "../../clients/playground/src/figures.ts";

Deno.test("figures have as many digits as one can compare", () => {
  assert.deepEqual([0, 0.04, 9.94, 9.96, 999, 1000, 12_345].map(duration), [
    ...["0 ms", "0.0 ms", "9.9 ms", "10 ms", "999 ms", "1.0 s", "12 s"],
  ]);
  assert.deepEqual([0, 0.25, 3, 12.4, 1234, 9999, 123_456].map(amount), [
    ...["0", "0.3", "3", "12", "1.2 k", "10 k", "123 k"],
  ]);
  assert.deepEqual([0, 0.004, 0.5, 0.996, 1].map(percent), ["0 %", "< 1 %", "50 %", "> 99 %", "100 %"]);
  assert.deepEqual([plural(1, "token"), plural(2, "token")], ["1 token", "2 tokens"]);
});
