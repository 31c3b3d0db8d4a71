// Random traces of somebody who edits a file: every state is a text and the cursor in it, one edit after the last.
import fc from "../fast_check.ts";

/** A text cut at the cursor, as an editor would send it. */
export interface EditorState {
  readonly prefix: string;
  readonly suffix: string;
}

export type Edit =
  | { readonly kind: "type"; readonly text: string }
  | { readonly kind: "delete"; readonly count: number }
  | { readonly kind: "jump"; readonly to: number }
  /** Takes the completion that was offered last. */
  | { readonly kind: "accept" }
  | { readonly kind: "undo" };

const WORDS = ["x", "re", "return ", "\n    ", "def f", "(y)", "é", "🙂", "\n\n"];

/** Mostly typing, as people do. */
export const edits: fc.Arbitrary<Edit> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("type" as const), text: fc.constantFrom(...WORDS) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("delete" as const), count: fc.integer({ min: 1, max: 9 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("jump" as const), to: fc.nat(1000) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("accept" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("undo" as const) }) },
);

export class Editor {
  readonly #history: EditorState[];

  constructor(text: string, cursor: number) {
    this.#history = [cutAt(text, cursor)];
  }

  get state(): EditorState {
    return this.#history[this.#history.length - 1];
  }

  /** @param offered the completion that was shown last */
  apply(edit: Edit, offered = "") {
    if (edit.kind === "undo") {
      if (this.#history.length > 1) this.#history.pop();
      return;
    }
    const { prefix, suffix } = this.state;
    const next = () => {
      switch (edit.kind) {
        case "type":
          return { prefix: prefix + edit.text, suffix };
        case "delete":
          return { prefix: [...prefix].slice(0, -edit.count).join(""), suffix };
        case "jump":
          return cutAt(prefix + suffix, edit.to);
        case "accept":
          return { prefix: prefix + offered, suffix };
      }
    };
    this.#history.push(next());
  }
}

/** Cuts between whole characters. */
function cutAt(text: string, cursor: number): EditorState {
  const characters = [...text], at = cursor % (characters.length + 1);
  return { prefix: characters.slice(0, at).join(""), suffix: characters.slice(at).join("") };
}
