// What a key takes of a suggestion: its next word, or its next line. Pure.

/** Blanks and line breaks before the word come with it, as in other editors. */
export function nextWord(text: string): string {
  return /^\s*(?:[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]+|$)/u.exec(text)?.[0] ?? text;
}

/** Up to the next line's end; where the text begins with line breaks, the line after these. */
export function nextLine(text: string): string {
  return /^\n*[^\n]*/.exec(text)![0];
}
