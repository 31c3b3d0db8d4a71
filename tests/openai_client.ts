// The official OpenAI client, unmodified. Not in the import map: Deno installs all of that before any task, `serve` too.
export * from "npm:openai@7.57.0";
export { default } from "npm:openai@7.57.0";
