// A page in a browser that keeps account of whatever the browser complains about, and of what it fetches.
import assert from "node:assert/strict";
import { delay } from "../routes/delay.ts";
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
  return page.evaluate(`[...document.querySelectorAll(".cm-line")].map((line) => {
    const own = line.cloneNode(true);
    for (const ghost of own.querySelectorAll(".ghost")) ghost.remove();
    return own.textContent;
  }).join("\\n")`);
}

const PATIENCE_MS = 15_000;

/** Waits until what is suggested is this text; undefined: until nothing is. Playwright's own waiting would need `eval`. */
export async function untilGhost(page: Page, text: string | undefined): Promise<void> {
  let shown: unknown;
  for (const start = Date.now(); Date.now() - start < PATIENCE_MS;) {
    shown = await page.evaluate(`document.querySelector(".ghost")?.textContent`);
    if (shown === text) return;
    await delay(20);
  }
  assert.fail(`suggested is ${JSON.stringify(shown)}, not ${JSON.stringify(text)}`);
}

/** Puts the cursor into an empty file. */
export async function startEmpty(page: Page): Promise<void> {
  await page.getByLabel("File").selectOption("empty.py");
  await page.locator(".cm-content").focus();
}
