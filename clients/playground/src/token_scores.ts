// The probabilities of a suggestion's tokens. Asked for apart and later, because a request with probabilities can neither
// be healed nor answered from what was typed before: the request of an editor stays what an editor's is. What healing took
// back of the prompt is left out here, and the model writes on from there; where it would not write what was typed, the
// likeliest token that does is put in its place, as healing did, and it goes on from that. Nearly all of it is cached.
import type { Connection } from "./connection.ts";
import { type InfillEnd, type InfillOptions, streamInfill, type TokenProbability } from "./infill.ts";
import type { RequestRecord, TokenScores } from "./request_record.ts";

/** As many as the server tells: what was typed must be among them. */
const ALTERNATIVES = 20;
/** Beyond the completion's tokens: those that spell what healing took back. */
const SPARE_TOKENS = 4;
const MAX_REQUESTS = 4;

/** Undefined where there is nothing to score. @throws as `streamInfill` */
export async function scoreTokens(
  connection: Connection,
  { context, text, end }: RequestRecord,
  signal: AbortSignal,
): Promise<TokenScores | undefined> {
  const prefix = end && withoutEnd(context.prefix, end.healed ?? 0);
  if (!end || prefix === undefined) return undefined;
  const typed = context.prefix.slice(prefix.length), shown = typed + text;
  const tokens: TokenProbability[] = [];
  let written = "", afterWord = false;
  for (let requests = 0; requests < MAX_REQUESTS && written.length < shown.length; requests++) {
    const before = written.length;
    const from = { prefix: prefix + written, suffix: context.suffix };
    for await (const part of streamInfill(connection, from, optionsOf(end), signal)) {
      if (part.stop) continue;
      const found = follow(part.completion_probabilities ?? [], shown.slice(written.length));
      tokens.push(...found.tokens);
      written += found.tokens.map(({ token }) => token).join("");
      if (!found.asDrawn || written.length >= shown.length) break;
    }
    if (written.length > before) continue;
    if (written.length >= typed.length) break;
    // The word at the cursor is none of the likeliest, and what its tokens are nobody says: on from its end.
    afterWord = true;
    written = typed + /^[\p{L}\p{N}_]*/u.exec(text)![0];
  }
  return { tokens, afterWord };
}

/** Tokens as they were drawn, for as long as they spell the text; then the likeliest that does, if it is known. */
function follow(drawn: readonly TokenProbability[], text: string) {
  const tokens: TokenProbability[] = [];
  let rest = text;
  for (const token of drawn) {
    const spelling = [token, ...token.top_logprobs].find((one) => spells(one.token, rest));
    if (spelling) tokens.push({ ...token, token: spelling.token, logprob: spelling.logprob });
    if (spelling !== token) return { tokens, asDrawn: false };
    rest = rest.slice(token.token.length);
  }
  return { tokens, asDrawn: true };
}

/** The last token may go beyond what was shown: rules cut within tokens. */
function spells(token: string, text: string): boolean {
  return token !== "" && (text.startsWith(token) || token.startsWith(text));
}

function optionsOf({ timings, fim_layout }: InfillEnd): InfillOptions {
  return {
    maxTokens: timings.predicted_n + SPARE_TOKENS,
    priority: "speculative",
    fields: { n_probs: ALTERNATIVES, token_healing: false, ...(fim_layout && { fim_layout }) },
  };
}

/** Without its last bytes; undefined where these are part of a character. */
function withoutEnd(text: string, bytes: number): string | undefined {
  if (bytes === 0) return text;
  try {
    const encoded = new TextEncoder().encode(text);
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
      .decode(encoded.subarray(0, encoded.length - bytes));
  } catch {
    return undefined;
  }
}
