// Property tests' library. Not in the import map: Deno installs all of that before any task, `serve` too.
export { default } from "npm:fast-check@4.10.2";
