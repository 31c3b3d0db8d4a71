// Figures as JSON lines, each appended as soon as it is known, so that a run that is cut short leaves what it has.

export async function appendJson(path: string | undefined, line: Record<string, unknown>): Promise<void> {
  if (path) await Deno.writeTextFile(path, JSON.stringify(line) + "\n", { append: true });
}

/** The objects in a file's lines, in order, whatever else stands between them; none where there is no such file. */
export async function readJson(path: string): Promise<Record<string, unknown>[]> {
  const text = await Deno.readTextFile(path).catch(() => "");
  return text.split("\n").flatMap((line) => {
    try {
      return line.startsWith("{") ? [JSON.parse(line)] : [];
    } catch {
      return []; // Cut short.
    }
  });
}
