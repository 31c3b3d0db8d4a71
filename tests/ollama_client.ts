// Ollama's official client, unmodified. Not in the import map: Deno installs all of that before any task, `serve` too.
export { Ollama } from "npm:ollama@0.6.4";
