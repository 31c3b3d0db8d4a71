// The whole way: `serve` as a user starts it, with its permissions and the model that comes with it, and a browser.
import assert from "node:assert/strict";
import { DEFAULT_MODEL_ID } from "../../cli/default_model.ts";
import { startServer } from "../cli/running_server.ts";
import { browserTests } from "./browser_tests.ts";
import { openPage, textOf, untilGhost } from "./open_page.ts";

const browserTest = browserTests();

browserTest("serve has the playground, and the default model completes in it", async (browser) => {
  await using server = await startServer(["--model", `weights/${DEFAULT_MODEL_ID}`]);
  await using opened = await openPage(browser, server.url("/"));
  const { page } = opened;
  await page.getByText(`${DEFAULT_MODEL_ID} · 31 M parameters · 2048 tokens`).waitFor();
  await untilGhost(page, "self.y = y");
  await page.locator(".ghost").click(); // The cursor goes to where it stands.
  await page.keyboard.press("Tab");
  assert.match(await textOf(page), /self\.x = x\n {8}self\.y = y\n/);
  await page.keyboard.press("Backspace");
  await untilGhost(page, "y");
  await page.locator(".facts").waitFor();
  const said = await page.locator("#request").innerText();
  assert.match(said, /Layout\s+(PSM, prefix first|SPM, suffix first)/);
  assert.match(said, /Prompt of \d+ tokens/);
  // Read once a second: the first map may be of the time before any request.
  await page.locator("canvas[aria-label*=' cached, ']:not([aria-label*=' 0 cached, '])").waitFor();
  opened.assertQuiet();
});
