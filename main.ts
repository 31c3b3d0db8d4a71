// The command line: each command lives in a file of its own under cli/.
import { Command } from "commander";
import config from "./deno.json" with { type: "json" };
import { completeCommand } from "./cli/complete.ts";
import { distilCommand } from "./cli/distil.ts";
import { doctorCommand } from "./cli/doctor.ts";
import { lspCommand } from "./cli/lsp.ts";
import { modelsCommand } from "./cli/models.ts";
import { pullCommand } from "./cli/pull.ts";
import { quantizeCommand } from "./cli/quantize.ts";
import { serveCommand } from "./cli/serve.ts";

const program = new Command("deno task")
  .description("Code completion anywhere a GPU, or just a CPU, is")
  .version(config.version)
  .showHelpAfterError("(add --help for the options)");
const commands = [
  serveCommand(),
  completeCommand(),
  lspCommand(),
  pullCommand(),
  modelsCommand(),
  quantizeCommand(),
  distilCommand(),
  doctorCommand(),
];
for (const command of commands) {
  program.addCommand(command.copyInheritedSettings(program));
}

try {
  await program.parseAsync(Deno.args, { from: "user" });
} catch (error) {
  console.error(`error: ${error instanceof Error ? error.message : error}`);
  Deno.exit(1);
}
