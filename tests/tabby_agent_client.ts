// Tabby's own agent, unmodified. Not in the import map: Deno installs all of that before any task, `serve` too.
export { TabbyAgent } from "npm:tabby-agent@1.5.0";
