import assert from "node:assert/strict";
import { EventQueue } from "../../engine/event_queue.ts";

function queue() {
  const cancelled = { times: 0 };
  return { events: new EventQueue<number>(() => cancelled.times++), cancelled };
}

Deno.test("EventQueue delivers what was pushed before and after the reader came, then ends", async () => {
  const { events, cancelled } = queue();
  events.push(1);
  const read = Array.fromAsync(events);
  await Promise.resolve();
  events.push(2);
  events.close();
  events.push(3);
  assert.deepEqual(await read, [1, 2]);
  assert.deepEqual(await events.next(), { done: true, value: undefined });
  assert.equal(cancelled.times, 0);
});

Deno.test("EventQueue.fail() delivers what is buffered first, and its error once", async () => {
  const { events } = queue();
  events.push(1);
  events.fail(new Error("late"));
  assert.deepEqual(await events.next(), { done: false, value: 1 });
  await assert.rejects(events.next(), /late/);
  assert.deepEqual(await events.next(), { done: true, value: undefined });
});

Deno.test("EventQueue.fail() rejects a reader that waits, and ends the others", async () => {
  const { events } = queue();
  const [first, second] = [events.next(), events.next()];
  events.fail(new Error("now"));
  await assert.rejects(first, /now/);
  assert.equal((await second).done, true);
});

Deno.test("EventQueue.abort() drops what is buffered; after the end it does nothing", async () => {
  const { events } = queue();
  events.push(1);
  events.abort(new Error("left"));
  await assert.rejects(events.next(), /left/);
  const { events: ended } = queue();
  ended.push(1);
  ended.close();
  ended.abort(new Error("left"));
  assert.deepEqual(await Array.fromAsync(ended), [1]);
});

Deno.test("EventQueue.return() and throw() cancel a request that has not ended, once", async () => {
  const { events, cancelled } = queue();
  for await (const _ of (events.push(1), events)) break;
  await events.return();
  assert.equal(cancelled.times, 1);
  const { events: thrown, cancelled: byThrow } = queue();
  await assert.rejects(thrown.throw(new Error("mine")), /mine/);
  assert.equal(byThrow.times, 1);
  const { events: ended, cancelled: never } = queue();
  ended.close();
  await ended.return();
  assert.equal(never.times, 0);
});
