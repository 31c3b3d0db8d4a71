import assert from "node:assert/strict";
import { parseOutputRules } from "../../cli/output_rules_flag.ts";
import { CODE_RULES } from "../../engine/output_rules.ts";

Deno.test("parseOutputRules() reads code, off and lists of rules, and names what there is", () => {
  assert.equal(parseOutputRules("code"), CODE_RULES);
  assert.deepEqual(parseOutputRules("off"), {});
  assert.deepEqual(parseOutputRules("scope=line, keep_crlf"), { scope: "line", keepCrlf: true });
  assert.throws(() => parseOutputRules("trim"), /must be code, off, or a list of trim_suffix, .*scope=block/);
});
