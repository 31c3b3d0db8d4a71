// A terminal for tests: a program in tmux, the keys that it gets and the screen that it shows.
import assert from "node:assert/strict";
import { run } from "../debian.ts";

const COLUMNS = 90, ROWS = 20;
/** Machines that run tests are busy. */
const PATIENCE_MS = 30_000;

export class Terminal implements AsyncDisposable {
  readonly #socket = `hyades-test-${crypto.randomUUID().slice(0, 8)}`;

  /** @param command for sh; the terminal's size is 90 x 20 */
  static async start(command: string, folder: string): Promise<Terminal> {
    const terminal = new Terminal();
    await terminal.#tmux(
      "-f",
      "/dev/null",
      "new-session",
      "-d",
      ...["-x", `${COLUMNS}`, "-y", `${ROWS}`, "-c", folder],
      `LC_ALL=C.UTF-8 ${command}; echo ended; sleep 60`,
    );
    return terminal;
  }

  /** Names as tmux has them: Tab, BTab, C-Right, Escape. */
  async press(...keys: string[]): Promise<void> {
    for (const key of keys) await this.#tmux("send-keys", key);
  }

  async type(text: string): Promise<void> {
    await this.#tmux("send-keys", "-l", text);
  }

  /** Lines without blanks at their ends. */
  async screen(): Promise<string> {
    const shown = await this.#tmux("capture-pane", "-p");
    return shown.split("\n").map((line) => line.trimEnd()).join("\n").trimEnd();
  }

  /** Waits until the screen is so. */
  async shows(expected: RegExp | string): Promise<string> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const screen = await this.screen();
      if (typeof expected === "string" ? screen.includes(expected) : expected.test(screen)) return screen;
      if (Date.now() > deadline) {
        throw new assert.AssertionError({ message: `Expected ${expected} on the screen:\n${screen}` });
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run(["tmux", "-L", this.#socket, "kill-server"]);
  }

  async #tmux(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await run(["tmux", "-u", "-L", this.#socket, ...args]);
    if (code !== 0) throw new Error(`tmux ${args[0]}: ${stderr}`);
    return stdout;
  }
}
