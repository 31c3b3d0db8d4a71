// Entry of a worker that knows one grammar: loads XGrammar, compiles the grammar when it is told it, and says for every
// completion that follows it which tokens may come next. A grammar has a worker of its own because the library can be
// held up by one, and ends its WebAssembly instance for good over one that it cannot read.
import {
  type FromGrammarWorker,
  GRAMMAR_LIBRARY,
  type GrammarText,
  type GrammarVocabulary,
  type ToGrammarWorker,
} from "./grammar.ts";
import { lengthsAsPatterns } from "./json_string_patterns.ts";
import { beginningOf } from "./shown_text.ts";

interface Disposable {
  dispose(): void;
}

interface Matcher extends Disposable {
  acceptToken(id: number): boolean;
  getNextTokenBitmask(): Promise<Int32Array>;
  isTerminated(): boolean;
}

/** What is used of the library. */
interface XGrammar {
  readonly TokenizerInfo: {
    createTokenizerInfo(
      tokens: readonly string[],
      type: "byte_level",
      prependSpace: boolean,
      vocabSize: number,
      stopIds: readonly number[],
    ): Promise<Disposable>;
  };
  readonly GrammarCompiler: {
    createGrammarCompiler(info: Disposable, cached: boolean): Promise<Compiler>;
  };
  readonly GrammarMatcher: { createGrammarMatcher(compiled: Disposable): Promise<Matcher> };
}

interface Compiler extends Disposable {
  compileJSONSchema(schema: string, anyWhitespace: boolean, indent: number): Promise<Disposable>;
  compileGrammar(text: string): Promise<Disposable>;
  compileStructuralTag(tag: object): Promise<Disposable>;
}

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<ToGrammarWorker>) => void) | null;
  postMessage(message: FromGrammarWorker): void;
};

/** What the library has printed: it says there why it ends. */
let printed = "";
console.error = (...parts: unknown[]) => printed = `${printed.slice(-10_000)}${parts.join(" ")}\n`;
console.warn = console.error;

const matchers = new Map<number, Matcher>();
let xgrammar: XGrammar;
/** Undefined until the library is loaded. */
let compiler: Compiler | undefined;
let compiled: Disposable;
let vocabSize = 0;
/** Messages are dealt with one after the other, though the library's functions are asynchronous. */
let queue: Promise<void> = Promise.resolve();

scope.onmessage = ({ data }) => {
  queue = queue.then(() => serve(data)).catch((error) =>
    scope.postMessage({ kind: "failed", reason: reasonOf(error) })
  );
};

async function serve(message: ToGrammarWorker) {
  switch (message.kind) {
    case "load":
      return await load(message.vocabulary);
    case "compile":
      return await compile(message.grammar);
    case "open":
      matchers.set(message.matcher, await xgrammar.GrammarMatcher.createGrammarMatcher(compiled));
      return await tell(message.matcher);
    case "accept":
      // A token outside the mask was not drawn here; and past its end token a grammar allows nothing.
      matchers.get(message.matcher)?.acceptToken(message.id);
      return await tell(message.matcher);
    case "close":
      matchers.get(message.matcher)?.dispose();
      matchers.delete(message.matcher);
  }
}

async function load({ tokens, endIds, ...vocabulary }: GrammarVocabulary) {
  try {
    xgrammar = await importXGrammar();
  } catch {
    return scope.postMessage({ kind: "missing" });
  }
  vocabSize = vocabulary.vocabSize;
  const info = await xgrammar.TokenizerInfo.createTokenizerInfo(
    tokens,
    "byte_level",
    false,
    vocabSize,
    endIds,
  );
  compiler = await xgrammar.GrammarCompiler.createGrammarCompiler(info, false);
  scope.postMessage({ kind: "loaded" });
}

async function compile(grammar: GrammarText) {
  if (!compiler) return; // Why not was told.
  printed = "";
  try {
    compiled = await compileWith(compiler, grammar);
    scope.postMessage({ kind: "compiled" });
  } catch (error) {
    scope.postMessage({ kind: "refused", ...(!isWordless(error) && { reason: reasonOf(error) }) });
  }
}

function compileWith(compiler: Compiler, grammar: GrammarText): Promise<Disposable> {
  switch (grammar.kind) {
    case "regex":
      return compiler.compileStructuralTag({
        type: "structural_tag",
        format: { type: "regex", pattern: grammar.pattern },
      });
    case "jsonSchema":
      // On one line and without free blanks: a model that has nothing to say could write them for ever.
      return compiler.compileJSONSchema(
        JSON.stringify(lengthsAsPatterns(JSON.parse(grammar.schema))),
        false,
        -1,
      );
    case "ebnf":
      return compiler.compileGrammar(grammar.text);
  }
}

async function tell(matcher: number) {
  const one = matchers.get(matcher);
  if (!one) return;
  const mask = one.isTerminated()
    ? new Uint32Array(Math.ceil(vocabSize / 32))
    : new Uint32Array((await one.getNextTokenBitmask()).slice().buffer);
  scope.postMessage({ kind: "mask", matcher, mask });
}

/** The package is a script that leaves its exports in the global scope when it is imported as a module. */
async function importXGrammar(): Promise<XGrammar> {
  // Neither a literal nor in the import map, so that only who asks for a grammar downloads its 2 MB.
  await import(GRAMMAR_LIBRARY);
  return (globalThis as unknown as { xgrammar: XGrammar }).xgrammar;
}

/** Characters of the library's words: it repeats what it was given. */
const MAX_REASON = 300;

/** The library's own words, without the place in its sources; else the error's. */
function reasonOf(error: unknown): string {
  const reason = wordsPrinted() ?? (error instanceof Error ? error.message : String(error));
  return beginningOf(reason.trim(), MAX_REASON);
}

function wordsPrinted(): string | undefined {
  return /\[FATAL\] \S+: (?:Check failed: \(.*?\) is \w+: )?(.*)/.exec(printed)?.[1];
}

/** It broke down, or has thrown what only it can read. */
function isWordless(error: unknown): boolean {
  const isMute = error instanceof WebAssembly.RuntimeError || typeof error === "number";
  return isMute && wordsPrinted() === undefined;
}
