// Who is sent when: few ahead of what is taken, in turn.
import { deepStrictEqual, equal, ok } from "node:assert/strict";
import { SubmissionLine } from "../../engine/submission_line.ts";
import { WorkerEngine } from "../../engine/worker_engine.ts";
import { collect, complete, completionOf, request, textPrompt, until } from "./fake_model.ts";

const AHEAD = 4;

function open() {
  const sent: number[] = [];
  const line = new SubmissionLine<string>((id, request) => {
    equal(request, `request ${id}`);
    sent.push(id);
  });
  return { sent, line, add: (id: number, group: string) => line.add(id, `request ${id}`, group) };
}

Deno.test("SubmissionLine sends four ahead of what was taken, groups in turn, each in its order", () => {
  const { sent, line, add } = open();
  for (let id = 0; id < 20; id++) add(id, "many");
  add(100, "one");
  add(200, "two");
  add(201, "two");
  deepStrictEqual(sent, [0, 1, 2, 3]);
  for (let i = 0; i < 6; i++) line.taken();
  deepStrictEqual(sent.slice(AHEAD), [4, 100, 200, 5, 201, 6]);
  for (let i = 0; i < 13; i++) line.taken();
  deepStrictEqual(sent.slice(-13), [7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
});

Deno.test("SubmissionLine never sends what was removed in time", () => {
  const { sent, line, add } = open();
  for (let id = 0; id < 12; id++) add(id, id < 10 ? "a" : "b");
  ok(!line.remove(3), "it was sent");
  ok(line.remove(9) && line.remove(11));
  ok(!line.remove(9));
  for (let i = 0; i < 12; i++) line.taken();
  deepStrictEqual(sent, [0, 1, 2, 3, 4, 10, 5, 6, 7, 8]);
});

Deno.test("WorkerEngine answers hundreds of prompts of one request, and who leaves is never sent", async () => {
  const entry = new URL("./fake_worker.ts", import.meta.url);
  await using engine = new WorkerEngine(
    { modelId: "fake", load: { modelDir: "fine", device: "cpu" }, maxWaiting: 1000 },
    entry,
  );
  await until(() => engine.state.phase !== "loading");
  const left = new AbortController();
  const wanted = (i: number) => request(textPrompt(`prompt ${i}`), { maxTokens: 3, requestId: "many" });
  const all = Array.from(
    { length: 300 },
    (_, i) =>
      collect(engine.submit(wanted(i), i % 3 === 0 ? left.signal : undefined)).then(
        (events) => completionOf(events).ids.length,
        () => undefined,
      ),
  );
  left.abort();
  const numTokens = await Promise.all(all);
  // The first few were sent at once.
  numTokens.forEach((count, i) => equal(count, i % 3 === 0 ? undefined : 3, `prompt ${i}`));
  equal((await complete(engine, wanted(0))).ids.length, 3);
  const { cancelled, waiting, running } = await engine.stats();
  ok(cancelled <= 3, `${cancelled} had been sent`);
  deepStrictEqual([waiting, running], [0, 0]);
});
