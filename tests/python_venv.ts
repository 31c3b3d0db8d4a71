// Python with packages of its own, for tests of clients that are written in it and of training/. Made once in a cache folder, and again
// when other packages are wanted.
import { run } from "./debian.ts";

export interface PythonOptions {
  /** With their versions, as pip has them: "openai==3.22.1". */
  readonly packages: readonly string[];
}

/**
 * The path of a Python that has the packages. Where there is none that makes environments, it is installed on Debian and
 * its like, as root or by a sudo that asks for no password.
 * @throws {Error} saying what is missing
 */
export async function pythonWith({ packages }: PythonOptions): Promise<string> {
  const name = packages.join("-").replace(/[^\w.-]/g, "_");
  const folder = `${cacheFolder()}/hyades/python/${name}`, python = `${folder}/bin/python`;
  if (await isComplete(folder)) return python;
  console.error(`Making a Python environment with ${packages.join(", ")} ...`);
  await Deno.mkdir(folder, { recursive: true });
  if (await makeEnvironment(folder) !== 0) {
    await installPython();
    if (await makeEnvironment(folder) !== 0) {
      throw new Error("No Python that makes environments: install python3 and python3-venv");
    }
  }
  await installPackages(python, packages);
  await Deno.writeTextFile(`${folder}/complete`, "");
  return python;
}

function cacheFolder(): string {
  return Deno.env.get("XDG_CACHE_HOME") || `${Deno.env.get("HOME")}/.cache`;
}

async function isComplete(folder: string): Promise<boolean> {
  try {
    await Deno.stat(`${folder}/complete`);
    return (await run([`${folder}/bin/python`, "--version"])).code === 0;
  } catch {
    return false;
  }
}

async function makeEnvironment(folder: string): Promise<number> {
  return (await run(["python3", "-m", "venv", "--clear", folder])).code;
}

async function installPython(): Promise<void> {
  const elevate = Deno.uid() === 0 ? [] : ["sudo", "-n"];
  if ((await run([...elevate, "apt-get", "--version"])).code !== 0) return;
  console.error("Installing python3-venv for the tests that need Python ...");
  await run([...elevate, "apt-get", "update", "-q"], true);
  await run([...elevate, "apt-get", "install", "-y", "-q", "python3-venv"], true);
}

/** Without retries first: of several indexes one may be out of reach, and be asked in vain for every package. */
async function installPackages(python: string, packages: readonly string[]): Promise<void> {
  const install = [python, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"];
  for (const retries of [["--retries", "0"], []]) {
    const { code, stderr } = await run([...install, ...retries, ...packages]);
    if (code === 0) return;
    if (retries.length === 0) {
      throw new Error(`Cannot install ${packages.join(", ")}: ${stderr.slice(-2000)}`);
    }
  }
}
