// Requests that no server should serve: each has to be refused with a 4xx, and to leave no trace.
import type { Endpoint } from "./client.ts";
import type { Job } from "./dialect.ts";

export interface Fault {
  readonly name: string;
  readonly method: "POST" | "GET";
  readonly path: string;
  readonly body: string | Uint8Array<ArrayBuffer> | undefined;
  readonly oversized: boolean;
}

export interface FaultOutcome {
  readonly name: string;
  readonly oversized: boolean;
  /** Undefined: the connection was closed, which is an answer to a body that is too large. */
  readonly status: number | undefined;
}

/** Above what Hyades reads (8 MB). */
const OVERSIZED_BYTES = 9 * 2 ** 20;

/** Made once: the largest is sent many times. */
export function makeFaults({ dialect }: Pick<Endpoint, "dialect">, job: Job): Fault[] {
  const good = dialect.body(job, true);
  const fault = (name: string, body: Fault["body"], rest: Partial<Fault> = {}): Fault => ({
    ...{ name, method: "POST", path: dialect.path, oversized: false, body },
    ...rest,
  });
  const changed = (change: object) => JSON.stringify({ ...good, ...change });
  const sizes = "max_tokens" in good ? "max_tokens" : "n_predict";
  return [
    fault("broken JSON", JSON.stringify(good).slice(0, -20)),
    fault("empty body", ""),
    fault("an array", "[]"),
    fault("null", "null"),
    fault("deeply nested", "[".repeat(20_000)),
    fault("no UTF-8", new Uint8Array([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d])),
    fault("no prompt", JSON.stringify({ [sizes]: 4 })),
    fault("prompt of a wrong type", changed({ prompt: { text: "a" }, input_prefix: 7 })),
    fault("count of a wrong type", changed({ [sizes]: "many" })),
    fault("stop of a wrong type", changed({ stop: { a: 1 } })),
    fault("no such route", JSON.stringify(good), { path: "/v1/no-such-route" }),
    fault("GET", undefined, { method: "GET" }),
    fault("oversized body", changed({ padding: "x".repeat(OVERSIZED_BYTES) }), { oversized: true }),
  ];
}

/** Sends it, reads the answer to its end. */
export async function sendFault({ url, headers }: Endpoint, fault: Fault): Promise<FaultOutcome> {
  const { name, oversized } = fault;
  try {
    const response = await fetch(url + fault.path, {
      method: fault.method,
      headers: { "Content-Type": "application/json", ...headers },
      ...(fault.body !== undefined && { body: fault.body }),
    });
    await response.body?.cancel();
    return { name, oversized, status: response.status };
  } catch {
    return { name, oversized, status: undefined };
  }
}

export function isRefused({ status, oversized }: FaultOutcome): boolean {
  return status === undefined ? oversized : status >= 400 && status < 500;
}
