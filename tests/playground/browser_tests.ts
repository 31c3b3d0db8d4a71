// Tests that share one browser.
import { type Browser, openChromium } from "./chromium.ts";

export type BrowserTest = (name: string, test: (browser: Browser) => Promise<void>) => void;

/** For a file of tests: opens the browser before the first. Without one they check nothing; in CI that is a failure. */
export function browserTests(): BrowserTest {
  let browser: Browser | undefined;
  Deno.test.beforeAll(async () => void (browser = await openChromium()));
  Deno.test.afterAll(async () => await browser?.close());
  return function browserTest(name, test) {
    // Playwright's connection lives longer than a test.
    const sanitizers = { sanitizeOps: false, sanitizeResources: false };
    Deno.test({ name, fn: async () => browser && await test(browser), ...sanitizers });
  };
}
