// Downloads one file of a repository, whatever the network does: goes on where an earlier attempt stopped, by ranges;
// tries again after cut, stalled and refused connections; checks size and content before the file counts as there. The
// part that is there lies beside the target as NAME.incomplete, as Hugging Face's programs have it.
import { Checksum, contentId } from "./checksum.ts";
import type { HubAccess } from "./hub_access.ts";
import { HubError, refusal } from "./hub_errors.ts";
import type { HubFile } from "./hub_library.ts";

export interface DownloadOptions {
  readonly access: HubAccess;
  readonly repo: string;
  readonly commit: string;
  /** Called with the bytes of this file that are there, also when they become fewer. */
  readonly onBytes?: (bytes: number) => void;
  /** Called before a wait, with a line for the user. */
  readonly onWait?: (reason: string) => void;
  /** Attempts in a row that bring nothing; default 6. */
  readonly maxAttempts?: number;
  /** First pause after a failure, doubled with each in a row; default 1000. */
  readonly pauseMs?: number;
  /** A connection that brings nothing for so long is given up; default 30,000. */
  readonly stallMs?: number;
}

const MAX_REDIRECTS = 10;
/** Longer than the hub was seen to ask for. */
const LONGEST_PAUSE_MS = 300_000;

/**
 * @param target path of the finished file; its folder exists
 * @throws {HubError} when the hub refuses, the content is wrong twice, or too many attempts bring nothing
 */
export async function downloadFile(file: HubFile, target: string, options: DownloadOptions): Promise<void> {
  const partial = `${target}.incomplete`;
  using part = await Deno.open(partial, { read: true, write: true, create: true });
  if (!await part.tryLock(true)) {
    throw new HubError(`Cannot pull ${file.path}: another pull is at it; wait for that one to end`);
  }
  // Another pull may have finished it while this one was opening it.
  if ((await Deno.stat(partial).catch(() => undefined))?.ino !== (await part.stat()).ino) return;
  for (let isLast = false;; isLast = true) {
    await fill(part, file, options);
    const wrong = await wrongContent(part, file);
    if (!wrong) break;
    // It may be the part from another day that is wrong; all of it anew, once.
    await part.truncate(0);
    options.onBytes?.(0);
    if (isLast) {
      throw new HubError(`Cannot pull ${file.path}: ${wrong}; what was downloaded is discarded, pull again`);
    }
    options.onWait?.(`${file.path}: ${wrong}; downloading it anew`);
  }
  await part.syncData();
  await Deno.rename(partial, target);
}

/** Brings the part up to the file's size. */
async function fill(part: Deno.FsFile, file: HubFile, options: DownloadOptions): Promise<void> {
  const { maxAttempts = 6, pauseMs = 1000, onWait } = options;
  let have = (await part.stat()).size, failures = 0;
  if (have > file.size) await part.truncate(have = 0);
  options.onBytes?.(have);
  while (have < file.size) {
    const before = have;
    const failure = await attempt(part, have, file, options);
    have = (await part.stat()).size;
    if (!failure) continue;
    failures = have > before ? 1 : failures + 1;
    if (failures >= maxAttempts) throw failure.final;
    const pause = Math.min(LONGEST_PAUSE_MS, failure.waitMs ?? pauseMs * 2 ** (failures - 1));
    onWait?.(`${file.path}: ${failure.reason}; trying again in ${Math.ceil(pause / 1000)} s`);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** Why an attempt ended early, when the hub wants to be asked again, and what to throw if it was the last. */
interface Failure {
  readonly reason: string;
  readonly waitMs?: number;
  readonly final: HubError;
}

/**
 * One connection: appends what it brings.
 * @throws {HubError} for an answer that asking again will not change
 */
async function attempt(
  part: Deno.FsFile,
  have: number,
  file: HubFile,
  options: DownloadOptions,
): Promise<Failure | undefined> {
  const stall = new Stall(options.stallMs ?? 30_000);
  try {
    const response = await request(file, have, options, stall.signal);
    if (response.status === 416 && have > 0) {
      await response.body?.cancel();
      await part.truncate(0);
      return undefined;
    }
    if (!response.ok) return await refused(response, file, options);
    // Without ranges it comes from the start.
    let at = response.status === 206 ? rangeStart(response, have) : 0;
    await part.truncate(at);
    await part.seek(at, Deno.SeekMode.Start);
    for await (const bytes of response.body ?? []) {
      stall.restart();
      if (at + bytes.length > file.size) {
        throw new HubError(
          `Cannot pull ${file.path}: the hub sends more than the ${file.size} bytes that it listed`,
        );
      }
      await writeAll(part, bytes);
      options.onBytes?.(at += bytes.length);
    }
    return at < file.size ? cut(file, "the connection was cut") : undefined;
  } catch (error) {
    if (error instanceof HubError || error instanceof Deno.errors.NotCapable || isOfDisk(error)) throw error;
    return cut(
      file,
      stall.hasPassed ? "the connection stalled" : `the connection failed (${messageOf(error)})`,
    );
  } finally {
    stall[Symbol.dispose]();
  }
}

function cut(file: HubFile, reason: string): Failure {
  const mend = "pull again, it goes on where it stopped";
  return { reason, final: new HubError(`Cannot pull ${file.path}: ${reason}, again and again; ${mend}`) };
}

/** Too many requests and failures of the hub's own pass; all else does not. */
async function refused(
  response: Response,
  file: HubFile,
  { repo, access }: DownloadOptions,
): Promise<Failure> {
  await response.body?.cancel();
  const { status, headers } = response;
  const final = refusal(`${file.path} of ${repo}`, repo, status, headers.get("x-error-code"), access);
  if (status !== 429 && status !== 408 && status < 500) throw final;
  const waitMs = retryAfterMs(headers.get("retry-after"));
  return { reason: `the hub answers ${status}`, final, ...(waitMs !== undefined && { waitMs }) };
}

/** Seconds or a date, as RFC 9110, section 10.2.3, has it. */
export function retryAfterMs(value: string | null, now = Date.now()): number | undefined {
  if (value === null) return undefined;
  const seconds = Number(value), date = Date.parse(value);
  if (value.trim() !== "" && seconds >= 0) return seconds * 1000;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** Follows redirects by hand: the token is for the hub alone, and what it redirects to must not see it. */
async function request(
  file: HubFile,
  have: number,
  { access, repo, commit }: DownloadOptions,
  signal: AbortSignal,
): Promise<Response> {
  const path = file.path.split("/").map(encodeURIComponent).join("/");
  let url = new URL(`${access.endpoint}/${repo}/resolve/${commit}/${path}`);
  const { origin } = url;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const headers = new Headers({ "accept-encoding": "identity" });
    if (have > 0) headers.set("range", `bytes=${have}-`);
    if (access.token && url.origin === origin) headers.set("authorization", `Bearer ${access.token}`);
    const response = await fetch(url, { headers, redirect: "manual", signal });
    requireSameContent(response, file, url.origin === origin);
    const location = response.headers.get("location");
    if (response.status < 300 || response.status >= 400 || location === null) return response;
    await response.body?.cancel();
    url = new URL(location, url);
  }
  throw new HubError(`Cannot pull ${file.path}: the hub redirects more than ${MAX_REDIRECTS} times`);
}

/** The hub's etag is the content's id; another one means that the file is not the one that was listed. */
function requireSameContent({ headers, status }: Response, file: HubFile, isHub: boolean): void {
  const etag = headers.get("x-linked-etag") ?? headers.get("etag"), id = contentId(file);
  if (!isHub || status >= 400 || etag === null || id === undefined) return;
  const given = etag.replace(/^W\//, "").replaceAll('"', "");
  if (/^[0-9a-f]{40}$|^[0-9a-f]{64}$/.test(given) && given !== id) {
    throw new HubError(`Cannot pull ${file.path}: the hub listed ${id} and has ${given} now; pull again`);
  }
}

function rangeStart(response: Response, have: number): number {
  const start = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
  if (start === undefined || Number(start) > have) throw new Error("the range is not the one asked for");
  return Number(start);
}

/** What is wrong with a part of the file's size; undefined = nothing. */
async function wrongContent(part: Deno.FsFile, file: HubFile): Promise<string | undefined> {
  const id = contentId(file);
  if (id === undefined) return undefined;
  const checksum = new Checksum(file), buffer = new Uint8Array(2 ** 20);
  await part.seek(0, Deno.SeekMode.Start);
  for (let read = await part.read(buffer); read !== null; read = await part.read(buffer)) {
    checksum.add(buffer.subarray(0, read));
  }
  const digest = checksum.digest();
  return digest === id
    ? undefined
    : `its ${file.lfs ? "SHA-256" : "git SHA-1"} must be ${id}, received ${digest}`;
}

async function writeAll(part: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;) written += await part.write(bytes.subarray(written));
}

/** A full disk, and the like. */
function isOfDisk(error: unknown): boolean {
  return error instanceof Error && /os error (28|122|30|27)\b/.test(error.message);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Aborts what has brought nothing for a while. */
class Stall implements Disposable {
  readonly #controller = new AbortController();
  readonly #limitMs: number;
  #timer: ReturnType<typeof setTimeout>;
  hasPassed = false;

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
    this.#timer = this.#start();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  restart(): void {
    clearTimeout(this.#timer);
    this.#timer = this.#start();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#controller.abort();
  }

  #start() {
    return setTimeout(() => {
      this.hasPassed = true;
      this.#controller.abort();
    }, this.#limitMs);
  }
}
