// The committed bundle is what its sources give: whoever changes one commits the other.
import assert from "node:assert/strict";
import { buildPlayground } from "../../clients/build_playground.ts";

Deno.test("clients/playground/dist is up to date: `deno task playground` would change nothing", async () => {
  const { files } = await buildPlayground();
  for (const [name, text] of Object.entries(files)) {
    const committed = await Deno.readTextFile(
      new URL(`../../clients/playground/dist/${name}`, import.meta.url),
    );
    assert.ok(committed === text, `${name} is out of date: run deno task playground, and commit it`);
  }
});
