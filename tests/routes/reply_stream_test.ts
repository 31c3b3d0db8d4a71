import assert from "node:assert/strict";
import { replyStream, SSE } from "../../routes/reply_stream.ts";

for (const outcome of ["brings a frame", "fails"]) {
  Deno.test(`replyStream() takes it for no error when what a client who left was waiting for ${outcome}`, async () => {
    const frame = Promise.withResolvers<void>();
    async function* frames() {
      yield { n: 0 };
      await frame.promise;
      yield { n: 1 };
    }
    const errors: unknown[] = [];
    let cancelled = 0;
    const response = replyStream(frames(), {
      framing: SSE,
      onCancel: () => cancelled++,
      errorFrame: (error) => {
        errors.push(error);
        return "error";
      },
    });
    const reader = response.body!.getReader();
    await reader.read();
    await new Promise((resolve) => setTimeout(resolve, 0)); // The next frame is asked for by now.
    await reader.cancel();
    if (outcome === "fails") frame.reject(new Error("The client closed the request"));
    else frame.resolve();
    await new Promise((resolve) => setTimeout(resolve, 0));
    assert.deepEqual(errors, []);
    assert.equal(cancelled, 1);
  });
}
