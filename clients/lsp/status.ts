// What an editor's status bar shows, told with the notification `hyades/status` whenever it changes.

export type ServerState = "starting" | "loading" | "ready" | "working" | "error" | "off";

export interface Status {
  readonly state: ServerState;
  /** The served model, once it is known. */
  readonly model?: string;
  /** From the request to the answer, of the last completion that the server computed. Milliseconds. */
  readonly latencyMs?: number;
  /** Where the server is: its address, or "own process". */
  readonly server?: string;
  /** What is wrong, and what to do about it. */
  readonly message?: string;
}

export class StatusBoard {
  #status: Status = { state: "starting" };
  readonly #tell: (status: Status) => void;

  constructor(tell: (status: Status) => void) {
    this.#tell = tell;
  }

  get status(): Status {
    return this.#status;
  }

  /** A message holds until the next state. */
  update(change: Partial<Status>): void {
    const { message: _, ...before } = this.#status;
    const next = { ...(change.state ? before : this.#status), ...change };
    if (JSON.stringify(next) === JSON.stringify(this.#status)) return;
    this.#status = next;
    this.#tell(next);
  }
}
