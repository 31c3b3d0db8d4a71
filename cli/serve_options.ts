// The flags of `serve` beside those of the model, and what is read from them: keys and limits.
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Deadlines } from "../engine/deadlines.ts";
import { type ApiKey, bareKeys, parseApiKeys } from "../routes/api_keys.ts";
import { LOG_LEVELS, type LogLevel } from "../routes/log.ts";
import { callersPath } from "./callers_path.ts";
import { parseBytes, parsePositive, parseWhole } from "./model_options.ts";

export interface ServeFlags {
  /** Models beside that of --model. */
  readonly also?: string[];
  /** Bytes. */
  readonly modelsMemory?: number;
  readonly host: string;
  readonly port: number;
  readonly apiKey?: string[];
  readonly apiKeys?: string;
  readonly keyConcurrency?: number;
  readonly keyTokensPerMinute?: number;
  readonly publicWithoutKey?: boolean;
  readonly corsOrigin?: string[];
  readonly maxBody: number;
  /** Seconds, all three. */
  readonly queueTimeout: number;
  readonly requestTimeout: number;
  readonly shutdownTimeout: number;
  readonly logLevel: LogLevel;
  readonly showPrompts?: boolean;
}

export function addServeOptions(command: Command): Command {
  return command
    .option(
      "--also <model>",
      "serve this model, too, loaded when a request names it (may be repeated)",
      collect,
    )
    .option(
      "--models-memory <size>",
      "memory for all models that are loaded, weights and KV caches; idle ones give way " +
        "(default: half of this machine's; of a GPU's say how much)",
      parseBytes,
    )
    .option("--host <address>", "address to listen on", "127.0.0.1")
    .option("--port <n>", "port to listen on; 0 takes a free one", parsePort, 8012)
    .option(
      "--api-key <key>",
      "accept only requests with this key (may be repeated; or HYADES_API_KEY)",
      collect,
    )
    .addOption(
      new Option("--api-keys <file>", "more keys, one a line: KEY name=… concurrency=… tokens_per_minute=…")
        .argParser(callersPath),
    )
    .option("--key-concurrency <n>", "requests at once of a key that has no limit of its own", parsePositive)
    .option("--key-tokens-per-minute <n>", "tokens a minute of such a key", parsePositive)
    .option("--public-without-key", "listen on a public address although no API key is set")
    .option(
      "--cors-origin <origin>",
      "let pages of this origin call from a browser (may be repeated; * for all)",
      collectOrigin,
    )
    .addOption(
      new Option("--max-body <size>", "largest request body").argParser(parseBytes).default(2 ** 23, "8MB"),
    )
    .option("--queue-timeout <seconds>", "refuse what has waited this long", parseSeconds, 30)
    .option("--request-timeout <seconds>", "end what has run this long, with what it has", parseSeconds, 600)
    .option(
      "--shutdown-timeout <seconds>",
      "let running work go on this long when told to stop",
      parseWhole,
      30,
    )
    .addOption(
      new Option("--log-level <level>", "JSON lines on stderr; info: one for every request")
        .choices(LOG_LEVELS).default("warn"),
    )
    .option("--show-prompts", "let GET /slots?prompt=1 show prompts: everybody's, to whoever may ask");
}

/**
 * All keys, of the flags, the environment and the file, with the limits that hold for each.
 * @throws {Error} the file cannot be read, or a line of it is wrong
 */
export function readApiKeys(flags: ServeFlags): ApiKey[] {
  const given = flags.apiKey ?? envKeys();
  const limits = {
    ...(flags.keyConcurrency !== undefined && { concurrency: flags.keyConcurrency }),
    ...(flags.keyTokensPerMinute !== undefined && { tokensPerMinute: flags.keyTokensPerMinute }),
  };
  const inFile = flags.apiKeys === undefined ? [] : parseApiKeys(readKeyFile(flags.apiKeys));
  const keys = [...bareKeys(given), ...inFile].map((key) => ({ ...limits, ...key }));
  if (flags.apiKeys !== undefined && inFile.length === 0) {
    throw new Error(`Cannot use "${flags.apiKeys}": it has no key; write one a line`);
  }
  return keys;
}

export function deadlinesOf({ queueTimeout, requestTimeout }: ServeFlags): Deadlines {
  return { queueMs: queueTimeout * 1000, totalMs: requestTimeout * 1000 };
}

function readKeyFile(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw new Error(`Cannot read the file of --api-keys: ${error instanceof Error ? error.message : error}`);
  }
}

function envKeys(): string[] {
  const key = Deno.env.get("HYADES_API_KEY");
  return key ? [key] : [];
}

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

/** A browser sends scheme, host and port, and compares letter by letter. */
function collectOrigin(value: string, previous: string[] = []): string[] {
  if (value !== "*" && URL.parse(value)?.origin !== value) {
    throw new InvalidArgumentError("must be an origin such as https://vscode.dev, or *");
  }
  return [...previous, value];
}

function parsePort(text: string): number {
  const port = parseWhole(text);
  if (port > 65535) throw new InvalidArgumentError("must be a port, 0 to 65535");
  return port;
}

function parseSeconds(text: string): number {
  const value = Number(text);
  if (!(value > 0) || value === Infinity) {
    throw new InvalidArgumentError("must be a number of seconds above 0");
  }
  return value;
}
