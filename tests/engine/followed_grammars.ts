// Grammars followed by the real library over the default model's tokens: at random, and along a text.
import assert from "node:assert/strict";
import { DEFAULT_MODEL_DIR } from "../../cli/default_model.ts";
import type { GrammarText } from "../../engine/grammar.ts";
import { GrammarPool, type GrammarPoolLimits } from "../../engine/grammar_pool.ts";
import { ServedModel } from "../../engine/served_model.ts";
import type { TokenConstraint } from "../../engine/token_constraint.ts";
import { Tokenizer } from "../../engine/tokenizer.ts";
import { hasToken } from "../../kernels/sampling/token_mask.ts";
import { Random } from "../kernels/random.ts";
import { fakeModel, until } from "./fake_model.ts";
import { FakeRunner } from "./fake_runner.ts";

const TOKENIZER_JSON = JSON.parse(
  Deno.readTextFileSync(`${DEFAULT_MODEL_DIR}/tokenizer.json`),
);
const TOKENIZER = new Tokenizer(TOKENIZER_JSON);

export const MODEL = new ServedModel({
  ...fakeModel(new FakeRunner()),
  vocabSize: 16384,
  suppressedTokens: [1, 2, 3, 4],
  tokenizer: { tokenizerJson: TOKENIZER_JSON, tokenizerConfig: {} },
}, { modelId: "fake" });

export function makePool(limits: GrammarPoolLimits = {}): GrammarPool {
  return new GrammarPool(() => MODEL.grammarVocabulary(), () => {}, limits);
}

/** A constraint and a way to wait for its mask. */
export function open(pool: GrammarPool, grammar: GrammarText) {
  let failure: Error | undefined;
  const constraint = pool.open({ field: "guided", ...grammar }, (error) => failure = error);
  const mask = async (): Promise<Uint32Array> => {
    await until(() => constraint.next !== "pending" || failure !== undefined);
    if (failure) throw failure;
    return constraint.next as Uint32Array;
  };
  return { constraint, mask };
}

/**
 * A random walk through the grammar: any token that is allowed, but the end as soon as it is. Of whole characters where
 * there are any: XGrammar lets three bytes make a surrogate, which is no character.
 */
export async function walk(pool: GrammarPool, grammar: GrammarText, random: Random): Promise<string> {
  const { constraint, mask } = open(pool, grammar);
  using _ = constraint as TokenConstraint;
  const ids: number[] = [];
  while (ids.length < 200) {
    const allowed = await mask();
    const choices = Array.from({ length: 16384 }, (_, id) => id).filter((id) => hasToken(allowed, id));
    assert.ok(choices.length > 0 && !choices.some((id) => id >= 1 && id <= 4));
    const end = choices.find((id) => MODEL.endIds.has(id));
    if (end !== undefined) {
      constraint.accept(end);
      assert.ok(constraint.ended);
      return TOKENIZER.decode(ids);
    }
    const whole = choices.filter((id) => !TOKENIZER.decode([id]).includes("\ufffd"));
    // What closes something, now and then, or free texts would have no end.
    const closing = random.uniform() < (ids.length < 60 ? 0.3 : 0.9)
      ? whole.filter((id) => /^["}\]]/.test(TOKENIZER.decode([id])))
      : [];
    const among = [closing, whole, choices].find(({ length }) => length > 0)!;
    ids.push(among[random.below(among.length)]);
    constraint.accept(ids[ids.length - 1]);
  }
  throw new Error(`A walk without end: ${TOKENIZER.decode(ids)}`);
}

/** Whether a text can be drawn, token by token as it is encoded, and may end there. */
export async function accepts(pool: GrammarPool, grammar: GrammarText, text: string): Promise<boolean> {
  const { constraint, mask } = open(pool, grammar);
  using _ = constraint as TokenConstraint;
  for (const id of TOKENIZER.encode(text)) {
    if (!hasToken(await mask(), id)) return false;
    constraint.accept(id);
  }
  const last = await mask();
  return [...MODEL.endIds].some((id) => hasToken(last, id));
}

export const schema = (value: unknown): GrammarText => ({
  kind: "jsonSchema",
  schema: JSON.stringify(value),
});
