// How each dialect asks for a completion and answers, for tests that go through all of them: bodies, the frames of streams,
// and where the text is.
import assert from "node:assert/strict";

/** What stands around a cursor. */
export interface Hole {
  readonly prefix: string;
  readonly suffix: string;
}

export interface DialectBodies {
  readonly path: string;
  readonly body: (hole: Hole, maxTokens: number) => Record<string, unknown>;
  /** The client lays the prompt out itself, and writes the infill tokens as text. */
  readonly laysOut?: true;
  /** Fields that ask for rules of output. */
  readonly rules: (fields: Record<string, unknown>, maxTokens: number) => Record<string, unknown>;
  // deno-lint-ignore no-explicit-any
  readonly text: (reply: any) => string;
  readonly stream?: StreamForm;
  /** Holds the completion to these characters, of which most tokens have only parts. */
  readonly only?: (text: string, maxTokens: number) => Record<string, unknown>;
}

export interface StreamForm {
  readonly path?: string;
  readonly body: Record<string, unknown>;
  readonly contentType: string;
  /** Around each frame's JSON. */
  readonly before: string;
  readonly after: string;
  /** The last frame's, where that is no JSON. */
  readonly end?: string;
  // deno-lint-ignore no-explicit-any
  readonly part: (frame: any) => string;
}

const atTop = (fields: Record<string, unknown>) => fields;

/** As clients do that lay the prompt out themselves. */
export function laidOut({ prefix, suffix }: Hole): string {
  return `<fim_prefix>${prefix}<fim_suffix>${suffix}<fim_middle>`;
}

const SSE = { contentType: "text/event-stream; charset=utf-8", before: "data: ", after: "\n\n" };
const OPENAI_STREAM = { ...SSE, body: { stream: true }, end: "[DONE]" };
const LLAMA: Pick<DialectBodies, "rules" | "text" | "stream" | "only"> = {
  rules: atTop,
  text: ({ content }) => content,
  stream: { ...SSE, body: { stream: true }, part: ({ content }) => content },
  only: (text) => ({ guided_choice: [text] }),
};
const TGI: Pick<DialectBodies, "body" | "laysOut" | "rules" | "only"> = {
  body: (hole, maxTokens) => ({ inputs: laidOut(hole), parameters: { max_new_tokens: maxTokens } }),
  laysOut: true,
  rules: (fields, maxTokens) => ({ parameters: { max_new_tokens: maxTokens, ...fields } }),
  only: (text, maxTokens) => ({
    parameters: { max_new_tokens: maxTokens, grammar: { type: "regex", value: text } },
  }),
};
const TGI_FRAMES = {
  ...SSE,
  before: "data:",
  part: ({ token }: { token: { text: string } }) => token.text,
};

export const DIALECTS = {
  openai: {
    path: "/v1/completions",
    body: ({ prefix, suffix }, maxTokens) => ({
      ...{ prompt: prefix, suffix, max_tokens: maxTokens, temperature: 0 },
    }),
    rules: atTop,
    text: ({ choices }) => choices[0].text,
    stream: { ...OPENAI_STREAM, part: ({ choices }) => choices[0].text },
    only: (text) => ({ guided_choice: [text] }),
  },
  "openai fim": {
    path: "/v1/fim/completions",
    body: ({ prefix, suffix }, maxTokens) => ({
      ...{ prompt: prefix, suffix, max_tokens: maxTokens, temperature: 0 },
    }),
    rules: atTop,
    text: ({ choices }) => choices[0].message.content,
    stream: { ...OPENAI_STREAM, part: ({ choices }) => choices[0].delta.content },
  },
  "llama infill": {
    ...LLAMA,
    path: "/infill",
    body: ({ prefix, suffix }, maxTokens) => ({
      ...{ input_prefix: prefix, input_suffix: suffix, n_predict: maxTokens, temperature: 0 },
    }),
  },
  "llama completion": {
    ...LLAMA,
    path: "/completion",
    body: (hole, maxTokens) => ({ prompt: laidOut(hole), n_predict: maxTokens, temperature: 0 }),
    laysOut: true,
  },
  tgi: {
    ...TGI,
    path: "/generate",
    text: ({ generated_text }) => generated_text,
    stream: { ...TGI_FRAMES, path: "/generate_stream", body: {} },
  },
  "tgi root": {
    ...TGI,
    path: "/",
    text: ([{ generated_text }]) => generated_text,
    stream: { ...TGI_FRAMES, body: { stream: true } },
  },
  ollama: {
    path: "/api/generate",
    body: ({ prefix, suffix }, maxTokens) => ({
      ...{ prompt: prefix, suffix, stream: false, options: { num_predict: maxTokens, temperature: 0 } },
    }),
    rules: atTop,
    text: ({ response }) => response,
    stream: {
      contentType: "application/x-ndjson",
      body: { stream: true },
      before: "",
      after: "\n",
      part: ({ response }) => response,
    },
    only: (text) => ({ format: { enum: [text] } }),
  },
  tabby: {
    path: "/v1/completions",
    body: ({ prefix, suffix }) => ({ segments: { prefix, suffix }, temperature: 0 }),
    rules: atTop,
    text: ({ choices }) => choices[0].text,
  },
} as const satisfies Record<string, DialectBodies>;

export type DialectName = keyof typeof DIALECTS;

/** The frames of a stream's body, each checked to the byte; of the end only that it is there, and last. */
// deno-lint-ignore no-explicit-any
export function framesOf(body: string, { before, after, end }: StreamForm): any[] {
  const frames = body.split(after);
  assert.equal(frames.pop(), "", "the last frame ends as all do");
  const data = frames.map((frame) => {
    assert.ok(frame.startsWith(before), frame);
    return frame.slice(before.length);
  });
  if (end !== undefined) assert.equal(data.pop(), end);
  return data.map((json) => {
    assert.doesNotMatch(json, /[\r\n]|^\s/);
    return JSON.parse(json);
  });
}
