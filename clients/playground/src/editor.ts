// The code editor: CodeMirror with what a small editor needs, in the page's colours. Suggestions come in as an extension.
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { javascript } from "@codemirror/lang-javascript";
import { python } from "@codemirror/lang-python";
import {
  bracketMatching,
  HighlightStyle,
  indentOnInput,
  indentUnit,
  syntaxHighlighting,
} from "@codemirror/language";
import { Compartment, EditorState, type Extension } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import type { CursorContext } from "./cursor_context.ts";
import type { Sample } from "./samples.ts";

/** More than this on either side of the cursor is more than any context here holds. */
const MAX_SIDE = 100_000;

const LANGUAGES: Readonly<Record<Sample["language"], () => Extension>> = {
  python: () => [python(), indentUnit.of("    ")],
  javascript: () => [javascript({ typescript: true }), indentUnit.of("  ")],
};

const highlighting = HighlightStyle.define([
  { tag: [tags.keyword, tags.modifier, tags.operatorKeyword], color: "var(--code-keyword)" },
  { tag: [tags.string, tags.special(tags.string), tags.regexp], color: "var(--code-string)" },
  { tag: [tags.comment, tags.docString], color: "var(--code-comment)", fontStyle: "italic" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--code-number)" },
  {
    tag: [
      tags.function(tags.variableName),
      tags.function(tags.definition(tags.variableName)),
      tags.function(tags.propertyName),
    ],
    color: "var(--code-function)",
  },
  { tag: [tags.className, tags.definition(tags.className), tags.typeName], color: "var(--code-type)" },
  { tag: [tags.operator, tags.punctuation], color: "var(--code-punctuation)" },
]);

const colours = EditorView.theme({
  "&": { color: "var(--ink)", backgroundColor: "transparent", height: "100%" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", fontSize: "0.875rem", lineHeight: "1.65" },
  ".cm-content": { padding: "0.75rem 0", caretColor: "var(--accent)" },
  ".cm-line": { padding: "0 1rem 0 0.5rem" },
  ".cm-cursor": { borderLeftColor: "var(--accent)", borderLeftWidth: "2px" },
  ".cm-gutters": { backgroundColor: "transparent", border: "none", color: "var(--ghost)" },
  ".cm-lineNumbers .cm-gutterElement": { padding: "0 0.5rem 0 1rem", minWidth: "2.5rem" },
  ".cm-activeLine": { backgroundColor: "var(--line-ground)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--selection)",
  },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--selection)", outline: "none" },
});

export interface EditorOptions {
  readonly parent: HTMLElement;
  readonly label: string;
  /** Of the page's policy, under which the editor may add its styles. */
  readonly nonce: string;
  readonly extensions: Extension;
}

export class Editor {
  readonly view: EditorView;
  readonly #language = new Compartment();

  constructor({ parent, label, nonce, extensions }: EditorOptions) {
    this.view = new EditorView({
      parent,
      extensions: [
        extensions,
        EditorView.cspNonce.of(nonce),
        EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "false", tabindex: "0" }),
        lineNumbers(),
        history(),
        drawSelection(),
        highlightActiveLine(),
        bracketMatching(),
        indentOnInput(),
        this.#language.of([]),
        EditorState.tabSize.of(4),
        syntaxHighlighting(highlighting),
        colours,
        keymap.of([...historyKeymap, ...defaultKeymap, indentWithTab]),
      ],
    });
  }

  /** Puts a file in the place of what there was, with the cursor where the sample has it. */
  open({ language, before, after }: Sample): void {
    const { view } = this;
    view.dispatch({
      changes: { from: 0, to: view.state.doc.length, insert: before + after },
      selection: { anchor: before.length },
      effects: this.#language.reconfigure(LANGUAGES[language]()),
      userEvent: "open",
      scrollIntoView: true,
    });
  }
}

/** The document around the cursor; undefined while something is selected. */
export function cursorContext({ selection, doc }: EditorState): CursorContext | undefined {
  const { empty, head } = selection.main;
  if (!empty || selection.ranges.length > 1) return undefined;
  return {
    prefix: doc.sliceString(Math.max(0, head - MAX_SIDE), head),
    suffix: doc.sliceString(head, head + MAX_SIDE),
  };
}
