// `--clean`: the output rules of requests that do not say otherwise.
import { InvalidArgumentError } from "commander";
import { CODE_RULES, type OutputRules, SCOPES } from "../engine/output_rules.ts";

const SWITCHES: Readonly<Record<string, OutputRules>> = {
  trim_suffix: { trimSuffix: true },
  trim_repeats: { trimRepeats: true },
  trim_blanks: { trimBlanks: true },
  keep_crlf: { keepCrlf: true },
  ...Object.fromEntries(SCOPES.map((scope) => [`scope=${scope}`, { scope }])),
};

/** "code", "off", or rules by the names of the request's fields: "scope=line,trim_suffix". */
export function parseOutputRules(text: string): OutputRules {
  if (text === "code") return CODE_RULES;
  if (text === "off") return {};
  return text.split(",").map((name) => name.trim()).reduce<OutputRules>((rules, name) => {
    if (Object.hasOwn(SWITCHES, name)) return { ...rules, ...SWITCHES[name] };
    throw new InvalidArgumentError(`must be code, off, or a list of ${Object.keys(SWITCHES).join(", ")}`);
  }, {});
}
