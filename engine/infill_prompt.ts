// An infill request as token ids: encodes prefix, suffix and other files, and cuts them to the context.
import { type Cut, keepEnd, keepStart } from "./anchored_cut.ts";
import { type FileForm, type FimSupport, layOut } from "./fim.ts";
import type { FimLayout, Prompt } from "./request.ts";
import type { Tokenizer } from "./tokenizer.ts";

type InfillRequest = Extract<Prompt, { kind: "infill" }>;

export interface InfillPrompt {
  readonly ids: number[];
  readonly layout: FimLayout;
  /** Something was cut off to fit. */
  readonly truncated: boolean;
}

/** Name of the file being completed where the request gives none but other files have theirs. */
const UNNAMED_FILE = "filename";
const PLAIN_SEPARATOR = "\n\n--- snippet ---\n\n";
const MAX_PATH_TOKENS = 64;
/** Bytes of text encoded per token of budget at first; code has three to four to a token. */
const BYTES_PER_TOKEN = 6;

/** How many tokens of a prompt are computed already. */
export type CountCached = (ids: readonly number[], layout: FimLayout) => number;

/**
 * Lays out an infill prompt of at most `budget` tokens, in the layout that the request wants, or else in that of
 * `fim.layouts` in which fewest tokens have yet to be computed, the first of equals. The prefix keeps its end and the suffix its start, three
 * tokens to one; what either leaves goes to the other, and what both leave to the other files, of which the last are
 * kept first. Cuts fall on steady places (`anchored_cut.ts`).
 */
export function buildInfillPrompt(
  tokenizer: Tokenizer,
  fim: FimSupport,
  request: InfillRequest,
  budget: number,
  countCached: CountCached = () => 0,
): InfillPrompt {
  const tokens = fim.tokens;
  if (!tokens) throw new TypeError("Cannot lay out infill prompt: the vocabulary has no infill tokens");
  const header = fileHeader(tokenizer, fim.fileForm, request, budget);
  const room = Math.max(0, budget - 3 - header.before.length - header.inside.length);
  const lineStart = tokenizer.encode(request.lineStart ?? "", { parseSpecial: true });
  const parts = cutAround(tokenizer, request, lineStart, room);
  const used = parts.prefix.ids.length + parts.suffix.ids.length;
  const files = otherFiles(tokenizer, fim.fileForm, request.extra ?? [], room - used);
  const outside = fim.fileForm.kind === "outside";
  const prefix = [...(outside ? [] : files.ids), ...header.inside, ...parts.prefix.ids];
  const candidates = (request.layout ? [request.layout] : fim.layouts).map((layout) => {
    const ids = layOut(tokens, layout, { prefix, suffix: parts.suffix.ids });
    return { layout, ids: outside ? [...files.ids, ...header.before, ...ids] : ids };
  });
  return {
    ...leastBy(candidates, ({ ids, layout }) => ids.length - countCached(ids, layout)),
    truncated: parts.prefix.truncated || parts.suffix.truncated || files.truncated,
  };
}

/** The first of those with the lowest cost; of a single one, the cost is not asked for. */
function leastBy<T>(candidates: readonly T[], cost: (candidate: T) => number): T {
  if (candidates.length === 1) return candidates[0];
  const costs = candidates.map(cost);
  return candidates[costs.indexOf(Math.min(...costs))];
}

/** What names the file being completed: tokens before the infill tokens, and at the start of the prefix. */
function fileHeader(tokenizer: Tokenizer, form: FileForm, request: InfillRequest, budget: number) {
  const named = request.filename !== undefined;
  const others = (request.extra ?? []).length > 0;
  const none = { before: [], inside: [] };
  if (!named && !others) return none;
  if (form.kind === "plain") return { ...none, inside: others ? tokenizer.encode(PLAIN_SEPARATOR) : [] };
  const path = encodePath(tokenizer, request.filename, budget);
  return form.kind === "inside"
    ? { ...none, inside: [form.separator, ...path] }
    : { before: [form.separator], inside: path };
}

function cutAround(tokenizer: Tokenizer, request: InfillRequest, lineStart: readonly number[], room: number) {
  const suffixRoom = Math.floor(room / 4);
  const prefixAll = lastTokens(tokenizer, request.prefix, room);
  const suffixAll = firstTokens(tokenizer, request.suffix, room);
  const prefixLength = prefixAll.ids.length + lineStart.length;
  const forSuffix = Math.max(suffixRoom, room - prefixLength);
  const suffix = keepStart(tokenizer, suffixAll, Math.min(forSuffix, room));
  const forPrefix = room - suffix.ids.length;
  const line = lineStart.slice(Math.max(0, lineStart.length - forPrefix));
  const before = keepEnd(tokenizer, prefixAll, forPrefix - line.length);
  const truncated = before.truncated || line.length < lineStart.length;
  return { prefix: { ids: [...before.ids, ...line], truncated }, suffix };
}

/** The other files' tokens, oldest first, as many of the newest as fit. */
function otherFiles(
  tokenizer: Tokenizer,
  form: FileForm,
  files: NonNullable<InfillRequest["extra"]>,
  room: number,
): Cut {
  let ids: number[] = [];
  for (const { filename, text } of files.toReversed()) {
    const head = form.kind === "plain"
      ? tokenizer.encode(PLAIN_SEPARATOR)
      : [form.separator, ...encodePath(tokenizer, filename, room)];
    const left = room - ids.length - head.length;
    if (left <= 0) return { ids, truncated: true };
    const body = keepEnd(tokenizer, lastTokens(tokenizer, text, left), left);
    ids = [...head, ...body.ids, ...ids];
    if (body.truncated) return { ids, truncated: true };
  }
  return { ids, truncated: false };
}

/** A file's name and line break; of a name too long for its place, the end. */
function encodePath(tokenizer: Tokenizer, filename: string | undefined, budget: number): readonly number[] {
  const most = Math.max(1, Math.min(MAX_PATH_TOKENS, Math.floor(budget / 4)));
  return lastTokens(tokenizer, `${filename ?? UNNAMED_FILE}\n`, most).ids.slice(-most);
}

/** The tokens of the end of `text`, at least `count` of them where there are as many; encodes no more than it must. */
function lastTokens(tokenizer: Tokenizer, text: string, count: number): Cut {
  for (let length = (count + 1) * BYTES_PER_TOKEN;; length *= 2) {
    if (length >= text.length) return { ids: tokenizer.encode(text), truncated: false };
    const start = afterLineBreak(text, text.length - length);
    const ids = tokenizer.encode(text.slice(start));
    if (ids.length > count) return { ids, truncated: true };
  }
}

/** As `lastTokens`, from the start of `text`. */
function firstTokens(tokenizer: Tokenizer, text: string, count: number): Cut {
  for (let length = (count + 1) * BYTES_PER_TOKEN;; length *= 2) {
    if (length >= text.length) return { ids: tokenizer.encode(text), truncated: false };
    const lineBreak = text.lastIndexOf("\n", length - 1);
    const end = lineBreak > length / 2 ? lineBreak + 1 : withinCharacter(text, length) ? length + 1 : length;
    const ids = tokenizer.encode(text.slice(0, end));
    if (ids.length > count) return { ids, truncated: true };
  }
}

/** The start of a line at or soon after `index`, so that what is encoded begins where the model saw tokens begin. */
function afterLineBreak(text: string, index: number): number {
  const lineBreak = text.indexOf("\n", index);
  if (lineBreak >= 0 && lineBreak - index < (text.length - index) / 2) return lineBreak + 1;
  return withinCharacter(text, index) ? index - 1 : index;
}

/** Whether `index` falls between the two halves of a character outside the basic plane. */
function withinCharacter(text: string, index: number): boolean {
  return /^[\uD800-\uDBFF][\uDC00-\uDFFF]$/.test(text.slice(index - 1, index + 1));
}
