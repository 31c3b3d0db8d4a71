// What a figure needs beside it to mean anything: machine, versions, commit, date.

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  /** GPU driver, where the vendor's tool tells it. */
  readonly driver?: string;
  readonly os: string;
  readonly deno: string;
  /** Short hash, with "+" when the working tree differs from it. */
  readonly commit: string;
  /** ISO day. */
  readonly date: string;
}

export async function describeMachine(): Promise<Machine> {
  const driver = await firstLine("nvidia-smi", ["--query-gpu=driver_version", "--format=csv,noheader"]);
  return {
    cpu: await cpuName(),
    cores: navigator.hardwareConcurrency,
    ...(driver && { driver: `NVIDIA ${driver}` }),
    os: `${Deno.build.os} ${Deno.osRelease()}`,
    deno: Deno.version.deno,
    commit: await commit(),
    date: new Date().toISOString().slice(0, 10),
  };
}

async function cpuName(): Promise<string> {
  const info = await Deno.readTextFile("/proc/cpuinfo").catch(() => "");
  return /^model name\s*:\s*(.+)$/m.exec(info)?.[1] ?? Deno.build.arch;
}

/** `HYADES_COMMIT` speaks for a tree that travelled without its history. */
async function commit(): Promise<string> {
  const hash = await firstLine("git", ["rev-parse", "--short", "HEAD"]);
  if (!hash) return Deno.env.get("HYADES_COMMIT") ?? "unknown";
  const changes = await firstLine("git", ["status", "--porcelain", "--untracked-files=no"]);
  return changes ? `${hash}+` : hash;
}

/** First line of a command's output; undefined when the command is missing or fails. */
async function firstLine(command: string, args: string[]): Promise<string | undefined> {
  try {
    const { success, stdout } = await new Deno.Command(command, { args, stderr: "null" }).output();
    return success ? new TextDecoder().decode(stdout).split("\n")[0].trim() || undefined : undefined;
  } catch {
    return undefined;
  }
}
