// A Python that has what training/ needs: the machine's own where it does, else a virtual environment made once, in the
// folder for temporary files.
import { fromFileUrl, join } from "std/path/mod.js";
import { run } from "../debian.ts";

const REQUIREMENTS = fromFileUrl(new URL("../../training/requirements.txt", import.meta.url));
const PROBE = "import numpy, safetensors.torch, tokenizers, torch";

/**
 * The interpreter's path.
 * @throws {Error} saying what could not be done, where there is none and none can be made
 */
export async function trainingPython(): Promise<string> {
  const temporary = Deno.env.get("TMPDIR") ?? "/tmp";
  const folder = join(temporary, "hyades-training-python"), own = join(folder, "bin/python");
  for (const python of [Deno.env.get("HYADES_PYTHON"), "python3", own]) {
    if (python && (await run([python, "-c", PROBE])).code === 0) return python;
  }
  console.error(`Making ${folder} with PyTorch for the test of training/ ...`);
  await makeEnvironment(folder);
  // Two tries to reach an index that cannot be reached are enough: pip waits long between them.
  await must([own, "-m", "pip", "install", "-q", "--no-compile", "--retries", "1", "-r", REQUIREMENTS]);
  await must([own, "-c", PROBE]);
  return own;
}

async function makeEnvironment(folder: string): Promise<void> {
  const command = ["python3", "-m", "venv", folder];
  if ((await run(command)).code === 0) return;
  // Debian keeps the module in a package of its own.
  const elevate = Deno.uid() === 0 ? [] : ["sudo", "-n"];
  await run([...elevate, "apt-get", "update", "-q"]);
  await run([...elevate, "apt-get", "install", "-y", "-q", "python3", "python3-venv"]);
  await must(command);
}

async function must(command: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await run(command);
  if (code !== 0) throw new Error(`${command.join(" ")}: exit code ${code}\n${stdout}${stderr}`);
}
