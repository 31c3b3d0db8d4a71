// What the VS Code extension declares is what there is: its commands and keys are registered, its settings are the
// language server's with the same defaults. (What it does is tried by `deno task test:vscode`.)
import assert from "node:assert/strict";
import { parseSettings } from "../../clients/lsp/settings.ts";

const FOLDER = new URL("../../clients/vscode/", import.meta.url);
/** Settings of how the language server is started. */
const OF_THE_EXTENSION = ["server", "apiKey", "path", "model", "command"];

interface Keybinding {
  readonly command: string;
  /** Of `runCommands`. */
  readonly args?: { readonly commands: readonly string[] };
}

const manifest = JSON.parse(await Deno.readTextFile(new URL("package.json", FOLDER)));
const { commands, keybindings, configuration } = manifest.contributes;

Deno.test("the VS Code extension registers the commands that it declares, and its keys run them", async () => {
  const source = await Deno.readTextFile(new URL("src/commands.ts", FOLDER));
  const registered = [...source.matchAll(/^ {4}(\w+)[:,]/gm)].map(([, name]) => `hyades.${name}`);
  const declared = commands.map(({ command }: { command: string }) => command);
  assert.deepEqual(declared.filter((command: string) => !registered.includes(command)), []);
  const bound = keybindings.flatMap(({ command, args }: Keybinding) => args?.commands ?? [command]);
  const own = bound.filter((command: string) => !command.startsWith("editor.action.inlineSuggest."));
  assert.deepEqual(own.filter((command: string) => !registered.includes(command)), []);
});

Deno.test("the VS Code extension declares the language server's settings, with the same defaults", () => {
  const declared = Object.entries(configuration.properties as Record<string, { default: unknown }>)
    .map(([name, property]) => [name.replace("hyades.", ""), property.default] as const)
    .filter(([name]) => !OF_THE_EXTENSION.includes(name));
  assert.deepEqual(Object.fromEntries(declared), parseSettings({}));
});

Deno.test("the language server takes the settings that VS Code sends, those of the extension among them", () => {
  const sent = Object.fromEntries(OF_THE_EXTENSION.map((name) => [name, name === "command" ? [] : ""]));
  assert.deepEqual(parseSettings({ ...sent, debounce: 50, exclude: ["*.sql"] }), {
    ...parseSettings({}),
    debounce: 50,
    exclude: ["*.sql"],
  });
  assert.throws(() => parseSettings({ debounce: "soon" }), /Cannot take setting "debounce"/);
});
