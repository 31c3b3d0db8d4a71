// The line at the top: which model is served, or how far it is loaded. Asks the probes, which need no key.
import type { Connection } from "./connection.ts";
import { amount } from "./figures.ts";
import { ServerError } from "./server_error.ts";

const RETRY_MS = 1000;
const NO_ANSWER = "The server does not answer";

interface ReadyReply {
  readonly status: "ready" | "loading" | "rebuilding" | "failed" | "draining";
  readonly reason?: string;
  readonly progress?: number;
}

interface ModelList {
  readonly data: readonly {
    readonly id: string;
    readonly max_model_len: number;
    readonly meta: { readonly n_params: number };
  }[];
}

/** Says what is served in `line`; resolved once requests are taken. */
export async function showServer(connection: Connection, line: HTMLElement): Promise<void> {
  for (let state = await readiness();; state = await readiness()) {
    // One that has gone since may come back.
    if (state.status === "ready" && await showModel(connection, line)) return;
    line.dataset.state = state.status === "failed" ? "failed" : "waiting";
    line.textContent = state.status === "ready" ? NO_ANSWER : describe(state);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** @returns whether the server answered, be it with an error */
async function showModel(connection: Connection, line: HTMLElement): Promise<boolean> {
  try {
    const { data: [model] } = await connection.json<ModelList>("/v1/models");
    if (model) {
      line.textContent = `${model.id} · ${parameters(model.meta.n_params)} · ${model.max_model_len} tokens`;
    }
    line.dataset.state = "ready";
  } catch (error) {
    if (!(error instanceof ServerError)) return false;
    line.textContent = error.message;
    line.dataset.state = "failed";
  }
  return true;
}

async function readiness(): Promise<ReadyReply> {
  try {
    return await (await fetch("/readyz")).json();
  } catch {
    return { status: "failed", reason: NO_ANSWER };
  }
}

function describe({ status, reason, progress }: ReadyReply): string {
  if (status === "loading" && progress !== undefined) {
    return `Loading the model: ${Math.round(progress * 100)} %`;
  }
  return reason ?? status;
}

function parameters(count: number): string {
  return count >= 1e9 ? `${(count / 1e9).toFixed(1)} B parameters` : `${amount(count / 1e6)} M parameters`;
}
