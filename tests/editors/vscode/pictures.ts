// `deno task vscode:pictures`: takes the picture of VS Code that README.md shows, of the extension over the real server
// with the default model on this machine, and draws the extension's icon from the playground's.
import { fromFileUrl, join } from "std/path/mod.js";
import { DEFAULT_MODEL_DIR } from "../../../cli/default_model.ts";
import { startServer } from "../../cli/running_server.ts";
import { openChromium } from "../../playground/chromium.ts";
import { openWorkbench } from "./workbench.ts";

const ROOT = fromFileUrl(new URL("../../../", import.meta.url));
const FILE = "point.py";
const TEXT = `class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y

    def __repr__(self):
        return f"Point({self.x}, {self.y})"

    `;
const TYPED = "def __eq__(self, other):\n";
const ICON_PX = 128;

await drawIcon();
await using server = await startServer(["--model", DEFAULT_MODEL_DIR]);
const parent = await Deno.makeTempDir(), folder = join(parent, "geometry");
await Deno.mkdir(folder);
await Deno.writeTextFile(join(folder, FILE), TEXT);
{
  await using workbench = await openWorkbench({
    folder,
    viewport: { width: 1100, height: 420 },
    settings: {
      "hyades.server": server.url(""),
      // All of it, however busy the machine is.
      "hyades.maxPredictMs": 10_000,
      "editor.fontSize": 13,
      "editor.minimap.enabled": false,
      // Its list would lie over what is suggested.
      "editor.quickSuggestions": { "other": "off", "comments": "off", "strings": "off" },
    },
  });
  const { page } = workbench;
  await page.getByRole("treeitem", { name: FILE }).dblclick();
  await page.locator(".view-line", { hasText: "class Point" }).waitFor();
  await page.locator(".monaco-editor .view-lines").first().click();
  await page.keyboard.press("Control+End");
  await page.keyboard.type(TYPED, { delay: 90 });
  await page.locator(".ghost-text-decoration").first().waitFor();
  await page.locator(".statusbar-item", { hasText: /Hyades \d+ ms/ }).waitFor();
  await page.mouse.move(700, 330); // Away from the text, which would show what is known of it.
  await page.screenshot({ path: join(ROOT, "docs/pictures/vscode.png") });
}
await Deno.remove(parent, { recursive: true });

async function drawIcon(): Promise<void> {
  const svg = await Deno.readTextFile(join(ROOT, "clients/playground/icon.svg"));
  const browser = await openChromium();
  if (!browser) Deno.exit(1);
  const page = await browser.newPage({ viewport: { width: ICON_PX, height: ICON_PX } });
  await page.setContent(
    `<style>body { margin: 0 } svg { display: block; width: ${ICON_PX}px }</style>${svg}`,
  );
  await page.screenshot({ path: join(ROOT, "clients/vscode/icon.png"), omitBackground: true });
  await browser.close();
}
