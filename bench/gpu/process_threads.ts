// What each thread of a process has used of a processor: Linux only, elsewhere nothing is known. Pure but for /proc.

/** Of the kernel's clock: USER_HZ, 100 on every architecture that Deno runs on. */
const TICKS_PER_SECOND = 100;

/** Seconds of processor time by thread; threads are told apart by number, and named. */
export type ThreadTimes = ReadonlyMap<string, number>;

/** The main thread is called "main", others by the name that they gave themselves and their number. */
export function threadTimes(pid: number): ThreadTimes {
  const times = new Map<string, number>();
  for (const id of threadsOf(pid)) {
    const stat = readOrUndefined(`/proc/${pid}/task/${id}/stat`);
    // "12 (a name) S ...": user and system time are the 12th and 13th field after the name.
    const [, name, rest] = /^\d+ \((.*)\) (.*)$/s.exec(stat ?? "") ?? [];
    if (rest === undefined) continue;
    const fields = rest.split(" ");
    const label = Number(id) === pid ? "main" : `${name} ${id}`;
    times.set(label, (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND);
  }
  return times;
}

/** Share of one processor that each thread has used between two looks, the busiest first; at least `least`. */
export function busiest(
  before: ThreadTimes,
  after: ThreadTimes,
  seconds: number,
  least = 0.02,
): { readonly name: string; readonly share: number }[] {
  return [...after]
    .map(([name, time]) => ({ name, share: (time - (before.get(name) ?? 0)) / seconds }))
    .filter(({ share }) => share >= least)
    .sort((a, b) => b.share - a.share);
}

function threadsOf(pid: number): string[] {
  try {
    return Array.from(Deno.readDirSync(`/proc/${pid}/task`), ({ name }) => name);
  } catch {
    return [];
  }
}

function readOrUndefined(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return undefined; // The thread has ended.
  }
}
