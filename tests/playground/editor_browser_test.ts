// The playground's editor in a real browser: ghost text, the keys that take it, and when it asks the server.
import assert from "node:assert/strict";
import { InvalidRequestError } from "../../engine/errors.ts";
import { delay, until } from "../routes/delay.ts";
import { browserTests } from "./browser_tests.ts";
import { openPage, startEmpty, textOf, untilGhost } from "./open_page.ts";
import { KNOWN, serveScripted } from "./scripted_server.ts";

const browserTest = browserTests();

browserTest("the playground suggests in its first file, and Tab takes all of it", async (browser) => {
  await using server = await serveScripted();
  await using opened = await openPage(browser, server.url);
  const { page } = opened;
  await untilGhost(page, KNOWN);
  const before = await textOf(page);
  await page.locator(".ghost").click(); // The cursor goes to where it stands.
  await page.keyboard.press("Tab");
  await untilGhost(page, undefined);
  const after = await textOf(page);
  assert.equal(after.length, before.length + KNOWN.length);
  assert.ok(after.includes(KNOWN));
  const { requester } = server.engine.standings[0]!;
  assert.match(requester!.session!, /^playground-[0-9a-f]{16}$/);
  opened.assertQuiet();
});

browserTest(
  "Ctrl-Right takes a word, Shift-Tab a line, and neither asks the server again",
  async (browser) => {
    await using server = await serveScripted();
    await using opened = await openPage(browser, server.url);
    const { page } = opened;
    await untilGhost(page, KNOWN);
    await startEmpty(page);
    await page.keyboard.type("x");
    await untilGhost(page, KNOWN);
    const asked = server.asked();
    await page.keyboard.press("Control+ArrowRight");
    await untilGhost(page, " total + item\n    print(total)");
    await page.keyboard.press("Shift+Tab");
    await untilGhost(page, "\n    print(total)");
    assert.equal(await textOf(page), "xreturn total + item");
    assert.equal(server.asked(), asked);
    await page.keyboard.press("Shift+Tab");
    await untilGhost(page, undefined);
    assert.equal(await textOf(page), `x${KNOWN}`);
    await until(() => server.asked() === asked + 1, "it asks what comes next");
    opened.assertQuiet();
  },
);

browserTest("typing what is suggested keeps the rest of it, without a request", async (browser) => {
  await using server = await serveScripted();
  await using opened = await openPage(browser, server.url);
  const { page } = opened;
  await startEmpty(page);
  await page.keyboard.type("y");
  await untilGhost(page, KNOWN);
  const asked = server.asked();
  await page.keyboard.type("return total");
  await untilGhost(page, " + item\n    print(total)");
  assert.equal(server.asked(), asked);
  await page.keyboard.type("s"); // Another word: the suggestion is of no more use.
  await untilGhost(page, KNOWN);
  assert.equal(server.asked(), asked + 1);
  opened.assertQuiet();
});

browserTest(
  "letters taken back and typed again find the suggestion again, without a request",
  async (browser) => {
    await using server = await serveScripted();
    await using opened = await openPage(browser, server.url);
    const { page } = opened;
    await startEmpty(page);
    await page.keyboard.type("abc");
    await untilGhost(page, KNOWN);
    await page.keyboard.type("ret");
    await untilGhost(page, KNOWN.slice(3));
    const asked = server.asked();
    for (let i = 0; i < 3; i++) await page.keyboard.press("Backspace");
    await untilGhost(page, KNOWN);
    await page.keyboard.type("ret");
    await untilGhost(page, KNOWN.slice(3));
    assert.equal(server.asked(), asked);
    opened.assertQuiet();
  },
);

browserTest("Escape dismisses a suggestion for good, Alt-\\ asks for one", async (browser) => {
  await using server = await serveScripted();
  await using opened = await openPage(browser, server.url);
  const { page } = opened;
  await startEmpty(page);
  await page.keyboard.type("z");
  await untilGhost(page, KNOWN);
  await page.keyboard.press("Escape");
  await untilGhost(page, undefined);
  await page.waitForTimeout(400);
  await untilGhost(page, undefined);
  assert.equal(await textOf(page), "z");
  await page.keyboard.press("Alt+\\");
  await untilGhost(page, KNOWN);
  await page.getByLabel("Suggest while typing").uncheck();
  await page.locator(".cm-content").focus();
  await page.keyboard.type("9");
  await page.waitForTimeout(400);
  await untilGhost(page, undefined);
  await page.keyboard.press("Alt+\\");
  await untilGhost(page, KNOWN);
  opened.assertQuiet();
});

browserTest("a key that outdates a request cancels it, one that agrees with it does not", async (browser) => {
  let allowedTokens = Infinity;
  async function beforeToken(index: number): Promise<void> {
    while (index >= allowedTokens) await delay(5);
  }
  await using server = await serveScripted({ script: { beforeToken } });
  await using opened = await openPage(browser, server.url);
  const { page } = opened, { engine } = server;
  await untilGhost(page, KNOWN);
  await startEmpty(page);
  await until(() => engine.active === 0, "nothing more is asked for the first file");
  const { cancelled } = engine;
  allowedTokens = 0;
  await page.keyboard.type("a");
  await until(() => engine.active === 1, "the server is asked");
  await page.keyboard.type("b");
  await until(() => engine.cancelled === cancelled + 1, "the request is cancelled");
  allowedTokens = 2;
  await untilGhost(page, "return total");
  const asked = server.asked();
  await page.keyboard.type("ret");
  await untilGhost(page, "urn total");
  allowedTokens = Infinity;
  await untilGhost(page, KNOWN.slice(3));
  assert.deepEqual([server.asked(), engine.cancelled], [asked, cancelled + 1]);
  opened.assertQuiet();
});

browserTest(
  "the keyboard leaves the editor by Escape and Tab, and walks the token probabilities",
  async (browser) => {
    await using server = await serveScripted();
    await using opened = await openPage(browser, server.url);
    const { page } = opened;
    await page.locator(".token").first().waitFor();
    assert.equal(await page.locator(".token").count(), KNOWN.match(/\s*(\w+|\W)/g)!.length);
    const chosen = () => page.locator(".token[aria-selected=true]").getAttribute("aria-label");
    await page.locator(".token").nth(0).focus();
    assert.match((await chosen())!, /^return, 78 %$/);
    await page.keyboard.press("ArrowRight");
    assert.match((await chosen())!, /^·total, 78 %$/);
    await page.keyboard.press("End");
    assert.match((await chosen())!, /^\), 78 %$/);
    assert.equal(await page.locator(".alternative").count(), 4);
    await page.locator(".cm-content").focus();
    for (const key of ["Escape", "Escape", "Tab"]) await page.keyboard.press(key);
    assert.equal(await page.evaluate(`document.activeElement.closest(".cm-editor")`), null);
    opened.assertQuiet();
  },
);

browserTest("what is sent is the text around the cursor, to the character", async (browser) => {
  await using server = await serveScripted();
  await using opened = await openPage(browser, server.url);
  const { page } = opened, last = () => server.engine.requests.at(-1)!.prompt;
  await startEmpty(page);
  const long = `x = "${"漢字🙂".repeat(1250)}"`;
  await page.keyboard.insertText(`# ä\r\n\tif x:\r\n${long} + )`);
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.type("y(");
  await untilGhost(page, KNOWN);
  const prompt = last();
  assert.ok(prompt.kind === "infill");
  assert.equal(prompt.prefix, "# ä\n\tif x:\n");
  assert.equal(prompt.lineStart, `${long} + y(`);
  assert.equal(prompt.suffix, ")");
  opened.assertQuiet();
});

browserTest("probabilities are those of the tokens from where healing began", async (browser) => {
  await using server = await serveScripted({ script: { healed: 4 } });
  await using opened = await openPage(browser, server.url);
  const { page } = opened, { requests } = server.engine;
  const scored = () =>
    requests.flatMap(({ prompt, logprobs, tokenHealing }) =>
      prompt.kind === "infill" && logprobs === 20 && tokenHealing === false ? [prompt.lineStart ?? ""] : []
    );
  await startEmpty(page);
  await page.keyboard.insertText("ä🙂");
  await untilGhost(page, KNOWN);
  // This engine would not write what was typed: what follows the word at the cursor is what can be told.
  await until(() => scored().includes("ä🙂return"), "the tokens after the word are scored");
  assert.deepEqual(scored().slice(-2), ["ä", "ä🙂return"]);
  await page.getByText("Token probabilities, after the word at the cursor").waitFor();
  const tokens = await page.locator(".token").allInnerTexts();
  assert.deepEqual(tokens.slice(0, 3), ["·total", "·+", "·item"]);
  server.script = { healed: 2 }; // Within a character: nothing can be told.
  const before = scored().length;
  await page.keyboard.insertText("🙂");
  await untilGhost(page, KNOWN);
  await page.waitForTimeout(600);
  assert.equal(scored().length, before);
  opened.assertQuiet();
});

browserTest("a server that has gone is told as such", async (browser) => {
  const server = await serveScripted();
  await using opened = await openPage(browser, server.url);
  const { page } = opened;
  await startEmpty(page);
  await page.keyboard.type("a");
  await untilGhost(page, KNOWN);
  await server[Symbol.asyncDispose]();
  await page.keyboard.type("b");
  await page.getByRole("alert").waitFor();
  assert.equal(await page.getByRole("alert").textContent(), "The server does not answer");
  await page.locator("#dashboard").scrollIntoViewIfNeeded();
  await page.getByText("the server does not answer", { exact: true }).waitFor();
  opened.assertQuiet({ except: /ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET/ });
});

browserTest("what the server refuses is told in its own words", async (browser) => {
  const error = Object.assign(new Error("kernel bug"), { name: "TypeError" });
  await using server = await serveScripted({ script: { failure: { at: 0, error } } });
  await using opened = await openPage(browser, server.url);
  const { page } = opened;
  await page.getByRole("alert").waitFor();
  assert.equal(await page.getByRole("alert").textContent(), "Internal server error");
  assert.equal(await page.locator("#state").textContent(), "Internal server error");
  server.script = {};
  await startEmpty(page);
  await page.keyboard.type("a");
  await untilGhost(page, KNOWN);
  assert.equal(await page.locator("#state").textContent(), "");
  opened.assertQuiet({ except: /status of 500/ });
});

browserTest(
  "a model that knows no text after the cursor goes on from what stands before it",
  async (browser) => {
    await using server = await serveScripted();
    const { engine } = server, message = "Cannot fill in: the vocabulary has no fill-in-the-middle tokens";
    const details = { field: "prompt", reason: "fim_unsupported" } as const;
    engine.script = ({ prompt }) =>
      prompt.kind === "infill"
        ? { failure: { at: 0, error: new InvalidRequestError(message, details) } }
        : { tokens: ["return", " it"] };
    await using opened = await openPage(browser, server.url);
    const { page } = opened;
    await untilGhost(page, "return it");
    assert.match(await page.locator("#request").innerText(), /2\s+new tokens/);
    await startEmpty(page);
    await page.keyboard.type("a");
    await untilGhost(page, "return it");
    const kinds = engine.requests.map(({ prompt }) => prompt.kind);
    assert.deepEqual(kinds, ["infill", "text", "text"]);
    opened.assertQuiet({ except: /status of 501/ });
  },
);
