// `deno task playground:pictures`: takes the pictures of the playground that README.md shows, of the real server with the
// default model on this machine, while somebody types in it and two others complete elsewhere.
import { DEFAULT_MODEL_ID } from "../../cli/default_model.ts";
import { startServer } from "../cli/running_server.ts";
import { delay } from "../routes/delay.ts";
import { openChromium, type Page } from "./chromium.ts";
import { openPage } from "./open_page.ts";

const SIZE = { width: 1440, height: 1096 };
/** What is typed, and the pause after it in milliseconds. */
const SCRIPT = [["def distance", 900], ["(self, other):", 700], ["\n", 2500], ["dx = ", 2500]] as const;

await using server = await startServer(["--model", `weights/${DEFAULT_MODEL_ID}`]);
const browser = await openChromium();
if (!browser) Deno.exit(1);
for (const colorScheme of ["light", "dark"] as const) {
  await using opened = await openPage(browser, server.url("/"), { colorScheme, viewport: SIZE });
  const others = new AbortController();
  const working = [0, 1].map((index) => completeElsewhere(index, others.signal));
  await typeSomething(opened.page);
  await takePicture(
    opened.page,
    new URL(`../../docs/pictures/playground-${colorScheme}.webp`, import.meta.url),
  );
  others.abort();
  await Promise.all(working);
  opened.assertQuiet();
}
await browser.close();

/** Some work, a pause between two requests, as long as it is wanted. */
async function completeElsewhere(index: number, signal: AbortSignal): Promise<void> {
  for (let turn = 0; !signal.aborted; turn++) {
    const prefix = `# Module ${index}, ${turn % 7}\nimport json\n\n\ndef read_${
      turn % 7
    }(path, default=None):\n    `;
    await fetch(server.url("/infill"), {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Session-Id": `elsewhere-${index}` },
      body: JSON.stringify({ input_prefix: prefix, input_suffix: "\n", n_predict: 24, temperature: 0 }),
    }).then((response) => response.text());
    await delay(2500 + 900 * index);
  }
}

async function typeSomething(page: Page): Promise<void> {
  await page.locator(".ghost").click();
  for (const key of ["Tab", "Enter", "Enter", "Backspace"]) await page.keyboard.press(key, { delay: 200 });
  for (const [text, pauseMs] of SCRIPT) {
    await page.keyboard.type(text, { delay: 130 });
    await delay(pauseMs);
  }
  await page.locator(".token").first().waitFor();
  await delay(1500);
}

async function takePicture(page: Page, file: URL): Promise<void> {
  const session = await page.context().newCDPSession(page);
  const { data } = await session.send("Page.captureScreenshot", { format: "webp", quality: 88 });
  await Deno.mkdir(new URL("./", file), { recursive: true });
  await Deno.writeFile(file, Uint8Array.fromBase64(data));
}
