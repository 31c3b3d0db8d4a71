// Whether brackets and quotes belong to the text before them. Counts characters and parses no language: strings and
// comments that hold brackets mislead it, towards leaving text as it is.

const PAIRS = ["()", "[]", "{}"] as const;
const QUOTES = ['"', "'", "`"] as const;

/** Whether `end` closes something that `text`, which it follows, has opened. */
export function closesItsOwn(text: string, end: string): boolean {
  return PAIRS.some(([open, close]) =>
    count(end, close) > count(end, open) && count(text, open) > count(text, close)
  ) || QUOTES.some((quote) => count(end, quote) % 2 === 1 && count(text, quote) % 2 === 1);
}

function count(text: string, unit: string): number {
  return text.split(unit).length - 1;
}
