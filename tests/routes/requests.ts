// Sending requests to an application and reading what comes back, for tests.
import type { OpenAPIHono } from "@hono/zod-openapi";
import assert from "node:assert/strict";
import type { ModelChoice } from "../../engine/model_choice.ts";
import { createApp } from "../../routes/app.ts";
import type { FakeEngine } from "./fake_engine.ts";

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The parsed body; its fields are what the test is about, hence untyped. */
  // deno-lint-ignore no-explicit-any
  readonly json: any;
}

/** An application without keys, that fails the test on an error nobody expected. */
export function openApp(served: FakeEngine | ModelChoice): OpenAPIHono {
  return createApp(served, {
    apiKeys: [],
    reportError: (error) => {
      throw error;
    },
  });
}

export async function post(app: OpenAPIHono, path: string, body: unknown, headers = {}): Promise<Reply> {
  const response = await app.request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  return await read(response);
}

export async function get(app: OpenAPIHono, path: string, headers = {}): Promise<Reply> {
  return await read(await app.request(path, { headers }));
}

async function read(response: Response): Promise<Reply> {
  const text = await response.text();
  const isJson = response.headers.get("content-type")?.startsWith("application/json");
  return {
    status: response.status,
    headers: response.headers,
    text,
    json: isJson ? JSON.parse(text) : undefined,
  };
}

/** The data of each event; fails on anything that is not `data: ...` and a blank line. */
export function eventData(text: string): string[] {
  assert.match(text, /^(data: [^\n]*\n\n)*$/);
  return text.split("\n\n").slice(0, -1).map((event) => event.slice("data: ".length));
}

/** Asserts OpenAI's error shape: exactly the four keys, and beside it FastAPI's, which llm-ls reads. */
export function assertOpenAiError(reply: Reply, status: number, expected: Record<string, unknown>): void {
  assert.equal(reply.status, status, reply.text);
  assert.deepEqual(Object.keys(reply.json), ["error", "detail"]);
  const { message, type, param } = reply.json.error;
  assert.deepEqual(reply.json.detail, [{ loc: param ?? "body", msg: message, type }]);
  assert.deepEqual(Object.keys(reply.json.error), ["message", "type", "param", "code"]);
  for (const [key, value] of Object.entries(expected)) {
    if (value instanceof RegExp) assert.match(reply.json.error[key], value);
    else assert.deepEqual(reply.json.error[key], value, reply.text);
  }
}
