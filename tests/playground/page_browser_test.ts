// The playground beside its editor, in a real browser: the panel, the dashboard, keys, themes, accessibility.
import assert from "node:assert/strict";
import axe from "../axe.ts";
import { until } from "../routes/delay.ts";
import { browserTests } from "./browser_tests.ts";
import { type OpenPage, openPage, startEmpty, textOf, untilGhost } from "./open_page.ts";
import { KNOWN, serveScripted } from "./scripted_server.ts";

const browserTest = browserTests();

browserTest("the panel tells what the reply says of the last request", async (browser) => {
  const script = { healed: 2, drafts: { drafted: 6, accepted: 4 }, rules: ["scope"] } as const;
  await using server = await serveScripted({ script });
  await using opened = await openPage(browser, server.url);
  const { page } = opened;
  await page.locator(".facts").waitFor();
  const said = await page.locator("#request").innerText();
  for (
    const part of [/prompt 20 ms/, /tokens 50 ms/, /from the cache 3\b/, /4 of 6 right/, /PSM/, /2 bytes/]
  ) {
    assert.match(said, part);
  }
  assert.match(said, /with its line or block/);
  assert.match(said, new RegExp(`\\b${KNOWN.match(/\s*(\w+|\W)/g)!.length}\\s+new tokens`));
  assert.equal(await page.locator("#request-outcome").innerText(), "computed");
  await page.getByText("The prompt as the model sees it").click();
  assert.match(await page.locator(".prompt pre").innerText(), /^class Point:[^]*def length/);
  await startEmpty(page);
  await page.keyboard.type("a");
  await untilGhost(page, KNOWN);
  await page.keyboard.type("ret");
  assert.equal(await page.locator("#request-outcome").innerText(), "typed on: no request needed");
  assert.match(await page.locator(".history").innerText(), /typed on 3/);
  assert.equal(await page.locator(".prompt pre").innerText(), "a", "it stays open, and shows the latest");
  opened.assertQuiet();
});

browserTest("the dashboard shows what the server counts, and the blocks of its cache", async (browser) => {
  await using server = await serveScripted();
  const { engine } = server;
  engine.blockMap = {
    device: new Uint8Array(300).fill(1, 0, 40).fill(2, 40, 50),
    host: new Uint8Array(8).fill(1, 0, 3),
  };
  engine.statistics = { ...engine.statistics, promptTokens: 100, cachedTokens: 75 };
  await using opened = await openPage(browser, server.url);
  const { page } = opened;
  await page.locator("canvas[role=img]").scrollIntoViewIfNeeded();
  await page.locator("canvas[aria-label^='Map of 300']").waitFor();
  assert.equal(
    await page.locator("canvas[role=img]").getAttribute("aria-label"),
    "Map of 300 cache blocks: 0 shared, 10 in use, 40 cached, 250 empty, 3 parked in host memory",
  );
  assert.match(await page.locator("#dashboard-cards").innerText(), /75 % of prompts found in it/);
  assert.deepEqual(await pixelsOf(opened, ["cached", "new", "empty"]), [false, true, true]);
  engine.blockMap.device[60] = 1;
  await page.locator("canvas[aria-label*='41 cached']").waitFor();
  assert.deepEqual(await pixelsOf(opened, ["cached"]), [true], "what has just been cached is bright");
  engine.statistics = {
    ...engine.statistics,
    ...{ generatedTokens: 500, steps: 100, stepSequences: 250, stepMs: 400, running: 3, waiting: 2 },
  };
  const slot = {
    arrival: 1,
    sample: 0,
    temperature: 0,
    topK: 0,
    topP: 1,
    minP: 0,
    blocks: 2,
    priority: "live",
  } as const;
  engine.inFlight = [
    {
      ...slot,
      stage: "decode",
      ageMs: 120,
      promptTokens: 30,
      computedTokens: 36,
      generatedTokens: 6,
      hasNewLine: false,
      maxTokens: 24,
    },
    {
      ...slot,
      stage: "prefill",
      ageMs: 20,
      promptTokens: 40,
      computedTokens: 30,
      generatedTokens: 0,
      hasNewLine: false,
      maxTokens: 24,
    },
  ];
  await page.locator(".plot[aria-label*='running 3, waiting 2']").waitFor();
  await page.locator(".sequence").nth(1).waitFor();
  assert.deepEqual(await page.getByLabel("Sequences in flight").locator("li").allInnerTexts(), [
    "live, 120 ms: has drawn 6 of at most 24 tokens",
    "live, 20 ms: reads token 30 of 40",
  ]);
  const widths = `[...document.querySelectorAll(".fill")].map((fill) => fill.style.inlineSize)`;
  assert.deepEqual(await page.evaluate(widths), ["25%", "75%"]);
  assert.match(await page.locator("#dashboard-state").innerText(), /^(computing \d+ % of the time|idle)/);
  assert.equal(await page.locator(".uplot canvas").count(), 3);
  opened.assertQuiet({ except: /willReadFrequently/ }); // The test's own reading.
});

/** Whether the map has a pixel of each colour of the style sheet. */
function pixelsOf({ page }: OpenPage, names: readonly string[]): Promise<boolean[]> {
  return page.evaluate(`(() => {
    const canvas = document.querySelector("canvas[role=img]");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const seen = new Set();
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) seen.add(data.slice(i, i + 3).join());
    return ${JSON.stringify(names)}.map((name) => {
      const probe = document.createElement("i");
      probe.style.color = "var(--" + name + ")";
      document.body.append(probe);
      const colour = getComputedStyle(probe).color.match(/\\d+/g).slice(0, 3).join();
      probe.remove();
      return seen.has(colour);
    });
  })()`);
}

browserTest("the dashboard asks the server nothing while it is paused or out of sight", async (browser) => {
  await using server = await serveScripted();
  await using opened = await openPage(browser, server.url, { viewport: { width: 1280, height: 500 } });
  const { page, fetched } = opened;
  const polls = () => fetched.filter((path) => ["/metrics", "/blocks", "/slots"].includes(path)).length;
  await untilGhost(page, KNOWN);
  await page.waitForTimeout(1200);
  assert.equal(polls(), 0, "below the window's edge");
  await page.locator("#dashboard").scrollIntoViewIfNeeded();
  await until(() => polls() >= 6, "it polls once it is seen");
  await page.getByRole("button", { name: "Pause" }).click();
  await page.waitForTimeout(200);
  const paused = polls();
  await page.waitForTimeout(1500);
  assert.equal(polls(), paused);
  await page.getByRole("button", { name: "Go on" }).click();
  await until(() => polls() > paused, "it goes on");
  opened.assertQuiet();
});

browserTest(
  "a server with keys is asked with the key that the user gives, for as long as the tab lives",
  async (browser) => {
    await using server = await serveScripted({ keys: ["geheim ü"] });
    await using opened = await openPage(browser, server.url);
    const { page } = opened;
    const dialog = page.getByRole("dialog");
    await dialog.waitFor();
    await page.keyboard.type("wrong");
    await page.keyboard.press("Enter");
    await page.getByText("The server does not know this key").waitFor();
    await page.keyboard.type("geheim ü");
    await page.keyboard.press("Enter");
    await dialog.waitFor({ state: "hidden" });
    await untilGhost(page, KNOWN);
    await page.reload();
    await untilGhost(page, KNOWN);
    assert.equal(await dialog.isVisible(), false);
    assert.deepEqual(
      await page.evaluate("[Object.values(sessionStorage), Object.keys(localStorage)]"),
      [["geheim ü"], []],
    );
    opened.assertQuiet({ except: /status of 401/ });
  },
);

browserTest("the playground waits for a model that is being loaded", async (browser) => {
  await using server = await serveScripted();
  server.engine.state = { phase: "loading", progress: 0.4 };
  await using opened = await openPage(browser, server.url);
  const { page } = opened;
  await page.getByText("Loading the model: 40 %").waitFor();
  assert.match(await textOf(page), /^class Point:/);
  await startEmpty(page);
  await page.keyboard.type("early");
  await page.waitForTimeout(400);
  assert.equal(server.asked(), 0);
  server.engine.state = { phase: "ready" };
  await page.getByText("fake/model-1 · 31 M parameters · 2048 tokens").waitFor();
  await untilGhost(page, KNOWN);
  assert.equal(await textOf(page), "early", "what was typed meanwhile is kept");
  opened.assertQuiet({ except: /status of 503/ });
});

browserTest(
  "the playground suggests also where the server went away just as it was ready",
  async (browser) => {
    await using server = await serveScripted();
    server.engine.state = { phase: "loading", progress: 0.4 };
    await using opened = await openPage(browser, server.url);
    const { page } = opened;
    let gone = true;
    await page.route("**/v1/models", (route) => {
      if (!gone) return route.continue();
      gone = false;
      return route.abort();
    });
    server.engine.state = { phase: "ready" };
    await page.getByText("fake/model-1 · 31 M parameters · 2048 tokens").waitFor();
    await untilGhost(page, KNOWN);
    assert.equal(gone, false);
    opened.assertQuiet({ except: /status of 503|ERR_FAILED/ });
  },
);

browserTest("the theme is the system's until the user chooses one, which is kept", async (browser) => {
  await using server = await serveScripted();
  await using opened = await openPage(browser, server.url, { colorScheme: "dark" });
  const { page } = opened;
  const ground = () => page.evaluate("getComputedStyle(document.body).backgroundColor");
  const dark = await ground();
  await page.emulateMedia({ colorScheme: "light" });
  const light = await ground();
  assert.notEqual(light, dark);
  const button = page.getByRole("button", { name: /^Theme/ });
  await untilGhost(page, KNOWN);
  for (const [name, colour] of [["Theme: light", light], ["Theme: dark", dark]]) {
    await button.click();
    assert.deepEqual([await button.innerText(), await ground()], [name, colour]);
  }
  await page.reload();
  assert.equal(await ground(), dark);
  await untilGhost(page, KNOWN);
  await button.click();
  assert.deepEqual([await button.innerText(), await ground()], ["Theme: system", light]);
  opened.assertQuiet();
});

browserTest("axe finds nothing wrong with the page, light and wide, dark and narrow", async (browser) => {
  await using server = await serveScripted({ script: { drafts: { drafted: 6, accepted: 4 } } });
  for (const [colorScheme, width] of [["light", 1280], ["dark", 420]] as const) {
    const viewport = { width, height: 900 };
    await using opened = await openPage(browser, server.url, { colorScheme, viewport, bypassCSP: true });
    const { page } = opened;
    await page.locator(".token").first().waitFor();
    await page.evaluate(axe.source);
    const { violations } = await page.evaluate<AxeResults>("axe.run()");
    const found = violations.map(({ id, nodes }) =>
      `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join("; ")}`
    );
    assert.deepEqual(found, [], `${colorScheme}, ${width} pixels wide`);
    const overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
    assert.ok(Number(overflow) <= 0, `${overflow} pixels too wide at ${width}`);
    opened.assertQuiet();
  }
});

interface AxeResults {
  readonly violations: readonly {
    readonly id: string;
    readonly nodes: readonly { readonly html: string }[];
  }[];
}
