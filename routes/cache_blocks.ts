// GET /blocks: what each block of the KV cache is good for, a letter a block, for those who draw a map of it. Made when
// it is asked for; /metrics has the sums.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import { BLOCK_KINDS, type BlockKind } from "../engine/block_map.ts";
import type { ModelChoice } from "../engine/model_choice.ts";
import { modelQuery, namedEngine } from "./named_model.ts";
import { documentRoute } from "./openapi.ts";

const LETTERS: Readonly<Record<BlockKind, string>> = { empty: ".", cached: "c", held: "h", shared: "s" };

const cacheBlocks = z.object({
  device: z.string().describe(
    "By block of the device: `.` empty, `c` cached for later and held by nobody, `h` held by one sequence, `s` by several.",
  ),
  host: z.string().describe("By slot of host memory: `.` empty, `c` where a block is parked."),
}).openapi("CacheBlocks");

export function cacheBlocksRoute(models: ModelChoice): OpenAPIHono {
  const app = new OpenAPIHono();
  app.get("/blocks", async (c) => {
    const { device, host } = await namedEngine(c, models, c.req.query("model")).blocks();
    return c.json({ device: toLetters(device), host: toLetters(host) });
  });
  documentRoute(app, {
    method: "get",
    path: "/blocks",
    summary: "What each block of the KV cache is good for",
    description: "A letter for each block of 16 tokens, by the block's number.",
    query: modelQuery,
    reply: cacheBlocks,
  });
  return app;
}

const LETTER_BYTES = new TextEncoder().encode(BLOCK_KINDS.map((kind) => LETTERS[kind]).join(""));

function toLetters(kinds: Uint8Array): string {
  return new TextDecoder().decode(kinds.map((kind) => LETTER_BYTES[kind]));
}
