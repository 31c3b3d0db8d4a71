// What checks pages for accessibility. Not in the import map: Deno installs all of that before any task, `serve` too.
export { default } from "npm:axe-core@4.14.1";
