import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { keepEnd, keepStart } from "../../engine/anchored_cut.ts";
import { detectFim } from "../../engine/fim.ts";
import { buildInfillPrompt } from "../../engine/infill_prompt.ts";
import { Tokenizer } from "../../engine/tokenizer.ts";
import { tinyTokenizerJson } from "./tiny_tokenizer.ts";

const tokenizer = new Tokenizer(tinyTokenizerJson());
const fim = detectFim(tokenizer);

/** Lines of some 20 bytes, a sixth of them blank and a sixth closing brackets, as in code. */
function lines(count: number, seed: number): string[] {
  return Array.from({ length: count }, (_, i) => {
    const noise = Math.imul(i * 2654435761 + seed, 0x9e3779b1) >>> 0;
    if (noise % 6 === 0) return "\n";
    if (noise % 6 === 1) return "    }\n";
    return `    v${noise % 1000} = f(${noise % 77}, ${noise % 13})\n`;
  });
}

function keptEnd(text: string, room: number): string {
  return tokenizer.decode(keepEnd(tokenizer, { ids: tokenizer.encode(text), truncated: false }, room).ids);
}

Deno.test("keepEnd() and keepStart() keep at least three quarters of the room, and never more than it", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "\n", " ", "é", "def", "\n\n"), maxLength: 200 });
  fc.assert(fc.property(text, fc.nat(150), (text, room) => {
    const all = { ids: tokenizer.encode(text), truncated: false };
    for (const keep of [keepEnd, keepStart]) {
      const { ids, truncated } = keep(tokenizer, all, room);
      assert.equal(truncated, all.ids.length > room);
      if (!truncated) assert.deepEqual(ids, all.ids);
      else assert.ok(ids.length <= room && ids.length >= room - Math.floor(room / 4));
    }
  }));
});

Deno.test("keepEnd() keeps its place while a window slides, line by line and token by token", () => {
  fc.assert(
    fc.property(fc.nat(1e6), (seed) => {
      const file = lines(320, seed);
      let moved = 0, before = "";
      for (let end = 200; end < 320; end++) {
        // The client has a window of its own, longer than ours.
        const window = file.slice(end - 150, end).join("");
        const kept = keptEnd(window, 2000);
        const first = kept.trimStart().slice(0, 40);
        if (first !== before) moved++;
        before = first;
        for (const typed of ["x", "x = 1"]) {
          if (keptEnd(window + typed, 2000) !== kept + typed) moved++;
        }
      }
      // A slack of some 30 lines moves on about every 15th line.
      assert.ok(moved < 40, `${moved} of 360 steps moved the start`);
    }),
    { numRuns: 2 },
  );
});

Deno.test("keepStart() keeps its place while its room shrinks token by token", () => {
  const ids = tokenizer.encode(lines(300, 7).join(""));
  const ends = Array.from(
    { length: 400 },
    (_, i) => keepStart(tokenizer, { ids, truncated: false }, 1400 - i).ids.length,
  );
  const moved = ends.filter((end, i) => i > 0 && end !== ends[i - 1]).length;
  assert.ok(moved < 10, `${moved} of 400 tokens moved the end`);
});

Deno.test("buildInfillPrompt() begins alike when lines are added to a prompt that is cut", () => {
  const file = lines(400, 3), suffix = lines(60, 4).join("");
  for (const layout of ["psm", "spm"] as const) {
    let reused = 0, total = 0, before: number[] = [];
    for (let end = 200; end < 400; end++) {
      const prompt = { kind: "infill" as const, prefix: file.slice(end - 180, end).join(""), suffix, layout };
      const { ids, truncated } = buildInfillPrompt(tokenizer, fim, prompt, { prompt: 2000 });
      assert.ok(truncated && ids.length <= 2000);
      const differs = ids.findIndex((id, i) => id !== before[i]);
      reused += differs < 0 ? ids.length : differs;
      total += ids.length;
      before = ids;
    }
    // In PSM the suffix, a third of it, has to follow the new line; in SPM nothing has.
    const share = reused / total;
    assert.ok(
      share > (layout === "psm" ? 0.5 : 0.8),
      `${layout}: ${share.toFixed(2)} of the tokens were alike`,
    );
  }
});
