// Ghost text in CodeMirror: a suggestion shown at the cursor, not part of the document, until a key takes it. Knows how
// it looks and what keys do to it, and nothing of where it comes from.
import {
  EditorSelection,
  type EditorState,
  type Extension,
  Prec,
  StateEffect,
  StateField,
} from "@codemirror/state";
import type { ChangeSet, Transaction } from "@codemirror/state";
import { type Command, Decoration, EditorView, keymap, WidgetType } from "@codemirror/view";
import { nextLine, nextWord } from "./pieces.ts";

interface Ghost {
  readonly position: number;
  readonly text: string;
}

const setGhost = StateEffect.define<Ghost | undefined>();

const ghostField = StateField.define<Ghost | undefined>({
  create: () => undefined,
  update(ghost, transaction) {
    for (const effect of transaction.effects) if (effect.is(setGhost)) return effect.value;
    return ghost && typedThrough(ghost, transaction);
  },
  provide: (field) =>
    EditorView.decorations.from(
      field,
      (ghost) =>
        ghost
          ? Decoration.set(
            Decoration.widget({ widget: new GhostWidget(ghost.text), side: 1 }).range(ghost.position),
          )
          : Decoration.none,
    ),
});

/** Whoever types what is shown keeps the rest of it; anything else takes it away. */
function typedThrough(
  ghost: Ghost,
  { changes, docChanged, newSelection, selection }: Transaction,
): Ghost | undefined {
  if (!docChanged) return selection && newSelection.main.head !== ghost.position ? undefined : ghost;
  const typed = insertionAt(changes, ghost.position);
  const position = ghost.position + (typed?.length ?? 0);
  const cursor = newSelection.main;
  const goesOn = typed !== undefined && ghost.text.startsWith(typed) && cursor.empty &&
    cursor.head === position;
  if (!goesOn || typed.length === ghost.text.length) return undefined;
  return { position, text: ghost.text.slice(typed.length) };
}

/** The text that the changes insert at a place, if they do nothing else. */
function insertionAt(changes: ChangeSet, position: number): string | undefined {
  let inserted: string | undefined, others = 0;
  changes.iterChanges((from, to, _fromNew, _toNew, text) => {
    if (from === position && to === position) inserted = text.toString();
    else others++;
  }, true);
  return others === 0 ? inserted : undefined;
}

class GhostWidget extends WidgetType {
  readonly #text: string;

  constructor(text: string) {
    super();
    this.#text = text;
  }

  override eq(other: GhostWidget): boolean {
    return other.#text === this.#text;
  }

  override toDOM(): HTMLElement {
    const shown = document.createElement("span");
    shown.className = "ghost";
    shown.textContent = this.#text;
    // Screen readers are told in a place of their own; within the text it would read as part of it.
    shown.setAttribute("aria-hidden", "true");
    return shown;
  }

  override get lineBreaks(): number {
    return this.#text.split("\n").length - 1;
  }

  override ignoreEvent(): boolean {
    return false;
  }
}

/** What is shown; undefined when nothing is. */
export function ghostOf(state: EditorState): string | undefined {
  return state.field(ghostField)?.text;
}

/** Shows a suggestion at the cursor; empty, and there is none. */
export function showGhost(view: EditorView, text: string): void {
  if (text === (ghostOf(view.state) ?? "")) return;
  const position = view.state.selection.main.head;
  view.dispatch({ effects: setGhost.of(text === "" ? undefined : { position, text }) });
}

/** @param piece what of the suggestion is taken */
function accept(piece: (text: string) => string): Command {
  return (view) => {
    const ghost = view.state.field(ghostField);
    if (!ghost) return false;
    const insert = piece(ghost.text), at = ghost.position;
    view.dispatch({
      changes: { from: at, insert },
      selection: EditorSelection.cursor(at + insert.length),
      userEvent: "input.complete",
      scrollIntoView: true,
    });
    return true;
  };
}

/** Keys and their commands; what they are called is for the page to say. */
export interface GhostKeys {
  /** Called when the user wants no more of a suggestion. */
  readonly dismissed: () => void;
  /** Called when the user asks for a suggestion. */
  readonly asked: () => void;
}

export function ghostText({ dismissed, asked }: GhostKeys): Extension {
  const dismiss: Command = (view) => {
    if (ghostOf(view.state) === undefined) return false;
    showGhost(view, "");
    dismissed();
    return true;
  };
  const ask: Command = () => {
    asked();
    return true;
  };
  return [
    ghostField,
    Prec.highest(keymap.of([
      { key: "Tab", run: accept((text) => text) },
      { key: "Shift-Tab", run: accept(nextLine) },
      { key: "Ctrl-ArrowRight", mac: "Cmd-ArrowRight", run: accept(nextWord) },
      { key: "Escape", run: dismiss },
      { key: "Alt-\\", run: ask },
    ])),
  ];
}
