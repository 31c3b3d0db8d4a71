// Builds safetensors files for tests, whole or broken in one chosen way.

export interface HeaderEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/** A file with this header and `dataBytes` bytes 0, 1, 2 .. after it. A string is taken as the header's text. */
export function safetensorsFile(
  header: Readonly<Record<string, unknown>> | string,
  dataBytes: number,
  data: ArrayLike<number> = Uint8Array.from({ length: dataBytes }, (_, i) => i),
): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const file = new Uint8Array(8 + text.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  file.set(data, 8 + text.length);
  return file;
}

export function entry(dtype: string, shape: readonly number[], start: number, end: number): HeaderEntry {
  return { dtype, shape, data_offsets: [start, end] };
}

/** Runs `body` with the path of a folder that holds these files, and removes it afterwards. */
export async function withFolder(
  files: Readonly<Record<string, Uint8Array | string>>,
  body: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for (const [name, content] of Object.entries(files)) {
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      await Deno.writeFile(`${folder}/${name}`, bytes);
    }
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
