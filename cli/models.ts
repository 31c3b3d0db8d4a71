// `models`: lists what was pulled, and removes it.
import { Command } from "commander";
import { format } from "std/fmt/bytes.js";
import { pulledModels } from "../models/hub/hub_cache.ts";
import type { CachedRepo } from "../models/hub/hub_library.ts";
import { kindOf } from "../models/model_kind.ts";

export function modelsCommand(): Command {
  const command = new Command("models").description("List the models that were pulled, or remove one");
  command.command("list", { isDefault: true }).description("List them, with their sizes").action(list);
  command.command("remove").description("Delete a model, all its revisions")
    .argument("<repository>", "as org/name").action(remove);
  return command;
}

async function list(): Promise<void> {
  const { models, warnings } = await pulledModels();
  for (const { message } of warnings) console.error(`Not listed: ${message}`);
  if (models.length === 0) {
    return console.error("No models were pulled. Pull one: deno task pull bigcode/starcoder2-3b");
  }
  const rows = (await Promise.all(models.map(rowsOf))).flat();
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  for (const row of rows) console.log(row.map((text, i) => text.padEnd(widths[i])).join("  ").trimEnd());
}

/** Name, size, what it is, when it came; a row for each revision that has a name. */
async function rowsOf({ id, revisions, lastModifiedAt }: CachedRepo): Promise<string[][]> {
  const day = lastModifiedAt.toISOString().slice(0, 10);
  return await Promise.all(revisions.map(async ({ path, size, refs, commitOid }) => {
    const revision = refs.includes("main") ? "" : `@${refs[0] ?? commitOid}`;
    return [`${id.name}${revision}`, format(size), await kindOf(path), day];
  }));
}

async function remove(repo: string): Promise<void> {
  const { models } = await pulledModels(), found = models.find(({ id }) => id.name === repo);
  if (!found) {
    const names = models.map(({ id }) => id.name).join(", ") || "none";
    throw new Error(`Cannot remove ${repo}: it was not pulled; there are: ${names}`);
  }
  await Deno.remove(found.path, { recursive: true });
  console.log(`${repo}: ${format(found.size)} deleted`);
}
