// Messages to a thread that is busy. The runtime lets them in only when the thread has nothing to do, or once in some
// thirty turns of its event loop (tokio's `global_queue_interval`), which with steps of 25 ms that follow each other is
// once in three quarters of a second. So who is busy looks for them itself, between two steps.
import { type MessagePort as NodePort, receiveMessageOnPort } from "node:worker_threads";

/** Between two steps at least one message is received, and no more once they have taken so long. */
const MOST_MS = 10;

export class Inbox<Message> {
  readonly #port: MessagePort;
  readonly #receive: (message: Message) => void;

  /** @param receive gets every message once, in their order: those that come while the thread is idle, too */
  constructor(port: MessagePort, receive: (message: Message) => void) {
    this.#port = port;
    this.#receive = receive;
    port.onmessage = ({ data }) => receive(data);
  }

  /**
   * Receives what has come, or as much as is done soon. To be called in a turn of the event loop of its own (after
   * `setImmediate`): then no message is on its way to `onmessage` that these would overtake.
   */
  drain(): void {
    // The same object; only the types of the two libraries differ.
    const port = this.#port as unknown as NodePort, until = performance.now() + MOST_MS;
    for (let received; (received = receiveMessageOnPort(port)) !== undefined;) {
      this.#receive(received.message as Message);
      if (performance.now() > until) return;
    }
  }
}
