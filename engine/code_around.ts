// The code around the cursor, as the text rules need it: taken from a prompt of any kind, those included in which a
// client has written the infill tokens itself. Pure.
import { FIM_SPELLINGS, type FimSpelling } from "./control_tokens.ts";
import type { Prompt } from "./request.ts";

export interface CodeAround {
  /** Of the line at the cursor, what stands before it. */
  readonly lineStart: string;
  /** And what stands after it, without the line break. */
  readonly lineEnd: string;
  /** All that is known to follow the cursor; line breaks are "\n", however the file has them. */
  readonly after: string;
  /** The file's lines end with CRLF. */
  readonly crlf: boolean;
}

/** @param decode text of a prompt that came as token ids */
export function codeAround(prompt: Prompt, decode: (ids: readonly number[]) => string): CodeAround {
  const { before, after } = sides(prompt, decode);
  const lf = withoutCrs(after);
  return {
    lineStart: before.slice(before.lastIndexOf("\n") + 1),
    lineEnd: /^[^\n]*/.exec(lf)![0],
    after: lf,
    crlf: hasCrlf(before, after),
  };
}

/** The prompt with line breaks that are "\n" alone. */
export function withoutCrlf(prompt: Prompt): Prompt {
  switch (prompt.kind) {
    case "tokens":
      return prompt;
    case "text":
      return { ...prompt, text: withoutCrs(prompt.text) };
    case "infill":
      return {
        ...prompt,
        prefix: withoutCrs(prompt.prefix),
        suffix: withoutCrs(prompt.suffix),
        ...(prompt.extra && {
          extra: prompt.extra.map((file) => ({ ...file, text: withoutCrs(file.text) })),
        }),
      };
  }
}

export function withoutCrs(text: string): string {
  return text.replaceAll("\r\n", "\n");
}

/** The line break before the cursor decides, or else the one after it. */
function hasCrlf(before: string, after: string): boolean {
  const last = before.lastIndexOf("\n"), first = after.indexOf("\n");
  return last >= 0 ? before[last - 1] === "\r" : first > 0 && after[first - 1] === "\r";
}

interface Sides {
  readonly before: string;
  readonly after: string;
}

/** A text prompt taken apart: around `before` and `after` stands what is left of it, infill tokens and other files; the same for whatever is typed. */
export interface TextSides extends Sides {
  readonly frame: string;
}

function sides(prompt: Prompt, decode: (ids: readonly number[]) => string): Sides {
  switch (prompt.kind) {
    case "infill":
      return { before: prompt.prefix + (prompt.lineStart ?? ""), after: prompt.suffix };
    case "text":
      return prompt.parseSpecial ? readInfill(prompt.text) : { before: prompt.text, after: "" };
    case "tokens":
      return readInfill(decode(prompt.ids));
  }
}

/** The sides of a text in which infill tokens may stand as text; without them all of it is before the cursor. */
export function readInfill(text: string): TextSides {
  for (const spelling of FIM_SPELLINGS) {
    const found = readSpelling(text, spelling);
    if (found) return found;
  }
  return { before: text, after: "", frame: "" };
}

/** Either layout: in one the prefix stands before the suffix, in the other at the end, and nothing in its place. */
function readSpelling(text: string, { prefix, suffix, middle }: FimSpelling): TextSides | undefined {
  const middleAt = text.lastIndexOf(middle);
  if (middleAt < 0) return undefined;
  const suffixAt = text.lastIndexOf(suffix, middleAt);
  const prefixAt = suffixAt < 0 ? -1 : text.lastIndexOf(prefix, suffixAt);
  if (prefixAt < 0) return undefined;
  const inFront = text.slice(prefixAt + prefix.length, suffixAt),
    atEnd = text.slice(middleAt + middle.length);
  const layout = atEnd === "" ? prefix : suffix; // Which of the two the text before the cursor follows, or would.
  return {
    before: inFront + atEnd,
    after: text.slice(suffixAt + suffix.length, middleAt),
    frame: `${text.slice(0, prefixAt)}${layout}${text.slice(suffixAt, middleAt)}`,
  };
}
