// What a prompt that came as an array holds: token ids among its items, and which item is at fault where it is refused. It
// may have hundreds of thousands of items.
import { describeValue } from "./json_body.ts";

export function isTokenId(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** The value in few words and, of an array, its first item that `isItem` refuses; of an item that is an array, that one's. */
export function describePrompt(value: unknown, isItem: (item: unknown) => boolean): string {
  const whole = describeValue(value);
  if (!Array.isArray(value)) return whole;
  const at = value.findIndex((item) => !isItem(item));
  if (at < 0) return whole;
  const within = Array.isArray(value[at]) ? value[at].findIndex((item) => !isTokenId(item)) : -1;
  return within < 0
    ? `${whole} with ${describeValue(value[at])} at [${at}]`
    : `${whole} with ${describeValue(value[at][within])} at [${at}][${within}]`;
}
