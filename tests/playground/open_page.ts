// A page in a browser that keeps account of whatever the browser complains about, and of what it fetches.
import assert from "node:assert/strict";
import type { Browser, Page } from "./chromium.ts";

export interface OpenPage extends AsyncDisposable {
  readonly page: Page;
  /** Paths fetched so far. */
  readonly fetched: string[];
  /** @throws {assert.AssertionError} errors or warnings in the console, or a request to another server */
  readonly assertQuiet: (options?: { readonly except?: RegExp }) => void;
}

export interface PageOptions {
  readonly colorScheme?: "light" | "dark";
  /** Lets the test add scripts of its own. */
  readonly bypassCSP?: boolean;
  readonly viewport?: { readonly width: number; readonly height: number };
}

export async function openPage(browser: Browser, url: string, options: PageOptions = {}): Promise<OpenPage> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 1400 }, ...options });
  const page = await context.newPage();
  const complaints: string[] = [], fetched: string[] = [], { origin } = new URL(url);
  page.on("pageerror", ({ message }) => complaints.push(message));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("request", (request) => {
    const { origin: to, pathname } = new URL(request.url());
    if (to === origin) fetched.push(pathname);
    else complaints.push(`a request to ${request.url()}`);
  });
  await page.goto(url);
  return {
    page,
    fetched,
    assertQuiet: ({ except } = {}) => assert.deepEqual(complaints.filter((text) => !except?.test(text)), []),
    [Symbol.asyncDispose]: () => context.close(),
  };
}

/** The editor's text. A suggestion is no part of it. */
export function textOf(page: Page): Promise<string> {
  return page.evaluate(() =>
    [...document.querySelectorAll(".cm-line")].map((line) => {
      const own = line.cloneNode(true) as Element;
      for (const ghost of own.querySelectorAll(".ghost")) ghost.remove();
      return own.textContent;
    }).join("\n")
  );
}

/** Waits until what is suggested is this text; undefined: until nothing is. */
export async function untilGhost(page: Page, text: string | undefined): Promise<void> {
  await page.waitForFunction(
    (wanted) => (document.querySelector(".ghost")?.textContent ?? null) === wanted,
    text ?? null,
    { timeout: 10_000 },
  ).catch(async () => {
    const shown = await page.locator(".ghost").allTextContents();
    assert.fail(`suggested is ${JSON.stringify(shown)}, not ${JSON.stringify(text)}`);
  });
}

/** Puts the cursor into an empty file. */
export async function startEmpty(page: Page): Promise<void> {
  await page.getByLabel("File").selectOption("empty.py");
  await page.locator(".cm-content").focus();
}
