import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { codeAround, withoutCrlf } from "../../engine/code_around.ts";
import { CODE_RULES, makeCleaner, type OutputRules } from "../../engine/output_rules.ts";
import type { Prompt } from "../../engine/request.ts";

/** What the rules make of a completion between `before` and `after`, in pieces as given. */
function run(rules: OutputRules, [before, after]: readonly [string, string], pieces: readonly string[]) {
  const code = codeAround({ kind: "infill", prefix: before, suffix: after }, () => "");
  const cleaner = makeCleaner(rules, code);
  let text = "";
  for (const piece of pieces) {
    text += cleaner.push(piece);
    if (cleaner.ended) break;
  }
  const { ended } = cleaner;
  return { text: text + cleaner.flush(), ended, acted: cleaner.acted };
}

function clean(rules: OutputRules, around: readonly [string, string], completion: string): string {
  return run(rules, around, [completion]).text;
}

type Case = [name: string, around: readonly [string, string], completion: string, expected: string];

const CASES: [rule: string, rules: OutputRules, cases: Case[]][] = [
  ["scope line", { scope: "line" }, [
    ["ends at the first line break", ["x = ", "\n"], "1\ny = 2", "1"],
    ["takes a CR along with its LF", ["x = ", "\r\n"], "1\r\ny", "1"],
    ["is empty where a line break comes first", ["x", ""], "\ny", ""],
  ]],
  ["scope block", { scope: "block" }, [
    [
      "ends before a line that is indented less",
      ["def f():\n    ", "\n"],
      "a()\n    b()\n\n\ndef g()",
      "a()\n    b()",
    ],
    ["goes by the completion's own blanks too", ["def f():\n", "\n"], "    a()\n\nb()", "    a()"],
    ["keeps empty lines within the block", ["\n  x = ", ""], "1\n\n  y = 2\nz", "1\n\n  y = 2"],
    ["keeps lines that are indented as much", ["a()", ""], "\n    b\nc", "\n    b\nc"],
    [
      "is the body of a line that opens one",
      ["  def f():", "\n"],
      "\n    a\n\n    b\n\n  def g():",
      "\n    a\n\n    b",
    ],
    [
      "is the body where the completion opens it",
      ["  def f", "\n"],
      "(x):\n    a\n  def g():",
      "(x):\n    a",
    ],
    [
      "keeps the bracket that closes a body",
      ["  if (x) {", "\n"],
      "\n    a\n  } else {\n    b\n  }\n  c",
      "\n    a\n  } else {\n    b\n  }",
    ],
    ["has no body where nothing is deeper", ["  # so:", "\n"], "\n  a\n  b\nc", "\n  a\n  b"],
    ["is the block around an empty line", ["  ", "\n"], "if x:\n    a\n  b\nc", "if x:\n    a\n  b"],
    ["counts a tab as a blank", ["\tx", ""], " = 1\n\ty\n}", " = 1\n\ty"],
    ["leaves no CR of a line break that it cuts", ["  x", ""], "()\r\n}", "()"],
  ]],
  ["scope auto", { scope: "auto" }, [
    ["is a line before code", ["x = ", " + 1\n"], "y\nz", "y"],
    ["is a block before what editors close", ["  f(", ");\n"], "a,\n  b\n}", "a,\n  b"],
  ]],
  ["n_indent", { minIndent: 4 }, [
    [
      "keeps the line break and the blanks, as llama.cpp does",
      ["", ""],
      "a\n    b\n  c\n    d",
      "a\n    b\n  ",
    ],
    ["ends at an empty line, as llama.cpp does", ["", ""], "a\n\n    b", "a\n"],
    ["leaves the first line alone", ["    ", ""], "a", "a"],
  ]],
  ["trim_suffix", { trimSuffix: true }, [
    ["cuts the rest of the line", ["x = (", " + b)\n"], "a + b)", "a"],
    ["cuts the bracket that is there already", ["f(", ")\n"], "x)", "x"],
    ["leaves a bracket that the completion opened", ["f(", ")\n"], "g()", "g()"],
    ["cuts the second of two brackets", ["f(", ")\n"], "g())", "g()"],
    ["cuts a bracket before code", ["f(", ").then(g)\n"], "x)", "x"],
    ["cuts a quote that is there already", ['f("', '")'], 'x")', "x"],
    ["leaves a quote that the completion opened", ["f(", '"b")'], '"a"', '"a"'],
    ["leaves a word that only begins what follows", ["x = ", "abc\n"], "f(a", "f(a"],
    ["cuts whole lines", ["{\n  a;", "\n}\n"], "\n  b;\n}", "\n  b;"],
    ["cuts a whole line and the rest of this one", ["f(", ")\n  g()\n"], "x)\n  g()", "x"],
    ["leaves the beginning of a line", ["a", "\n  return xy\n"], "b\n  return x", "b\n  return x"],
    ["sees an LF in a CRLF file", ["{\r\n  a;", "\r\n}\r\n"], "\n  b;\n}", "\n  b;"],
  ]],
  ["trim_repeats", { trimRepeats: true }, [
    ["drops a line that follows already", ["  ", "\n  return x\n"], "return x", ""],
    ["ends before two lines that follow", ["", "\na\nb\n"], "x\na\nb\nc", "x"],
    ["ends before the one line that follows", ["", "\nend"], "x\nend\ny", "x"],
    ["overlooks empty lines", ["", "\n\na\n\nb\n"], "x\na\nb\nc", "x"],
    ["cuts the first that follows at the end", ["", "\na\nb\n"], "x\na\n", "x"],
    ["goes on where only the first is the same", ["", "\na\nb\n"], "x\na\nc\n", "x\na\nc\n"],
    ["leaves a bracket that the completion opened", ["", "\n}\n"], "if (x) {\ny\n}\nz", "if (x) {\ny\n}\nz"],
    ["does not take the line before the cursor for the completion's", ["  end", "\n  end"], "\n  x", "\n  x"],
    ["ends a loop of one line", ["", ""], "a\nb\nb\nb\nc", "a\nb"],
    ["ends a loop of two lines", ["", ""], "a\nb\nc\nb\nc\nb\nc\nd", "a\nb\nc"],
    ["counts the line's beginning", ["  a", ""], "bc\n  abc\n  abc\nd", "bc"],
    ["leaves what comes twice", ["", ""], "a\nb\nb\nc\n", "a\nb\nb\nc\n"],
    ["leaves closing brackets", ["", ""], ")\n)\n)\n)\nx", ")\n)\n)\n)\nx"],
  ]],
  ["trim_blanks", { trimBlanks: true }, [
    ["cuts blanks and line breaks from the end", ["", ""], "a \n b \n\t\n", "a \n b"],
    ["leaves nothing of nothing but blanks", ["", ""], " \n ", ""],
  ]],
  ["keep_crlf", { keepCrlf: true }, [
    ["gives a CRLF file CRLF", ["a\r\n", "\r\n"], "b\nc\r\nd", "b\r\nc\r\nd"],
    ["goes by the line above the cursor", ["a\n", "\r\n"], "b\nc", "b\nc"],
    ["goes by the line below at the file's start", ["a", "\r\nb"], "\nc", "\r\nc"],
  ]],
  ["all rules", CODE_RULES, [
    ["work together", ["def f(a):\r\n    x = g(", ")\r\n    return x\r\n"], "a)\n    return x\n", "a"],
    ["keep what is fine", ["def f(a):\r\n    ", "\r\n"], "x = 1\n    y = 2\n\ndef g", "x = 1\r\n    y = 2"],
    ["look for an overlap before blanks at the end", ["f(", ")"], "x)  \n", "x"],
    ["leave no blank before an overlap", ["{\n  ", "\n}"], "x; \n}", "x;"],
  ]],
];

for (const [rule, rules, cases] of CASES) {
  Deno.test(`Output rule ${rule}: ${cases.length} cases`, () => {
    for (const [name, around, completion, expected] of cases) {
      assert.equal(clean(rules, around, completion), expected, name);
    }
  });
}

Deno.test("OutputCleaner names the rules that acted, and ends with the first that ends the text", () => {
  const around = ["  f(", ")\n  b\n"] as const;
  assert.deepEqual(run(CODE_RULES, around, ["x", ")", "\n", "}"]), {
    text: "x",
    ended: true,
    acted: ["scope", "trim_suffix"],
  });
  assert.deepEqual(run(CODE_RULES, around, ["x", ", y"]), { text: "x, y", ended: false, acted: [] });
  assert.deepEqual(run({}, around, ["x", ")", "\n}"]), { text: "x)\n}", ended: false, acted: [] });
});

Deno.test("OutputCleaner.push() holds back only what may yet be cut", () => {
  const cleaner = makeCleaner(
    { trimSuffix: true, scope: "block", trimBlanks: true },
    codeAround({
      kind: "infill",
      prefix: "  f(",
      suffix: ")\n  g()\n",
    }, () => ""),
  );
  const pushed = ["x", ")", ";", "\n", " ", " ", "y", " "].map((piece) => cleaner.push(piece));
  assert.deepEqual(pushed, ["x", "", ");", "", "", "", "\n  y", ""]);
});

const CODE_TEXT = fc.array(
  fc.constantFrom(
    "a",
    "b",
    "x",
    " ",
    "  ",
    "\n",
    "\n",
    "\n  ",
    "\r\n",
    ")",
    "}",
    "(",
    "{",
    '"',
    "é",
    "🙂",
    "\t",
    "\r",
  ),
  { maxLength: 30 },
).map((parts) => parts.join(""));
const RULES = fc.record<OutputRules>({
  scope: fc.constantFrom("line", "block", "auto", "none"),
  minIndent: fc.constantFrom(0, 0, 1, 2),
  trimRepeats: fc.boolean(),
  trimSuffix: fc.boolean(),
  trimBlanks: fc.boolean(),
  keepCrlf: fc.boolean(),
}, { requiredKeys: [] });

function piecesOf(text: string, lengths: readonly number[]): string[] {
  const units = [...text], pieces: string[] = [];
  let at = 0;
  for (const length of lengths) pieces.push(units.slice(at, at += length).join(""));
  return [...pieces, units.slice(at).join("")];
}

Deno.test("OutputCleaner gives the same however the text is cut, whatever the rules", () => {
  let acted = 0;
  fc.assert(
    fc.property(
      RULES,
      CODE_TEXT,
      CODE_TEXT,
      CODE_TEXT,
      fc.array(fc.nat(4)),
      (rules, before, after, text, cuts) => {
        // Half of the time the completion runs into what follows it.
        const completion = cuts.length % 2 ? text : text + after.slice(0, 12);
        const whole = run(rules, [before, after], [completion]);
        const inPieces = run(rules, [before, after], piecesOf(completion, cuts));
        const byUnits = run(rules, [before, after], [...completion]);
        assert.deepEqual([inPieces.text, inPieces.acted], [whole.text, whole.acted]);
        assert.deepEqual([byUnits.text, byUnits.acted], [whole.text, whole.acted]);
        if (whole.acted.length > 0) acted++;
      },
    ),
    { numRuns: 5000 },
  );
  assert.ok(acted > 1000, `too tame: rules acted on ${acted} texts`);
});

Deno.test("OutputCleaner delivers a beginning of the text, but for CRs, and all of it when no rule acted", () => {
  fc.assert(
    fc.property(RULES, CODE_TEXT, CODE_TEXT, CODE_TEXT, (rules, before, after, completion) => {
      const { text, acted } = run(rules, [before, after], [...completion]);
      const plain = acted.includes("keep_crlf") ? text.replaceAll("\r\n", "\n") : text;
      const whole = acted.includes("keep_crlf") ? completion.replaceAll("\r\n", "\n") : completion;
      assert.ok(whole.startsWith(plain), JSON.stringify({ whole, plain }));
      if (acted.length === 0 && !rules.keepCrlf) assert.equal(text, completion);
    }),
    { numRuns: 5000 },
  );
});

Deno.test("codeAround() finds the sides of prompts whose infill tokens a client has written", () => {
  const psm: Prompt = {
    kind: "text",
    text: "<fim_prefix>a\n  b<fim_suffix>c\nd<fim_middle>",
    parseSpecial: true,
  };
  const expected = { lineStart: "  b", lineEnd: "c", after: "c\nd", crlf: false };
  assert.deepEqual(codeAround(psm, () => ""), expected);
  const spm = "<fim_prefix><fim_suffix>c\nd<fim_middle>a\n  b";
  assert.deepEqual(codeAround({ kind: "tokens", ids: [1] }, () => spm), expected);
  const plain = codeAround({ ...psm, parseSpecial: false }, () => "");
  assert.equal(plain.after, "");
  const qwen = "x<|fim_prefix|>a\n  b<|fim_suffix|>c\nd<|fim_middle|>";
  assert.deepEqual(codeAround({ kind: "text", text: qwen, parseSpecial: true }, () => ""), expected);
});

Deno.test("withoutCrlf() shows the model line feeds alone", () => {
  const prompt = withoutCrlf({
    kind: "infill",
    prefix: "a\r\n",
    suffix: "\r\nb\r",
    extra: [{ filename: "f", text: "c\r\nd" }],
  });
  assert.deepEqual(prompt, {
    kind: "infill",
    prefix: "a\n",
    suffix: "\nb\r",
    extra: [{ filename: "f", text: "c\nd" }],
  });
});
