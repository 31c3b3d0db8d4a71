// The output of one of two processes side by side: all of it, in its order, and nobody waits for who has been left behind.
import assert from "node:assert/strict";
import { printAfter } from "./print_after.ts";

interface Printed {
  readonly stdout: string;
  readonly stderr: string;
}

/** What a shell's script prints once `after` is settled, and what before. */
async function printed(script: string, after: Promise<unknown>): Promise<[before: Printed, all: Printed]> {
  const texts = { stdout: "", stderr: "" };
  const sink = (name: keyof Printed) => ({
    writable: new WritableStream<Uint8Array>({
      write: (bytes) => {
        texts[name] += new TextDecoder().decode(bytes);
      },
    }),
  });
  const process = new Deno.Command("bash", { args: ["-c", script], stdout: "piped", stderr: "piped" })
    .spawn();
  let before: Printed | undefined;
  const noted = after.then(() => before = { ...texts });
  await printAfter(noted, process, { stdout: sink("stdout"), stderr: sink("stderr") });
  return [before!, texts];
}

Deno.test("printAfter() holds back what a process prints, megabytes of it too, and gives all of it", async () => {
  const after = Promise.withResolvers<void>();
  const timer = setTimeout(after.resolve, 300);
  const script = "echo first >&2; head -c 3000000 /dev/zero | tr '\\0' x; echo last; exit 3";
  const [before, all] = await printed(script, after.promise);
  clearTimeout(timer);
  assert.deepEqual(before, { stdout: "", stderr: "" });
  assert.deepEqual([all.stdout.length, all.stdout.slice(-6)], [3_000_005, "xlast\n"]);
  assert.equal(all.stderr, "first\n");
});

Deno.test("printAfter() does not wait for what a process that was killed has left behind", async () => {
  const startedAt = performance.now();
  const [, all] = await printed("sleep 60 & echo $!; kill -9 $$", Promise.resolve());
  assert.ok(performance.now() - startedAt < 30_000);
  assert.match(all.stdout, /^\d+\n$/);
  Deno.kill(Number(all.stdout), "SIGKILL");
});
