// What llm-ls sends, as llm_ls/record.ts has recorded it.

export interface RecordedLlmLsRequest {
  /** Of llm-ls's names. */
  readonly backend: "tgi" | "huggingface" | "ollama" | "openai" | "llamacpp";
  /** Which of the settings below were its `request_body`. */
  readonly settings: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
}

export const LLM_LS_MODEL = "fake/model-1";
export const LLM_LS_PROMPT = "<fim_prefix>def f(<fim_suffix>\n<fim_middle>";

/** Settings as llm.nvim and llm-vscode have them for StarCoder, and wrong ones. */
export const LLM_LS_SETTINGS: Readonly<Record<string, Record<string, unknown>>> = {
  none: {},
  "those of the plugins": {
    parameters: { max_new_tokens: 60, temperature: 0.2, top_p: 0.95 },
    options: { num_predict: 60, temperature: 0.2, top_p: 0.95 },
    max_tokens: 60,
    temperature: 0.2,
    top_p: 0.95,
  },
  wrong: { parameters: { temperature: "x" }, options: { temperature: "x" }, temperature: "x" },
};
