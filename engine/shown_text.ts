// What a client wrote, as errors repeat it: the beginning is enough to find it by.

/** At most so many UTF-16 units of a text, with "…" where more follow, and no half of a character. */
export function beginningOf(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most).replace(/[\uD800-\uDBFF]$/, "")}…` : text;
}

/** The same of a text's end, which is what names a place by. */
export function endOf(text: string, most: number): string {
  return text.length > most ? `…${text.slice(-most).replace(/^[\uDC00-\uDFFF]/, "")}` : text;
}
