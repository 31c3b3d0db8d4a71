// The way to the server that this page came from: its API key, asked for when the server wants one and kept in the tab's
// session, and the name under which this tab's requests are one editor's.
import { serverError } from "./server_error.ts";

const KEY_ITEM = "hyades-api-key";

/** Asks the user for a key; undefined when they have none to give. */
export type AskForKey = (refused: boolean) => Promise<string | undefined>;

export class Connection {
  /** Sent as `X-Session-Id`: a newer request ends the older ones. */
  readonly session = `playground-${randomName()}`;
  readonly #askForKey: AskForKey;
  #asking: Promise<boolean> | undefined;
  /** The user had no key to give. */
  #declined = false;

  constructor(askForKey: AskForKey) {
    this.#askForKey = askForKey;
  }

  /** Whether a key is in use, or was asked for. */
  get secured(): boolean {
    return this.#declined || sessionStorage.getItem(KEY_ITEM) !== null;
  }

  /**
   * Fetches, with the key if there is one; asks for one where the server wants it.
   * @throws {ServerError} the reply has an error status
   * @throws {TypeError} the server cannot be reached
   */
  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    for (;;) {
      const key = sessionStorage.getItem(KEY_ITEM);
      const headers = new Headers(init.headers);
      if (key !== null) headers.set("Authorization", `Bearer ${encodeKey(key)}`);
      const response = await fetch(path, { ...init, headers });
      if (response.ok) return response;
      const error = await serverError(response);
      if (error.status !== 401 || this.#declined) throw error;
      if (sessionStorage.getItem(KEY_ITEM) !== key) continue; // Another request was told a key meanwhile.
      if (!await this.#ask(key !== null)) throw error;
    }
  }

  /** The same for JSON. */
  async json<T>(path: string, signal?: AbortSignal): Promise<T> {
    return await (await this.fetch(path, signal && { signal })).json() as T;
  }

  /** Asks for a key now. @returns whether one was given */
  changeKey(): Promise<boolean> {
    this.#declined = false;
    return this.#ask(false);
  }

  #ask(refused: boolean): Promise<boolean> {
    return this.#asking ??= this.#askForKey(refused).then((key) => {
      this.#asking = undefined;
      this.#declined = key === undefined;
      if (key !== undefined) sessionStorage.setItem(KEY_ITEM, key);
      return key !== undefined;
    });
  }
}

/** Headers hold bytes: letters beyond Latin-1 travel as UTF-8. */
function encodeKey(key: string): string {
  return String.fromCharCode(...new TextEncoder().encode(key));
}

/** `crypto.randomUUID` is for secure origins only, and a server in the house is none. */
function randomName(): string {
  return [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
}
