// The Debian that the tests run on: its release, the place that its packages come from, and its commands. Knows nothing
// of what is installed and why.

/** An entry of apt's sources. */
export interface SourceEntry {
  readonly text: string;
  /** Of the file that holds it: apt tells the two notations apart by it. */
  readonly extension: "sources" | "list";
}

/** The code name of the release, as bookworm; empty where there is none. */
export function release(): string {
  return /^VERSION_CODENAME=(\w+)/m.exec(readOrEmpty("/etc/os-release"))?.[1] ?? "";
}

/** The entry for another suite of the mirror that the machine's own packages come from; undefined without one. */
export function sourceEntry(suite: string): SourceEntry | undefined {
  return entryForSuite(
    suite,
    release(),
    readOrEmpty("/etc/apt/sources.list.d/debian.sources"),
    readOrEmpty("/etc/apt/sources.list"),
  );
}

/** The same from the text of apt's sources, in the notation of `deb822` before the `classic` one. */
export function entryForSuite(
  suite: string,
  release: string,
  deb822: string,
  classic: string,
): SourceEntry | undefined {
  if (!release) return undefined;
  const stanza = deb822.split(/\n\s*\n/)
    .find((text) => new RegExp(`^Suites:.*\\b${release}\\b(?!-)`, "m").test(text));
  if (stanza) {
    const text = Object.entries({ Types: "deb", Suites: suite, Components: "main" })
      .reduce(
        (text, [field, value]) => text.replace(new RegExp(`^${field}:.*$`, "m"), `${field}: ${value}`),
        stanza,
      );
    return { text: `${text.trim()}\n`, extension: "sources" };
  }
  const line = new RegExp(`^(deb\\s.*)\\s${release}\\s`, "m").exec(classic);
  return line ? { text: `${line[1]} ${suite} main\n`, extension: "list" } : undefined;
}

/** Whether apt knows a suite of Debian's already. */
export function hasSuite(suite: string): boolean {
  return ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"]
    .some((file) => readOrEmpty(file).includes(suite));
}

function readOrEmpty(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}

export interface CommandResult {
  /** 127 where there is no such command. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command without input; with `show` what it prints goes to the console instead of into the result. */
export async function run(command: readonly string[], show = false): Promise<CommandResult> {
  const output = show ? "inherit" : "piped";
  try {
    const result = await new Deno.Command(command[0], {
      args: command.slice(1),
      stdin: "null",
      stdout: output,
      stderr: output,
      env: { DEBIAN_FRONTEND: "noninteractive" },
    }).output();
    const text = (bytes: () => Uint8Array) => show ? "" : new TextDecoder().decode(bytes());
    return { code: result.code, stdout: text(() => result.stdout), stderr: text(() => result.stderr) };
  } catch {
    return { code: 127, stdout: "", stderr: `${command[0]}: no such command` };
  }
}
