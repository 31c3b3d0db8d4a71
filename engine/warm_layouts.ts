// Keeps both layouts of an editor's infills warm where computing one takes time. In SPM a typed letter costs itself, and
// a change after the cursor (a jump, a line opened or deleted) everything; in PSM such a change costs the suffix alone,
// and so does a letter. So each request takes the layout that costs least, and when it is answered, what the other one
// will want is computed while nothing else is. Pure: it knows tokens and their costs, and queues nothing itself.
import type { Generation } from "./generation.ts";
import type { FimLayout, GenerationRequest } from "./request.ts";

export interface WarmLayoutsOptions {
  /** What a step of so many rows takes, milliseconds. */
  readonly msOf: (rows: number) => number;
  /** Of the ids of a prompt, those that a change of its suffix leaves as they are. */
  readonly steadyPart: (ids: readonly number[], layout: FimLayout) => readonly number[];
  /** Queues the computing of a prompt for which nobody waits; undefined where there is no room. */
  readonly warm: (ids: readonly number[], request: GenerationRequest) => Generation | undefined;
  /** Takes such work back; what is computed of it stays cached. */
  readonly withdraw: (warmUp: Generation) => void;
}

interface Editor {
  /** The beginning of it, by which it is told from another. */
  suffix: string;
  /** Tokens computed in PSM for letters typed before an unchanged suffix: in SPM they cost next to nothing. */
  spent: number;
  warmUp: Generation | undefined;
}

/** What takes less is not felt, and need not be prepared. */
const WARM_MS = 50;
/**
 * PSM's cost counts for so much against SPM's: what it costs in excess is spread over letters, each felt less than the
 * one for which SPM would read all, and mostly there is time between them in which SPM gets ready.
 */
const PATIENCE_WITH_PSM = 1 / 2;
/** Where the suffix has just changed and SPM's cost is felt, SPM has to spare this share of it: the suffix likely changes again, line by line. */
const SPM_MARGIN = 1 / 8;
/** Those who asked least recently are forgotten. */
const MAX_EDITORS = 256;
/** More than a prompt has room for, as a rule: what follows is not kept for every editor, bodies being as long as they like. */
const MAX_SUFFIX_UNITS = 2 ** 15;

export class WarmLayouts {
  readonly #options: WarmLayoutsOptions;
  readonly #editors = new Map<string, Editor>();

  constructor(options: WarmLayoutsOptions) {
    this.#options = options;
  }

  /** A request whose layout is free; undefined for others. What was prepared for its editor until now makes way. */
  begin(request: GenerationRequest): LayoutChoice | undefined {
    const { prompt, priority = "live", cachePrompt, maxTokens } = request;
    if (prompt.kind !== "infill" || prompt.layout || priority !== "live") return undefined;
    if (cachePrompt === false || maxTokens === 0) return undefined;
    const editor = this.#editorOf(request);
    if (!editor) return undefined;
    if (editor.warmUp) this.#options.withdraw(editor.warmUp);
    editor.warmUp = undefined;
    const suffix = prompt.suffix.slice(0, MAX_SUFFIX_UNITS);
    const isMoved = editor.suffix !== suffix;
    if (isMoved) Object.assign(editor, { suffix: copyOf(suffix), spent: 0 });
    return new LayoutChoice(request, { editor, isMoved, ...this.#options });
  }

  #editorOf({ requester }: GenerationRequest): Editor | undefined {
    const who = requester?.session ?? requester?.client;
    if (who === undefined) return undefined;
    const name = JSON.stringify([requester!.key, who]);
    const editor = this.#editors.get(name) ?? { suffix: "", spent: 0, warmUp: undefined };
    this.#editors.delete(name);
    this.#editors.set(name, editor);
    if (this.#editors.size > MAX_EDITORS) {
      const [[oldest]] = this.#editors;
      this.#editors.delete(oldest);
    }
    return editor;
  }
}

interface LayoutChoiceOptions extends WarmLayoutsOptions {
  readonly editor: Editor;
  /** The suffix is another than before. */
  readonly isMoved: boolean;
}

/** The layouts that one request may have. */
export class LayoutChoice {
  readonly #request: GenerationRequest;
  readonly #options: LayoutChoiceOptions;
  readonly #candidates = new Map<
    FimLayout,
    { readonly ids: readonly number[]; readonly uncomputed: number }
  >();
  #chosen: FimLayout | undefined;

  constructor(request: GenerationRequest, options: LayoutChoiceOptions) {
    this.#request = request;
    this.#options = options;
  }

  /**
   * How many of the candidate's tokens count as cached. While somebody types at one place, SPM is preferred once PSM has
   * cost twice as much as SPM would: with the suffix's change before, that is at most some four times what the better
   * layout had cost, whichever they do next.
   */
  weigh(layout: FimLayout, ids: readonly number[], cached: number): number {
    const { editor, isMoved, msOf } = this.#options, uncomputed = ids.length - cached;
    this.#candidates.set(layout, { ids, uncomputed });
    if (layout === "psm") return cached;
    if (!isMoved) return cached + editor.spent * PATIENCE_WITH_PSM;
    return msOf(uncomputed) < WARM_MS ? cached : cached - uncomputed * SPM_MARGIN;
  }

  chose(layout: FimLayout | undefined): void {
    const { editor, isMoved } = this.#options;
    this.#chosen = layout;
    if (layout === "spm") editor.spent = 0;
    if (layout === "psm" && !isMoved) editor.spent += this.#candidates.get(layout)?.uncomputed ?? 0;
  }

  /** The completion is whole. @param countCached by which it is seen how much of the other layout is there already */
  answered(countCached: (ids: readonly number[]) => number): void {
    const { editor, steadyPart, msOf, warm } = this.#options;
    const other = this.#chosen === "psm" ? "spm" : "psm";
    const candidate = this.#candidates.get(other);
    if (!candidate || editor.warmUp) return;
    const ids = steadyPart(candidate.ids, other), uncomputed = ids.length - countCached(ids);
    if (uncomputed <= 1) return; // A prompt's last token is never taken from the cache: all of it is there.
    if (msOf(uncomputed) >= WARM_MS) editor.warmUp = warm(ids, this.#request);
  }
}

/** The same text in memory of its own: a slice holds on to all that it is a slice of. */
function copyOf(text: string): string {
  return JSON.parse(JSON.stringify(text));
}
