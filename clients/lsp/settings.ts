// What a user can set, as it comes with `initializationOptions` and `workspace/didChangeConfiguration`: the fields, their
// defaults, and the check of both.
import { z } from "zod";

const settings = z.object({
  enabled: z.boolean().default(true),
  /** Languages, by their LSP identifiers, in which nothing is suggested unasked. */
  disabledLanguages: z.array(z.string()).default([]),
  /** Milliseconds without a key before the server is asked, or "adaptive": by how one types. */
  debounce: z.union([z.literal("adaptive"), z.number().min(0).max(10_000)]).default("adaptive"),
  /** Whether completions may have several lines. auto: as `trigger.ts` says. */
  multiLine: z.enum(["auto", "always", "never"]).default("auto"),
  maxTokens: z.int().min(1).max(2048).default(128),
  /** A completion ends at the first line break that comes later than this after its first token, milliseconds. */
  maxPredictMs: z.number().min(0).default(500),
  /** Completions to choose from when one asks by hand. */
  alternatives: z.int().min(1).max(8).default(3),
  /** Ask for what comes after a completion while it is being looked at. */
  speculative: z.boolean().default(true),
  /** Pieces of other files that are shown to the model; 0: none. */
  contextChunks: z.int().min(0).max(64).default(16),
  /** Files, in .gitignore's notation, in which nothing is suggested and of which the model sees nothing. */
  exclude: z.array(z.string()).default([]),
  /** Tell the server what was shown, taken and dismissed (POST /v1/events). */
  events: z.boolean().default(true),
});

export type Settings = Readonly<z.output<typeof settings>>;

/**
 * Fields that are missing or null have their default; unknown ones are ignored.
 * @throws {TypeError} a field is wrong; says which and what it may be
 */
export function parseSettings(given: unknown): Settings {
  const fields = typeof given === "object" && given !== null ? Object.entries(given) : [];
  const result = settings.safeParse(Object.fromEntries(fields.filter(([, value]) => value !== null)));
  if (result.success) return result.data;
  const [{ path, message }] = result.error.issues;
  throw new TypeError(`Cannot take setting "${path.join(".")}": ${message}`);
}
