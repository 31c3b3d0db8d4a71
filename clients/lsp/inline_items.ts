// Completions as LSP's inline completion items (3.18), and the commands by which editors say what became of them.
import type { InlineCompletionItem, InlineCompletionParams } from "vscode-languageserver";
import type { Rest } from "./known_completions.ts";

/** Arguments: the completion's id and "all", "line" or "word". */
export const ACCEPTED_COMMAND = "hyades.accepted";
/** Argument: the completion's id. */
export const DISMISSED_COMMAND = "hyades.dismissed";

/** Of what an editor asked for. */
export type Place = Pick<InlineCompletionParams, "position" | "context">;

/** The range covers what the completion stands in place of: on one line, and with the cursor in it. */
export function toItem(
  { position, context }: Place,
  { completion, text, replaces }: Rest,
): InlineCompletionItem {
  const selected = context.selectedCompletionInfo;
  const { line, character } = position;
  const end = { line, character: character + replaces.length };
  return {
    insertText: (selected?.text ?? "") + text,
    range: selected ? selected.range : { start: position, end },
    command: { title: "Accepted", command: ACCEPTED_COMMAND, arguments: [completion.id, "all"] },
  };
}
