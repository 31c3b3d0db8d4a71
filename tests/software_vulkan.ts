// A GPU in software for the tests: Mesa's lavapipe, new enough for Dawn (Mesa 25; Debian 12 has it in backports).
import { hasSuite, release, run, sourceEntry } from "./debian.ts";

const MIN_MESA = 25;
const BACKPORTS = "bookworm-backports";
const ICD_FOLDER = "/usr/share/vulkan/icd.d";

/**
 * Environment variables under which both providers find lavapipe, installing it first on Debian-like systems when
 * there is none. Empty, with advice on stderr, where it cannot be had: tests then use the machine's own adapters.
 */
export async function softwareVulkan(): Promise<Record<string, string>> {
  if (Deno.build.os !== "linux") return {};
  if (await mesaVersion() < MIN_MESA) await installMesa();
  const icd = lavapipeIcd();
  if (icd && await mesaVersion() >= MIN_MESA) return { VK_ICD_FILENAMES: icd, VK_DRIVER_FILES: icd };
  console.error(
    `No software Vulkan of Mesa ${MIN_MESA} or newer: the WebGPU tests will use this machine's own adapters. ` +
      `Install libvulkan1 and mesa-vulkan-drivers (Debian 12: from bookworm-backports).`,
  );
  return {};
}

function lavapipeIcd(): string | undefined {
  try {
    const entry = [...Deno.readDirSync(ICD_FOLDER)].find(({ name }) => /^lvp_icd.*\.json$/.test(name));
    return entry && `${ICD_FOLDER}/${entry.name}`;
  } catch {
    return undefined;
  }
}

/** Major version of the installed mesa-vulkan-drivers, 0 when there is none. */
export async function mesaVersion(): Promise<number> {
  const { stdout } = await run([
    "dpkg-query",
    "-W",
    "-f",
    "${db:Status-Status} ${Version}",
    "mesa-vulkan-drivers",
  ]);
  const found = /^installed (?:\d+:)?(\d+)/.exec(stdout);
  return found ? Number(found[1]) : 0;
}

async function installMesa(): Promise<void> {
  const elevate = Deno.uid() === 0 ? [] : ["sudo", "-n"];
  if ((await run([...elevate, "apt-get", "--version"])).code !== 0) return;
  console.error("Installing software Vulkan (libvulkan1, mesa-vulkan-drivers) for the tests ...");
  const backports = release() === "bookworm" ? ["-t", BACKPORTS] : [];
  if (backports.length > 0) await addBackports(elevate);
  await run([...elevate, "apt-get", "update", "-q"], true);
  const packages = ["libvulkan1", "mesa-vulkan-drivers"];
  await run([...elevate, "apt-get", "install", "-y", "-q", ...backports, ...packages], true);
}

/** From the same place as the machine's own Debian packages. */
async function addBackports(elevate: string[]): Promise<void> {
  const entry = sourceEntry(BACKPORTS);
  if (!entry || hasSuite(BACKPORTS)) return;
  const temporary = await Deno.makeTempFile();
  await Deno.writeTextFile(temporary, entry.text);
  const file = `/etc/apt/sources.list.d/hyades-backports.${entry.extension}`;
  await run([...elevate, "install", "-m", "644", temporary, file], true);
  await Deno.remove(temporary);
}
