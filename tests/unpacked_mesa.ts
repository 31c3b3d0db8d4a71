// Mesa 26's lavapipe, a software GPU with matrix units, for the tests of the kernels on these: Debian's newest, unpacked
// into a folder of its own. The machine's packages and apt's lists are left alone, and root is not needed. Programs run on
// the unpacked C library, started by its own loader, as the machine's is older than the driver needs.
import { run, sourceEntry } from "./debian.ts";

/** The first Mesa whose lavapipe has matrix units. */
export const MIN_MATRIX_MESA = 26;

/** `testing` for the days on which the newest packages do not fit each other or this. */
const SUITES = ["sid", "testing"] as const;
const PACKAGES = ["mesa-vulkan-drivers", "libvulkan1", "libstdc++6"];

const LOADERS: Partial<Record<typeof Deno.build.arch, string>> = {
  x86_64: "ld-linux-x86-64.so.2",
  aarch64: "ld-linux-aarch64.so.1",
};

export interface UnpackedMesa {
  /** mesa-vulkan-drivers', as 26.2.6-1 */
  readonly version: string;
  readonly folder: string;
  /** To stand before a program's path: the loader and its options. */
  readonly launcher: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/**
 * The Mesa that an earlier run has left in the cache folder, or else today's: apt fetches 80 MB from the machine's own
 * mirror and checks signature and sums; what is kept takes 220 MB.
 * @throws {Error} saying why it cannot be had
 */
export async function unpackedMesa(): Promise<UnpackedMesa> {
  const loader = LOADERS[Deno.build.arch];
  if (Deno.build.os !== "linux" || !loader) throw new Error("it is for Linux on x86-64 and Arm");
  const folder = mesaFolder();
  const version = keptVersion(folder) ?? await unpackInto(folder);
  const libraries = libraryFolder(folder), icd = icdFile(folder);
  return {
    version,
    folder,
    launcher: [`${libraries}/${loader}`, "--library-path", libraries],
    env: { VK_ICD_FILENAMES: icd, VK_DRIVER_FILES: icd },
  };
}

function mesaFolder(): string {
  const cache = Deno.env.get("XDG_CACHE_HOME") || `${Deno.env.get("HOME") ?? "/var/tmp"}/.cache`;
  return `${cache}/hyades/mesa-${Deno.build.arch}`;
}

function libraryFolder(folder: string): string {
  return `${folder}/usr/lib/${Deno.build.arch}-linux-gnu`;
}

function icdFile(folder: string): string {
  return `${folder}/lavapipe.json`;
}

function versionFile(folder: string): string {
  return `${folder}/version`;
}

/** Undefined where nothing is kept, or something too old. */
function keptVersion(folder: string): string | undefined {
  try {
    const version = Deno.readTextFileSync(versionFile(folder));
    return isNewEnough(version) ? version : undefined;
  } catch {
    return undefined;
  }
}

function isNewEnough(version: string): boolean {
  return Number(/^(?:\d+:)?(\d+)/.exec(version)?.[1] ?? 0) >= MIN_MATRIX_MESA;
}

/** Beside the folder first and then renamed: what is there is whole, and two runs at once do not meet. */
async function unpackInto(folder: string): Promise<string> {
  const parent = folder.slice(0, folder.lastIndexOf("/"));
  await Deno.mkdir(parent, { recursive: true });
  const work = await Deno.makeTempDir({ dir: parent, prefix: "mesa-" });
  try {
    console.error(`Fetching Mesa with matrix units for the tests into ${folder} ...`);
    const packages = await download(work);
    const root = `${work}/root`;
    for (const file of packages.files) await must(["dpkg-deb", "-x", file, root]);
    await dropOtherDrivers(root);
    await writeIcd(root, folder);
    await Deno.writeTextFile(versionFile(root), packages.version);
    await Deno.remove(folder, { recursive: true }).catch(() => {});
    await Deno.rename(root, folder).catch((error) => {
      if (!keptVersion(folder)) throw error;
    });
    return packages.version;
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

interface Packages {
  readonly files: readonly string[];
  readonly version: string;
}

async function download(work: string): Promise<Packages> {
  const reasons: string[] = [];
  for (const suite of SUITES) {
    try {
      return await downloadFrom(suite, `${work}/${suite}`);
    } catch (error) {
      reasons.push(`${suite}: ${error instanceof Error ? error.message : error}`);
    }
  }
  throw new Error(reasons.join("; "));
}

/** All that the driver needs, down to the C library: as for a machine on which nothing is installed. */
async function downloadFrom(suite: string, folder: string): Promise<Packages> {
  const apt = ["apt-get", "-q", "-c", await aptConfiguration(suite, folder)];
  await must([...apt, "update"]);
  await must([...apt, "install", "--yes", "--download-only", ...PACKAGES]);
  const files = [...Deno.readDirSync(`${folder}/archives`)]
    .filter(({ name }) => name.endsWith(".deb"))
    .map(({ name }) => `${folder}/archives/${name}`);
  const driver = files.find((file) => file.includes("/mesa-vulkan-drivers_"));
  const version = driver && (await must(["dpkg-deb", "-f", driver, "Version"])).trim();
  if (!version || !isNewEnough(version)) {
    throw new Error(`Mesa must be ${MIN_MATRIX_MESA} or newer, received ${version ?? "none"}`);
  }
  return { files, version };
}

/** apt's own settings stay (its keys, a proxy); lists, cache and what is installed are those of `folder`. */
async function aptConfiguration(suite: string, folder: string): Promise<string> {
  const entry = sourceEntry(suite);
  if (!entry) throw new Error("this machine has no Debian mirror in /etc/apt");
  for (const part of ["lists/partial", "archives/partial"]) {
    await Deno.mkdir(`${folder}/${part}`, { recursive: true });
  }
  const sources = `${folder}/suite.${entry.extension}`, status = `${folder}/status`;
  await Deno.writeTextFile(sources, entry.text);
  await Deno.writeTextFile(status, "");
  const settings = {
    "Dir::Etc::SourceList": sources,
    "Dir::Etc::SourceParts": "/dev/null",
    "Dir::Etc::PreferencesParts": "/dev/null",
    "Dir::Etc::Preferences": "/dev/null",
    "Dir::State::Lists": `${folder}/lists`,
    "Dir::State::status": status,
    "Dir::Cache": folder,
    "Dir::Cache::archives": `${folder}/archives`,
    // The folder may be where only this user can write.
    "APT::Sandbox::User": "root",
    "APT::Install-Recommends": "false",
    // A list that cannot be fetched is an error, not a warning.
    "APT::Update::Error-Mode": "any",
    "Acquire::Languages": "none",
    "Acquire::Retries": "3",
  };
  // Hooks of the machine's are for its own lists and packages.
  const hooks = ["APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success"];
  const file = `${folder}/apt.conf`;
  await Deno.writeTextFile(
    file,
    [
      ...hooks.map((hook) => `#clear ${hook};`),
      ...Object.entries(settings).map(([name, value]) => `${name} "${value}";`),
    ].join("\n") + "\n",
  );
  return file;
}

/** Of the drivers for graphics cards, half of all bytes, none is used. */
async function dropOtherDrivers(root: string): Promise<void> {
  const libraries = libraryFolder(root);
  for (const { name } of [...Deno.readDirSync(libraries)]) {
    if (/^libvulkan_(?!lvp)/.test(name)) await Deno.remove(`${libraries}/${name}`);
  }
}

/** As the packages' own, with the library's path in full. */
async function writeIcd(root: string, folder: string): Promise<void> {
  const icds = `${root}/usr/share/vulkan/icd.d`;
  const name = [...Deno.readDirSync(icds)].find(({ name }) => /^lvp_icd.*\.json$/.test(name))?.name;
  if (!name) throw new Error("Mesa's packages have no lavapipe");
  const icd = JSON.parse(await Deno.readTextFile(`${icds}/${name}`));
  const library = icd.ICD.library_path.split("/").at(-1);
  icd.ICD.library_path = `${libraryFolder(folder)}/${library}`;
  await Deno.writeTextFile(icdFile(root), JSON.stringify(icd, undefined, 2));
}

/** What a command prints. @throws {Error} with what it says when it fails */
async function must(command: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command);
  if (code === 0) return stdout;
  const said = stderr.trim().split("\n").at(-1) || `exit code ${code}`;
  throw new Error(`${command[0]}: ${said}`);
}
