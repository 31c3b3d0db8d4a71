// VS Code in Chromium with a folder open and our extension in it, which is packaged first as a user packages it. Nothing
// of what is done there.
import { fromFileUrl, join } from "std/path/mod.js";
import { openChromium, type Page } from "../../playground/chromium.ts";
import { havePrograms } from "../programs.ts";
import { type CodeSettings, startCodeServer } from "./code_server.ts";
import { mustRun } from "./code_server_install.ts";

export type { Page } from "../../playground/chromium.ts";

const EXTENSION = fromFileUrl(new URL("../../../clients/vscode", import.meta.url));
const PATIENCE_MS = 180_000;

export interface WorkbenchOptions {
  readonly folder: string;
  /** The user's, besides those that keep VS Code's own offers off the screen. */
  readonly settings: CodeSettings;
  readonly viewport: { readonly width: number; readonly height: number };
  readonly colorScheme?: "light" | "dark";
}

export interface Workbench extends AsyncDisposable {
  readonly page: Page;
  /** Puts others in the place of the settings that it was opened with; VS Code sees them soon after. */
  readonly configure: (settings: CodeSettings) => Promise<void>;
}

/** @throws {Error} something of what it needs cannot be installed */
export async function openWorkbench(
  { folder, settings, ...look }: WorkbenchOptions,
): Promise<Workbench> {
  await using started = new AsyncDisposableStack();
  const vscode = started.use(await startCodeServer(await packExtension(), { ...QUIET, ...settings }));
  const browser = await openChromium();
  if (!browser) throw new Error("Cannot open VS Code without Chromium");
  started.defer(() => browser.close());
  const page = await browser.newPage(look);
  page.setDefaultTimeout(PATIENCE_MS);
  await page.goto(`${vscode.url}/?folder=${folder}`);
  await page.locator(".statusbar-item", { hasText: "Hyades" }).waitFor();
  const owned = started.move();
  return {
    page,
    configure: (settings) => vscode.configure({ ...QUIET, ...settings }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const QUIET = {
  "security.workspace.trust.enabled": false,
  "workbench.startupEditor": "none",
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "chat.disableAIFeatures": true,
  "files.autoSave": "off",
};

/** The path of the .vsix. */
async function packExtension(): Promise<string> {
  if (!await havePrograms({ npm: "npm" })) throw new Error("Cannot package the extension without npm");
  await mustRun(["npm", "--prefix", EXTENSION, "ci", "--no-audit", "--no-fund", "--loglevel=error"]);
  await mustRun(["npm", "--prefix", EXTENSION, "run", "package"]);
  return join(EXTENSION, "hyades.vsix");
}
