// Who asks and how urgent it is: what a request's headers, body and connection say of its session and its priority.
// Knows the defaults, and nothing of what the engine makes of them.
import { z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { PRIORITIES, type Priority } from "../engine/priority.ts";
import type { Requester } from "../engine/request.ts";
import { HttpProblem } from "./http_problem.ts";
import { beginningOf } from "../engine/shown_text.ts";

const MAX_SESSION_CHARACTERS = 256;
/** More new tokens than these, all wanted at once, are nobody's next line. */
const MAX_LIVE_TOKENS = 512;
const MAX_LIVE_SAMPLES = 4;
const PRIORITY_FORMS = `one of ${PRIORITIES.map((name) => `"${name}"`).join(", ")} or a whole number`;

/** Fields of either dialect's body. */
export const standingFields = {
  session_id: z.string().max(MAX_SESSION_CHARACTERS).optional().describe(
    "Extension: names one editor. A newer request of a session ends its older ones, which say `superseded`. Also as " +
      "the header `X-Session-Id`.",
  ),
  priority: z.union([z.enum(PRIORITIES), z.int()], { error: `"priority" must be ${PRIORITY_FORMS}` })
    .optional().describe(
      "Extension: who comes first. Absent: by what is asked for. A number is vLLM's: above 0 is `batch`. Also as the " +
        "header `X-Priority`.",
    ),
};

export const supersededField = z.literal(true).optional().describe(
  "Extension: a newer request of the same session took this one's place; the text is what there was by then.",
);

/** What a dialect's request asks for, as far as its urgency follows from it. */
export interface Wish {
  readonly session_id?: string | undefined;
  readonly priority?: Priority | number | undefined;
  readonly numPrompts: number;
  readonly n: number;
  /** Undefined: as many as fit. */
  readonly maxTokens: number | undefined;
  readonly stream: boolean;
  readonly scoresPrompt: boolean;
  /** Known to ask for what may be wanted next. */
  readonly speculative: boolean;
}

export interface Standing {
  readonly priority: Priority;
  readonly requester: Requester;
}

/** @throws {HttpProblem} a header is no priority, or too long for a session's name */
export function standingOf(c: Context, wish: Wish): Standing {
  const session = sessionHeader(c) ?? wish.session_id;
  const key = c.get("exchange").keyName;
  const client = clientOf(c);
  // The prompts of one request are no versions of one another.
  const named = session !== undefined && session !== "" && wish.numPrompts === 1;
  return {
    priority: priorityOf(c, wish),
    requester: {
      ...(key !== undefined && { key }),
      ...(named && { session }),
      ...(client !== undefined && wish.numPrompts === 1 && { client }),
    },
  };
}

function sessionHeader(c: Context): string | undefined {
  const session = c.req.header("x-session-id");
  if (session === undefined || session.length <= MAX_SESSION_CHARACTERS) return session;
  throw new HttpProblem(
    "invalid",
    `The header X-Session-Id must have at most ${MAX_SESSION_CHARACTERS} characters, received ${session.length}`,
    { param: "session_id", code: "invalid_value" },
  );
}

/** The header first: whoever puts a proxy between says so there. */
function priorityOf(c: Context, wish: Wish): Priority {
  const header = c.req.header("x-priority");
  const said = header === undefined ? wish.priority : parsePriority(header);
  if (typeof said === "string") return said;
  return said !== undefined && said > 0 ? "batch" : defaultPriority(wish);
}

function parsePriority(text: string): Priority | number {
  const found = PRIORITIES.find((priority) => priority === text.toLowerCase());
  if (found) return found;
  if (/^[+-]?\d+$/.test(text)) return Number(text);
  throw new HttpProblem(
    "invalid",
    `The header X-Priority must be ${PRIORITY_FORMS}, received "${beginningOf(text, 50)}"`,
    { param: "priority", code: "invalid_value" },
  );
}

function defaultPriority(wish: Wish): Priority {
  const { numPrompts, n, maxTokens, stream, scoresPrompt, speculative } = wish;
  if (scoresPrompt || numPrompts > 1 || n > MAX_LIVE_SAMPLES) return "batch";
  if (maxTokens === 0) return "warm-up";
  if (!stream && maxTokens !== undefined && maxTokens > MAX_LIVE_TOKENS) return "batch";
  return speculative ? "speculative" : "live";
}

/**
 * The client's address and what it calls itself. Behind a proxy the address is the proxy's, and many people may share
 * it: what a proxy adds counts as well, and where the address is not known nothing is.
 */
function clientOf(c: Context): string | undefined {
  const address = (c.env as { remoteAddress?: string } | undefined)?.remoteAddress;
  if (address === undefined) return undefined;
  const facts = ["user-agent", "x-forwarded-for", "forwarded", "x-real-ip"].map((name) => c.req.header(name));
  return JSON.stringify([address, ...facts.map((fact) => fact ?? "")]);
}
