// Programs that tests of editors need, installed with apt where they are missing.
import { run } from "../debian.ts";

/**
 * Whether all are there by now.
 * @param packages Debian's, by the program that each brings
 * @throws {Error} one cannot be had, and CI=true
 */
export async function havePrograms(packages: Readonly<Record<string, string>>): Promise<boolean> {
  const missing = [];
  for (const program of Object.keys(packages)) if (!await isThere(program)) missing.push(program);
  if (missing.length === 0) return true;
  const elevate = Deno.uid() === 0 ? [] : ["sudo", "-n"];
  const wanted = missing.map((program) => packages[program]);
  await run([...elevate, "apt-get", "update", "-q"]);
  const { code, stderr } = await run([
    ...elevate,
    "apt-get",
    "install",
    "-y",
    "-q",
    "--no-install-recommends",
    ...wanted,
  ]);
  if (code === 0) return true;
  const advice = `Cannot test editors: install ${wanted.join(", ")} (${stderr.trim().split("\n").at(-1)})`;
  if (Deno.env.get("CI") === "true") throw new Error(advice);
  console.error(advice);
  return false;
}

async function isThere(program: string): Promise<boolean> {
  return (await run(["sh", "-c", `command -v ${program}`])).code === 0;
}
