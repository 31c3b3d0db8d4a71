// A Python that has what training/ needs: the machine's own where it does, else an environment that is made once.
import { fromFileUrl } from "std/path/mod.js";
import { run } from "../debian.ts";
import { pythonWith } from "../python_venv.ts";

const REQUIREMENTS = fromFileUrl(new URL("../../training/requirements.txt", import.meta.url));
const PROBE = "import numpy, safetensors.torch, tokenizers, torch";

/**
 * The interpreter's path.
 * @throws {Error} saying what could not be done, where there is none and none can be made
 */
export async function trainingPython(): Promise<string> {
  for (const python of [Deno.env.get("HYADES_PYTHON"), "python3"]) {
    if (python && (await run([python, "-c", PROBE])).code === 0) return python;
  }
  const packages = (await Deno.readTextFile(REQUIREMENTS)).trim().split("\n");
  return await pythonWith({ packages });
}
