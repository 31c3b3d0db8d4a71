// The extension of clients/vscode, packaged and installed in VS Code in a browser: what is on the screen after which
// keys, and what is in the file then. `deno task test:vscode` runs it, CI too; it installs 420 MB first.
import assert from "node:assert/strict";
import { join } from "std/path/mod.js";
import { CompletionServer } from "../completion_server.ts";
import { openWorkbench, type Page } from "./workbench.ts";

const BODY = "    return first + second\n    # the sum";
const FUNCTION = "def add(first, second):\n    \n\nprint(add(1, 2))\n";
const PATIENCE_MS = 60_000;
/** In which a setting that the status bar shows already is at the language server. */
const SETTLING_MS = 1500;

Deno.test("the VS Code extension shows, accepts and dismisses completions, and says what the server does", async (t) => {
  await using server = await CompletionServer.start([BODY]);
  const folder = await Deno.makeTempDir(), file = join(folder, "adding.py");
  await Deno.writeTextFile(file, FUNCTION);
  await using workbench = await openWorkbench({
    folder,
    viewport: { width: 1000, height: 420 },
    settings: {
      "hyades.server": server.url,
      "hyades.debounce": 0,
      "hyades.speculative": false,
      // What a test types is what it means.
      "editor.autoIndent": "none",
      "editor.autoClosingBrackets": "never",
      // While it looks for words to list, VS Code drops what was asked for, and asks again only with the next key.
      "editor.quickSuggestions": { "other": "off", "comments": "off", "strings": "off" },
    },
  });
  const { page } = workbench;
  await page.getByRole("treeitem", { name: "adding.py" }).dblclick();
  await page.locator(".view-line", { hasText: "def add" }).waitFor();

  await t.step("the status bar names the state and the time of the last suggestion", async () => {
    await page.locator(".statusbar-item", { hasText: /Hyades$/ }).waitFor();
    await toBody(page);
    await page.keyboard.type("re");
    await ghost(page, "turn first + second");
    await page.locator(".statusbar-item", { hasText: /Hyades \d+ ms/ }).waitFor();
  });

  await t.step("keys that match keep it, Tab accepts it, and nothing more is asked", async () => {
    const asked = server.infills.length;
    await page.keyboard.type("turn");
    await ghost(page, " first + second");
    assert.equal(server.infills.length, asked);
    await page.keyboard.press("Tab");
    await contains(page, file, FUNCTION.replace("    ", BODY));
  });

  await t.step("Ctrl-Right accepts a word, Shift-Tab the rest of the line with its end", async () => {
    await restore(page, file);
    await page.keyboard.type("re");
    await ghost(page, "turn first + second");
    await page.keyboard.press("Control+ArrowRight");
    await ghost(page, " first + second");
    await page.keyboard.press("Shift+Tab");
    await contains(page, file, FUNCTION.replace("    ", "    return first + second\n"));
  });

  await t.step("the menu behind the status bar switches it off and on again for a language", async () => {
    await restore(page, file);
    await choose(page, "Switch off for python");
    await page.locator(".statusbar-item", { hasText: "Hyades off for python" }).waitFor();
    await page.waitForTimeout(SETTLING_MS);
    await page.keyboard.type("re");
    await page.waitForTimeout(1000);
    assert.equal(await page.locator(".ghost-text-decoration").count(), 0);
    await choose(page, "Switch on for python");
    await page.locator(".statusbar-item", { hasText: /Hyades( \d+ ms)?$/ }).waitFor();
    await page.waitForTimeout(SETTLING_MS);
    await page.keyboard.type("t");
    await ghost(page, "urn first + second");
  });

  await t.step("Escape dismisses it until it is asked for", async () => {
    await restore(page, file);
    await page.keyboard.type("re");
    await ghost(page, "turn first + second");
    await page.keyboard.press("Escape");
    await ghost(page, "");
    await page.keyboard.type("t");
    await page.waitForTimeout(1000);
    assert.equal(await page.locator(".ghost-text-decoration").count(), 0);
    await page.keyboard.press("Alt+\\");
    await ghost(page, "urn first + second");
  });

  await t.step("the status bar says when the server is gone", async () => {
    await restore(page, file);
    server.cut();
    await page.keyboard.type("(1");
    await page.locator(".statusbar-item", { hasText: "Hyades error" }).waitFor();
  });

  await t.step("a clone that is not there is said, with what mends it", async () => {
    await workbench.configure({ "hyades.path": "~/nowhere" });
    const notice = page.locator(".notification-toast", {
      hasText: /No Hyades in \/.*\/nowhere: set hyades\.path/,
    });
    await notice.getByRole("button", { name: "Open Settings" }).waitFor();
  });
  await Deno.remove(folder, { recursive: true });
});

/** Puts the cursor at the end of the body's line. */
async function toBody(page: Page): Promise<void> {
  await page.locator(".monaco-editor .view-lines").first().click();
  for (const key of ["Control+Home", "ArrowDown", "End"]) await page.keyboard.press(key);
}

/** Of what a click on the status bar offers; the cursor is then where it was. */
async function choose(page: Page, label: string): Promise<void> {
  await page.locator(".statusbar-item", { hasText: "Hyades" }).click();
  await page.locator(".quick-input-list-row", { hasText: label }).click();
}

async function ghost(page: Page, text: string): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  let shown = "";
  while (shown !== text && Date.now() < deadline) {
    await page.waitForTimeout(100);
    const parts = await page.locator(".ghost-text-decoration").allTextContents();
    shown = parts.join("").replaceAll("\u00a0", " ");
  }
  if (shown === text) return;
  const picture = await Deno.makeTempFile({ suffix: ".png" });
  await page.screenshot({ path: picture });
  assert.equal(shown, text, `on the screen: ${picture}`);
}

/** Saves, and waits until the file has this text. */
async function contains(page: Page, file: string, expected: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  await page.keyboard.press("Control+S");
  let text = "";
  while (text !== expected && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    text = await Deno.readTextFile(file);
  }
  assert.equal(text, expected);
}

/** The file as it was at first, the cursor in its body. */
async function restore(page: Page, file: string): Promise<void> {
  await page.keyboard.press("Control+A");
  await page.keyboard.press("Delete");
  await page.keyboard.insertText(FUNCTION);
  await contains(page, file, FUNCTION);
  await toBody(page);
}
