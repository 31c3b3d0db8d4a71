// A worker of server.ts: some of its clients. Each asks again as soon as its answer has ended, until it is told to stop.
// Knows the wire, and no server's inside.
import { sseEvents } from "../load/sse_parser.ts";
import { type Answer, type ClientsMessage, type ClientsTask, randomPrompt } from "./server_clients.ts";

interface Usage {
  readonly usage?: { readonly completion_tokens: number } | null;
  readonly error?: { readonly message: string };
}

const scope = self as unknown as Worker;
let stopped = false;
scope.onmessage = async ({ data: task }: MessageEvent<ClientsTask>) => {
  scope.onmessage = () => stopped = true;
  const clients = Array.from(
    { length: task.clients },
    (_, i) => ask(task, task.firstSeed + i, () => stopped),
  );
  try {
    await Promise.all(clients);
    post({ kind: "stopped" });
  } catch (error) {
    post({ kind: "failed", reason: error instanceof Error ? error.message : String(error) });
  }
};

async function ask(task: ClientsTask, seed: number, isStopped: () => boolean): Promise<void> {
  for (let round = 0; !isStopped(); round++) {
    post({ kind: "answer", answer: await complete(task, randomPrompt(task.promptTokens, seed, round)) });
  }
}

/** @throws {Error} when the answer is an error, or shorter than was asked for */
async function complete({ url, newTokens }: ClientsTask, prompt: readonly number[]): Promise<Answer> {
  const startedAt = Date.now();
  const body = { prompt, max_tokens: newTokens, temperature: 0, ignore_eos: true, stream: true };
  const response = await fetch(`${url}/v1/completions`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream_options: { include_usage: true } }),
  });
  if (!response.ok) throw new Error(`${response.status}: ${(await response.text()).slice(0, 300)}`);
  let firstAt: number | undefined, last = "";
  for await (const data of sseEvents(response.body!)) {
    firstAt ??= Date.now();
    if (data !== "[DONE]") last = data;
  }
  const { usage, error } = JSON.parse(last) as Usage;
  const tokens = usage?.completion_tokens;
  if (tokens !== newTokens) {
    throw new Error(error?.message ?? `an answer has ${tokens} tokens instead of ${newTokens}`);
  }
  return { startedAt, firstAt: firstAt!, endedAt: Date.now(), tokens };
}

function post(message: ClientsMessage): void {
  (self as unknown as Worker).postMessage(message);
}
