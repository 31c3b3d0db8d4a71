// Which suggestion is shown: VS Code tells an extension what it was given to show, not what it shows.
import type { InlineCompletionItem, InlineCompletionList } from "vscode";

export class Shown {
  #id: string | undefined;

  /** Of the suggestion asked for last; undefined when there was none. */
  get id(): string | undefined {
    return this.#id;
  }

  remember(items: InlineCompletionItem[] | InlineCompletionList | null | undefined): void {
    const [first] = Array.isArray(items) ? items : items?.items ?? [];
    this.#id = first?.command?.arguments?.[0];
  }
}
