// The words in which each dialect tells an error, to the byte, for tests that go through all of them.
import assert from "node:assert/strict";
import { type DialectBodies, type DialectName, DIALECTS, type StreamForm } from "./dialect_bodies.ts";
import type { Reply } from "./requests.ts";

/** An error as each family of dialects words it. */
export interface Wording {
  readonly openai: { readonly status: number; readonly type: string; readonly code: string | null };
  readonly llama: { readonly status: number; readonly type: string; readonly more?: object };
  readonly tgi: { readonly status: number; readonly type: string };
  readonly ollama: number;
  readonly tabby: number;
}

export type Family = keyof Wording;

const FAMILIES: Readonly<Record<DialectName, Family>> = {
  ...{ openai: "openai", "openai fim": "openai", "llama infill": "llama", "llama completion": "llama" },
  ...{ tgi: "tgi", "tgi root": "tgi", ollama: "ollama", tabby: "tabby" },
};

export interface DialectErrors {
  readonly name: DialectName;
  readonly family: Family;
  readonly path: string;
  readonly stream: StreamForm | undefined;
  /** Of a request that is none's fault. */
  readonly body: Record<string, unknown>;
}

export const ALL_DIALECTS: readonly DialectErrors[] =
  (Object.entries(DIALECTS) as [DialectName, DialectBodies][])
    .map(([name, dialect]) => ({
      ...{ name, family: FAMILIES[name], path: dialect.path, stream: dialect.stream },
      body: dialect.body({ prefix: "p", suffix: "s" }, 8),
    }));

/** Status and body; `param` is null where no field is at fault. */
export function expected(
  family: Family,
  wording: Wording,
  message: string,
  param: string | null,
): [number, string] {
  switch (family) {
    case "openai": {
      const { status, type, code } = wording.openai;
      const detail = [{ loc: param ?? "body", msg: message, type }];
      return [status, JSON.stringify({ error: { message, type, param, code }, detail })];
    }
    case "llama": {
      const { status, type, more } = wording.llama;
      return [status, JSON.stringify({ error: { code: status, message, type, param, ...more } })];
    }
    case "tgi": {
      const { status, type } = wording.tgi;
      return [status, status === 401 ? "" : JSON.stringify({ error: message, error_type: type })];
    }
    case "ollama":
      return [wording.ollama, JSON.stringify({ error: message })];
    case "tabby":
      return [wording.tabby, message];
  }
}

export function assertError(reply: Reply, family: Family, [status, body]: [number, string], kind: string) {
  assert.deepEqual([reply.status, reply.text], [status, body], kind);
  if (body === "") return;
  const type = family === "tabby" ? "text/plain; charset=UTF-8" : "application/json";
  assert.equal(reply.headers.get("content-type"), type, kind);
}
