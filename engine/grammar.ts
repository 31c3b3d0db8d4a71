// Completions held to a grammar: what a request can ask for, and what passes between the engine and the worker that
// knows the grammar (`grammar_worker.ts`). Types, and the name of the library.

/** Downloaded by whoever is first to ask for a grammar: decision 4. */
export const GRAMMAR_LIBRARY = "npm:@mlc-ai/web-xgrammar@0.1.27";

/** What a completion must be, from its first character to its last. */
export type Grammar =
  & {
    /** The client's name of the field that it came in, for errors. */
    readonly field: string;
  }
  & GrammarText;

export type GrammarText =
  /** A regular expression, matched as a whole. */
  | { readonly kind: "regex"; readonly pattern: string }
  /** JSON text of a schema that `json_schema_support.ts` lets pass. */
  | { readonly kind: "jsonSchema"; readonly schema: string }
  /** A grammar whose first rule is `root`: GBNF as llama.cpp writes it, as far as XGrammar's EBNF goes. */
  | { readonly kind: "ebnf"; readonly text: string };

/** What a worker loads the library for. */
export interface GrammarVocabulary {
  /** By id, in the byte-level alphabet; "" for what no text is made of. */
  readonly tokens: readonly string[];
  /** Rows of the model's head. */
  readonly vocabSize: number;
  /** Allowed where the grammar may end. */
  readonly endIds: readonly number[];
  /** Never drawn, allowed or not. */
  readonly suppressed: readonly number[];
}

/** `matcher` numbers the completions that follow the grammar. */
export type ToGrammarWorker =
  | { readonly kind: "load"; readonly vocabulary: GrammarVocabulary }
  | { readonly kind: "compile"; readonly grammar: GrammarText }
  | { readonly kind: "open"; readonly matcher: number }
  | { readonly kind: "accept"; readonly matcher: number; readonly id: number }
  | { readonly kind: "close"; readonly matcher: number };

export type FromGrammarWorker =
  /** The library is there, and ready for a grammar. */
  | { readonly kind: "loaded" }
  /** It is not on this machine, and could not be downloaded. */
  | { readonly kind: "missing" }
  | { readonly kind: "compiled" }
  /** The grammar is at fault: in the words of the library. */
  | { readonly kind: "refused"; readonly reason?: string }
  /** What may come next: a mask over the vocabulary. */
  | { readonly kind: "mask"; readonly matcher: number; readonly mask: Uint32Array }
  /** Something else broke. */
  | { readonly kind: "failed"; readonly reason: string };
