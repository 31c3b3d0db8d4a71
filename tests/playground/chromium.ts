// Chromium for the tests of pages and of VS Code: Debian's own, installed when it is missing, driven by playwright-core, which brings no
// browser along. Nothing of what pages do.
import { type Browser, chromium } from "../playwright.ts";
import { run } from "../debian.ts";

export type { Browser, Page } from "../playwright.ts";

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage", // Containers have little of it.
];

/**
 * Undefined, with advice on stderr, where there is no Chromium and none can be installed.
 * @throws {Error} instead, with CI=true
 */
export async function openChromium(): Promise<Browser | undefined> {
  const executablePath = await findChromium() ?? await installChromium();
  if (executablePath) return await chromium.launch({ executablePath, args: FLAGS });
  const advice =
    "Not checked: what runs in a browser, for want of Chromium (Debian: apt-get install chromium)";
  if (Deno.env.get("CI") === "true") throw new Error(advice);
  console.error(advice);
  return undefined;
}

async function findChromium(): Promise<string | undefined> {
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    const { code, stdout } = await run(["sh", "-c", `command -v ${name}`]);
    if (code === 0) return stdout.trim();
  }
  return undefined;
}

async function installChromium(): Promise<string | undefined> {
  const elevate = Deno.uid() === 0 ? [] : ["sudo", "-n"];
  if ((await run([...elevate, "apt-get", "--version"])).code !== 0) return undefined;
  console.error("Installing chromium for the tests ...");
  await run([...elevate, "apt-get", "update", "-q"], true);
  const options = ["-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"];
  await run([...elevate, "apt-get", "install", ...options, "chromium"], true);
  return await findChromium();
}
