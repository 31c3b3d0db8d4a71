// Soak: many requests, some of which break off at any stage, are wrong, or too large. Every answer is compared with that
// of the same request alone; afterwards nothing may be left over.
import { complete, type Endpoint } from "./client.ts";
import type { SourceFile } from "./code_corpus.ts";
import { pause, readCounters } from "./counter_sampler.ts";
import type { Job } from "./dialect.ts";
import { type Fault, type FaultOutcome, makeFaults, sendFault } from "./faults.ts";
import type { LoadOptions } from "./options.ts";
import { randomJob } from "./random_job.ts";
import { SeededRandom } from "./seeded_random.ts";
import type { ServerCounters } from "./server_counters.ts";
import type { Target } from "./target.ts";

export interface SoakSample {
  /** Requests sent so far. */
  readonly requests: number;
  readonly counters: ServerCounters;
}

/** How many of each there were. */
export interface SoakCounts {
  right: number;
  wrong: number;
  /** Left by the client: while it sent the body, before the first text, within the text. */
  leftSending: number;
  leftWaiting: number;
  leftReading: number;
  /** Good requests that got no answer, and why the first of them did not. */
  unanswered: number;
  readonly examples: string[];
}

export interface SoakRun {
  readonly label: string;
  readonly counts: SoakCounts;
  readonly faults: readonly FaultOutcome[];
  readonly samples: readonly SoakSample[];
  /** When all was quiet again. */
  readonly after: ServerCounters | undefined;
  readonly errors: readonly string[];
}

interface Question {
  readonly job: Job;
  readonly answer: string;
}

const NUM_SAMPLES = 50;
const QUIET_MS = 10_000;
const REQUEST_MS = 120_000;

/** @param onProgress told the share of the requests that have been made */
export async function runSoak(
  target: Target,
  corpus: readonly SourceFile[],
  options: LoadOptions,
  onProgress: (share: number) => void,
): Promise<SoakRun> {
  const { requests, concurrency, seed } = options;
  const { endpoint } = target;
  const questions = await askAlone(endpoint, corpus, options);
  const soak: Soak = {
    endpoint,
    questions,
    faults: makeFaults(endpoint, questions[0].job),
    outcomes: [],
    counts: {
      ...{ right: 0, wrong: 0, leftSending: 0, leftWaiting: 0, leftReading: 0, unanswered: 0 },
      examples: [],
    },
  };
  const samples: SoakSample[] = [];
  const every = Math.max(1, Math.floor(requests / NUM_SAMPLES));
  let sent = 0;
  async function work(worker: number): Promise<void> {
    const random = new SeededRandom(seed, worker);
    while (sent < requests) {
      const number = ++sent;
      await oneRequest(soak, random);
      onProgress(number / requests);
      if (number % every > 0) continue;
      const counters = await readCounters(endpoint);
      if (counters) samples.push({ requests: number, counters });
    }
  }
  await Promise.all(Array.from({ length: concurrency }, (_, worker) => work(worker)));
  const after = await whenQuiet(endpoint);
  return {
    label: target.label,
    counts: soak.counts,
    faults: soak.outcomes,
    samples,
    after,
    errors: target.errors(),
  };
}

/** The answers to compare with: one request after the other, with nothing beside it. */
async function askAlone(
  endpoint: Endpoint,
  corpus: readonly SourceFile[],
  options: LoadOptions,
): Promise<Question[]> {
  const random = new SeededRandom(options.seed);
  const questions: Question[] = [];
  for (let i = 0; i < options.prompts; i++) {
    const job = randomJob(corpus, random, options, 1 + random.below(options.maxTokens));
    const outcome = await complete(endpoint, job, { signal: AbortSignal.timeout(REQUEST_MS) });
    if (outcome.kind !== "complete") {
      throw new Error(`Cannot soak: a prompt alone got no answer (${outcome.kind}: ${outcome.reason})`);
    }
    questions.push({ job, answer: outcome.text });
  }
  return questions;
}

interface Soak {
  readonly endpoint: Endpoint;
  readonly questions: readonly Question[];
  readonly faults: readonly Fault[];
  readonly outcomes: FaultOutcome[];
  readonly counts: SoakCounts;
}

async function oneRequest(soak: Soak, random: SeededRandom): Promise<void> {
  const kind = random.uniform(), question = random.pick(soak.questions);
  if (kind < 0.55) return await askAndCompare(soak, question);
  if (kind < 0.65) return await askPlain(soak, question);
  if (kind < 0.72) return await leaveSending(soak, question, random);
  if (kind < 0.88) return await leaveLater(soak, question, random);
  const oversized = kind > 0.98;
  const fault = random.pick(soak.faults.filter((fault) => fault.oversized === oversized));
  soak.outcomes.push(await sendFault(soak.endpoint, fault));
}

async function askAndCompare({ endpoint, counts }: Soak, { job, answer }: Question): Promise<void> {
  const outcome = await complete(endpoint, job, { signal: AbortSignal.timeout(REQUEST_MS) });
  if (outcome.kind === "complete") compare(counts, outcome.text, answer);
  else noAnswer(counts, `${outcome.kind}: ${outcome.reason}`);
}

/** Without a stream. */
async function askPlain({ endpoint, counts }: Soak, { job, answer }: Question): Promise<void> {
  const { url, dialect, headers } = endpoint;
  try {
    const response = await fetch(url + dialect.path, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body: JSON.stringify(dialect.body(job, false)),
      signal: AbortSignal.timeout(REQUEST_MS),
    });
    if (response.ok) compare(counts, dialect.piece(await response.json()).text, answer);
    else noAnswer(counts, `${response.status}: ${(await response.text()).slice(0, 200)}`);
  } catch (error) {
    noAnswer(counts, String(error));
  }
}

/** Half a request, and the connection is closed. */
async function leaveSending(
  { endpoint, counts }: Soak,
  { job }: Question,
  random: SeededRandom,
): Promise<void> {
  const { hostname, port, protocol } = new URL(endpoint.url);
  const body = JSON.stringify(endpoint.dialect.body(job, true));
  const head = [
    ...[`POST ${endpoint.dialect.path} HTTP/1.1`, `Host: ${hostname}`, "Content-Type: application/json"],
    ...Object.entries(endpoint.headers).map(([name, value]) => `${name}: ${value}`),
    `Content-Length: ${new TextEncoder().encode(body).length}`,
  ];
  if (protocol !== "http:") return;
  const text = `${head.join("\r\n")}\r\n\r\n${body}`;
  const plainHost = hostname.replace(/^\[|\]$/g, "");
  try {
    const connection = await Deno.connect({ hostname: plainHost, port: Number(port || 80) });
    await connection.write(new TextEncoder().encode(text.slice(0, 1 + random.below(text.length - 1))));
    await pause(random.below(10));
    connection.close();
  } catch {
    // The server was quicker to close it.
  }
  counts.leftSending++;
}

/** Leaves after a random time, or with some text of the answer read; that much of it has to be right. */
async function leaveLater({ endpoint, counts }: Soak, { job, answer }: Question, random: SeededRandom) {
  const controller = new AbortController();
  const length = 1 + random.below(Math.max(1, answer.length));
  const timer = random.chance(0.6) ? setTimeout(() => controller.abort(), random.exponential(60)) : undefined;
  const outcome = await complete(endpoint, job, {
    signal: controller.signal,
    onText: (text) => timer === undefined && text.length >= length && controller.abort(),
  });
  clearTimeout(timer);
  if (outcome.kind === "complete") return compare(counts, outcome.text, answer);
  if (outcome.kind !== "aborted") return noAnswer(counts, `${outcome.kind}: ${outcome.reason}`);
  if (outcome.text === "") counts.leftWaiting++;
  else counts.leftReading++;
  if (!answer.startsWith(outcome.text)) compare(counts, outcome.text, answer);
}

function compare(counts: SoakCounts, text: string, answer: string): void {
  if (text === answer) {
    counts.right++;
    return;
  }
  counts.wrong++;
  addExample(counts, `expected ${JSON.stringify(answer)}, received ${JSON.stringify(text)}`);
}

function noAnswer(counts: SoakCounts, reason: string): void {
  counts.unanswered++;
  addExample(counts, reason);
}

function addExample({ examples }: SoakCounts, example: string): void {
  if (examples.length < 3) examples.push(example.slice(0, 500));
}

/** What left its request is given a moment to be cleared away. */
async function whenQuiet(endpoint: Endpoint): Promise<ServerCounters | undefined> {
  const deadline = performance.now() + QUIET_MS;
  for (;;) {
    const counters = await readCounters(endpoint);
    if (!counters || (!counters.running && !counters.waiting) || performance.now() > deadline) {
      return counters;
    }
    await pause(100);
  }
}
