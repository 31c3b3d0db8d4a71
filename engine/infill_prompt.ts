// An infill request as token ids: encodes prefix, suffix and other files, and cuts them to the context.
import { type Cut, keepEnd, keepStart } from "./anchored_cut.ts";
import { cheapestStart } from "./cached_start.ts";
import { firstTokens, lastTokens } from "./edge_tokens.ts";
import { type FileForm, type FimSupport, layOut, steadyPart } from "./fim.ts";
import type { EncodedPrompt } from "./generation.ts";
import type { FimLayout, Prompt } from "./request.ts";
import type { Backup } from "./token_healing.ts";
import type { Tokenizer } from "./tokenizer.ts";

type InfillRequest = Extract<Prompt, { kind: "infill" }>;

export interface InfillPrompt {
  readonly ids: number[];
  readonly layout: FimLayout;
  /** Something was cut off to fit. */
  readonly truncated: boolean;
  readonly healing?: NonNullable<EncodedPrompt["healing"]>;
}

/** By how much the text before the cursor is to be backed up. */
export type FindBackup = (ids: readonly number[]) => Backup | undefined;

/** Name of the file being completed where the request gives none but other files have theirs. */
const UNNAMED_FILE = "filename";
const PLAIN_SEPARATOR = "\n\n--- snippet ---\n\n";
const MAX_PATH_TOKENS = 64;

/** How many tokens an infill's prompt may have. */
export interface InfillRoom {
  readonly prompt: number;
  /** After the cursor, even where the prompt has room for more. Default: all that it has room for. */
  readonly suffix?: number;
  /** In a prompt that begins where a cached one does. Default: no more than in any. */
  readonly stretched?: number;
}

/** What is computed already. */
export interface ComputedTokens {
  /** How many of a prompt's tokens that are. */
  readonly countCached: (ids: readonly number[]) => number;
  /** As many, or more of a layout that is to be preferred. */
  readonly weigh: (layout: FimLayout, ids: readonly number[], cached: number) => number;
}

/** A prefix keeps at least this share of its room when it begins where a cached one does. */
const LEAST_SHOWN = 1 / 2;

/**
 * Lays out an infill prompt in the layout that the request wants, or else in that of `fim.layouts` in which fewest tokens
 * have yet to be computed, the first of equals. The prefix keeps its end and the suffix its start, three tokens to one;
 * what either leaves goes to the other, and what both leave to the other files, of which the last are kept first. Cuts
 * fall on steady places (`anchored_cut.ts`); where the layout is free, so is the place where the prefix begins
 * (`cached_start.ts`).
 * @param computed by which what is free is chosen; without it, as if nothing were cached
 */
export function buildInfillPrompt(
  tokenizer: Tokenizer,
  fim: FimSupport,
  request: InfillRequest,
  room: InfillRoom,
  computed?: ComputedTokens,
  findBackup: FindBackup = () => undefined,
): InfillPrompt {
  const tokens = fim.tokens;
  if (!tokens) throw new TypeError("Cannot lay out infill prompt: the vocabulary has no infill tokens");
  const header = fileHeader(tokenizer, fim.fileForm, request, room.prompt);
  const forText = Math.max(0, room.prompt - 3 - header.before.length - header.inside.length);
  const stretch = Math.max(0, (room.stretched ?? 0) - room.prompt);
  const mostSuffix = Math.min(forText, room.suffix ?? Infinity);
  const text = readAround(tokenizer, request, forText + stretch, mostSuffix);
  const suffix = keepSuffix(tokenizer, text, forText, mostSuffix);
  const forPrefix = forText - suffix.ids.length;
  const usual = usualStart(tokenizer, text, forPrefix);
  const prefix = text.prefix.ids, numShown = prefix.length - usual;
  const files = otherFiles(tokenizer, fim.fileForm, request.extra ?? [], forPrefix - numShown);
  const outside = fim.fileForm.kind === "outside";
  const around = (layout: FimLayout, shown: readonly number[]) => {
    const before = [...(outside ? [] : files.ids), ...header.inside, ...shown];
    const ids = layOut(tokens, layout, { prefix: before, suffix: suffix.ids });
    return outside ? [...files.ids, ...header.before, ...ids] : ids;
  };
  const backup = findBackup(prefix.slice(usual));
  const read = prefix.slice(0, prefix.length - (backup?.numTokens ?? 0));
  const last = prefix.length - Math.ceil(numShown * LEAST_SHOWN);
  const startIn = (layout: FimLayout, { countCached }: ComputedTokens) =>
    cheapestStart({
      ...{ tokenizer, ids: read, usual, countCached },
      first: Math.max(0, prefix.length - forPrefix - stretch + files.ids.length),
      last: Math.min(last, read.length, prefix.length - text.lineLength),
      beforeText: steadyPart(tokens, layout, around(layout, [])),
      promptFrom: (start) => around(layout, read.slice(start)),
    });
  const isFree = request.layout === undefined && fim.layouts.length > 1;
  const candidates = (request.layout ? [request.layout] : fim.layouts).map((layout) => {
    const start = isFree && computed ? startIn(layout, computed) : usual;
    return { layout, start, ids: around(layout, read.slice(start)) };
  });
  const { start, ...chosen } = leastBy(
    candidates,
    ({ ids, layout }) => ids.length - (computed ? computed.weigh(layout, ids, computed.countCached(ids)) : 0),
  );
  const wholeIds = () => around(chosen.layout, prefix.slice(start));
  return {
    ...chosen,
    ...(backup && { healing: { bytes: backup.bytes, wholeIds: wholeIds() } }),
    truncated: text.prefix.truncated || start > 0 || suffix.truncated || files.truncated,
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

interface TextAround {
  /** The cursor's line up to it included. */
  readonly prefix: Cut;
  /** Tokens of that line, by its end. */
  readonly lineLength: number;
  readonly suffix: Cut;
}

/** As much of the text before the cursor and after it as might be shown. */
function readAround(
  tokenizer: Tokenizer,
  request: InfillRequest,
  mostPrefix: number,
  mostSuffix: number,
): TextAround {
  const line = tokenizer.encode(request.lineStart ?? "", { parseSpecial: true });
  const before = lastTokens(tokenizer, request.prefix, mostPrefix);
  return {
    prefix: { ...before, ids: [...before.ids, ...line] },
    lineLength: line.length,
    suffix: firstTokens(tokenizer, request.suffix, mostSuffix),
  };
}

function keepSuffix(tokenizer: Tokenizer, { prefix, suffix }: TextAround, room: number, most: number): Cut {
  const left = Math.max(Math.floor(room / 4), room - prefix.ids.length);
  return keepStart(tokenizer, suffix, Math.min(left, most));
}

/** The index of the prefix at which what is shown of it begins: of the line, too, what there is room for. */
function usualStart(tokenizer: Tokenizer, { prefix: { ids }, lineLength }: TextAround, room: number): number {
  if (lineLength >= room) return Math.max(0, ids.length - room);
  const before = ids.slice(0, ids.length - lineLength);
  return before.length - keepEnd(tokenizer, { ids: before, truncated: false }, room - lineLength).ids.length;
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
