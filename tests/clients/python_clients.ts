// The Python that the official clients are installed in.
import { pythonWith } from "../python_venv.ts";

const PACKAGES = ["openai==3.22.1", "huggingface_hub==2.0.0"];

/** Undefined, said on stderr, where it cannot be had; with CI=true that is a failure. */
export async function pythonClients(): Promise<string | undefined> {
  try {
    return await pythonWith({ packages: PACKAGES });
  } catch (error) {
    if (Deno.env.get("CI") === "true") throw error;
    console.error(`Not checked: Python clients. ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}
