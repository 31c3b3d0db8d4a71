// What an engine does without a step: sleeps until it is woken or time is to be looked at, and checks, not too often.
import assert from "node:assert/strict";
import { Idle } from "../../engine/idle.ts";

Deno.test("Idle sleeps until it is woken, or for a moment where requests may run out of time", async () => {
  const idle = new Idle(() => 0);
  let woken = false;
  const rest = idle.rest(() => {}, false).then(() => woken = true);
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.equal(woken, false);
  idle.wake();
  await rest;
  await idle.rest(() => {}, true); // Nobody wakes it.
});

Deno.test("Idle spends a hundredth of the time on checks, and passes on what is wrong", async () => {
  let now = 0, checks = 0;
  const idle = new Idle(() => now);
  const check = () => {
    checks++;
    now += 5;
  };
  for (; now < 10_000; now += 50) {
    const rest = idle.rest(check, false);
    idle.wake();
    await rest;
  }
  assert.ok(checks >= 15 && checks <= 21, `${checks} checks of 5 ms in 10 s`);
  now = 20_000;
  await assert.rejects(
    idle.rest(() => {
      throw new Error("corrupt");
    }, false),
    /corrupt/,
  );
});
