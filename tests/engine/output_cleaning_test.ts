// Output rules seen from the engine: what they end, what they leave alone, and that nothing leaks on the way.
import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { codeAround } from "../../engine/code_around.ts";
import { InvalidRequestError } from "../../engine/errors.ts";
import { CODE_RULES, makeCleaner, type OutputRules } from "../../engine/output_rules.ts";
import type { GenerationRequest, Prompt } from "../../engine/request.ts";
import { StopMatcher } from "../../engine/stop.ts";
import { collect, complete, completionOf, openFakeEngine } from "./fake_model.ts";
import { byteIds } from "./tiny_tokenizer.ts";

const LIMITS = { maxTokens: 128, maxBlocksPerSequence: 16 };

/** A runner that writes `text` byte by byte, then end of text. */
function writes(text: string) {
  const ids = byteIds(text);
  return {
    limits: LIMITS,
    next: (_: readonly number[], { counter }: { counter: number }) => ids[counter] ?? 0,
  };
}

function infill(prefix: string, suffix: string, outputRules?: OutputRules): GenerationRequest {
  const prompt: Prompt = { kind: "infill", prefix, suffix };
  return { prompt, maxTokens: 40, temperature: 0, ...(outputRules && { outputRules }) };
}

Deno.test("LocalEngine.submit() ends generation with the rule that ends the text, and frees its blocks", async () => {
  await using fake = await openFakeEngine(writes("é()\n  b\n\nelse\nmore and more"));
  const { text, finish, pieces } = await complete(fake.engine, infill("  ", "\n", { scope: "block" }));
  assert.equal(text, "é()\n  b");
  assert.deepEqual([finish.reason, finish.rules, finish.text], ["rule", ["scope"], ""]);
  assert.equal(finish.completionTokens, pieces.length);
  assert.equal(finish.completionTokens, byteIds("é()\n  b\n\ne").length);
  const { freeBlocks, totalBlocks } = await fake.engine.stats();
  assert.equal(freeBlocks, totalBlocks);
});

Deno.test("LocalEngine.submit() leaves tokens and text alone where no rule is asked for", async () => {
  await using plain = await openFakeEngine(writes("a)\n}\n"));
  await using cleaning = await openFakeEngine(writes("a)\n}\n"), { outputRules: CODE_RULES });
  const around = ["f(", ")\r\n}\r\n"] as const;
  assert.equal((await complete(plain.engine, infill(...around))).text, "a)\n}\n");
  assert.equal((await complete(cleaning.engine, infill(...around))).text, "a");
  const { text, finish } = await complete(cleaning.engine, { ...infill(...around), logprobs: 1 });
  assert.deepEqual([text, finish.reason, finish.rules], ["a)\n}\n", "eos", undefined]);
  const off = { trimSuffix: false, trimRepeats: false, trimBlanks: false };
  const own = await complete(cleaning.engine, infill(...around, off));
  assert.equal(own.text, "a)\r\n}\r\n", "a request's own rules go before the server's");
});

Deno.test("LocalEngine.submit() delivers no text that a rule cuts, and holds characters and stop strings as ever", async () => {
  await using fake = await openFakeEngine(writes("é)🙂\n  bSTOP"));
  const wanted = infill("f(", ")🙂\n  b", { trimSuffix: true });
  const events = await collect(fake.engine.submit({ ...wanted, stop: ["STOP"] }));
  const { text, pieces, finish } = completionOf(events);
  assert.equal(text, "é");
  assert.deepEqual(pieces.filter((piece) => piece !== ""), ["é"]);
  assert.deepEqual([finish.reason, finish.stopString, finish.rules], ["stop", "STOP", ["trim_suffix"]]);
});

Deno.test("LocalEngine.submit() shows the model a CRLF file without CRs, and gives them back", async () => {
  await using fake = await openFakeEngine(writes("a\nb\n\nc"));
  const crlf = { ...infill("x\r\n", "\r\ny", { keepCrlf: true }), stop: ["\r\n\r\n"] };
  const events = await collect(fake.engine.submit(crlf));
  assert.deepEqual([completionOf(events).text, completionOf(events).finish.rules], ["a\r\nb", ["keep_crlf"]]);
  const lf = await collect(fake.engine.submit(infill("x\n", "\ny")));
  assert.deepEqual(
    events[0].kind === "prompt" && events[0].tokenIds,
    lf[0].kind === "prompt" && lf[0].tokenIds,
  );
});

Deno.test("LocalEngine.submit() cleans each sample by itself", async () => {
  await using fake = await openFakeEngine(writes("a\nb"));
  const events = await collect(fake.engine.submit({ ...infill("", "", { scope: "line" }), n: 2 }));
  assert.deepEqual([0, 1].map((sample) => completionOf(events, sample).text), ["a", "a"]);
});

Deno.test("LocalEngine.submit() refuses rules that are none", async () => {
  await using fake = await openFakeEngine();
  for (const [field, rules] of [["scope", { scope: "word" }], ["minIndent", { minIndent: 1.5 }]] as const) {
    await assert.rejects(
      collect(fake.engine.submit(infill("", "", rules as OutputRules))),
      (error) => error instanceof InvalidRequestError && error.field === `outputRules.${field}`,
    );
  }
});

const PARTS = ["a", "b ", "\n", "\n  ", ")", "}", "(", "é", "🙂", "END", "\t"];
const CODE_TEXT = fc.array(fc.constantFrom(...PARTS), { maxLength: 14 }).map((parts) => parts.join(""));

Deno.test("LocalEngine.submit() streams what stop strings and rules leave of the whole text, byte by byte", async () => {
  const all = {
    scope: fc.constantFrom("line" as const, "block" as const, "none" as const),
    trimSuffix: fc.boolean(),
  };
  const rules = fc.record({ ...all, trimRepeats: fc.boolean(), trimBlanks: fc.boolean() });
  let written = "";
  await using fake = await openFakeEngine({
    limits: LIMITS,
    next: (_, { counter }) => byteIds(written)[counter] ?? 0,
  });
  await fc.assert(
    fc.asyncProperty(rules, CODE_TEXT, CODE_TEXT, CODE_TEXT, async (outputRules, prefix, suffix, text) => {
      written = text;
      const stop = new StopMatcher(["END"]);
      const cleaner = makeCleaner(
        outputRules,
        codeAround({ kind: "infill", prefix, suffix }, () => ""),
      );
      const expected = cleaner.push(stop.push(text).text) + cleaner.push(stop.flush()) + cleaner.flush();
      const wanted = {
        ...infill(prefix, suffix, outputRules),
        maxTokens: 60,
        stop: ["END"],
        cachePrompt: false,
      };
      const found = await complete(fake.engine, wanted);
      assert.equal(found.text, expected);
      assert.deepEqual(found.finish.rules ?? [], cleaner.acted);
      assert.ok(!found.pieces.some((piece) => piece.includes("\ufffd")));
    }),
    { numRuns: 500 },
  );
  const { freeBlocks, totalBlocks } = await fake.engine.stats();
  assert.equal(freeBlocks, totalBlocks);
});
