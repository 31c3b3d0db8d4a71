// What drives a browser in tests. Not in the import map: Deno installs all of that before any task, `serve` too.
export * from "npm:playwright-core@1.65.1";
