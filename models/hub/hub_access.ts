// Where the hub is and who asks, as the environment of Hugging Face's programs says it.
import { homedir } from "node:os";
import { join } from "std/path/mod.js";

export interface HubAccess {
  /** Without a slash at its end. */
  readonly endpoint: string;
  readonly token?: string;
}

const DEFAULT_ENDPOINT = "https://huggingface.co";

/**
 * HF_ENDPOINT names a mirror; HF_TOKEN, else the file that `huggingface-cli login` leaves, the token.
 * @throws {TypeError} when HF_ENDPOINT is no address
 */
export function hubAccess(env: Pick<typeof Deno.env, "get"> = Deno.env): HubAccess {
  const endpoint = (env.get("HF_ENDPOINT") || DEFAULT_ENDPOINT).replace(/\/+$/, "");
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol)) {
    throw new TypeError(
      `Cannot reach the hub: HF_ENDPOINT must be an http(s) address, received "${endpoint}"`,
    );
  }
  const token = env.get("HF_TOKEN") || env.get("HUGGING_FACE_HUB_TOKEN") || savedToken(env);
  return { endpoint, ...(token && { token: token.trim() }) };
}

function savedToken(env: Pick<typeof Deno.env, "get">): string | undefined {
  const home = env.get("HF_HOME") ||
    join(env.get("XDG_CACHE_HOME") || join(homedir(), ".cache"), "huggingface");
  try {
    return Deno.readTextFileSync(env.get("HF_TOKEN_PATH") || join(home, "token"));
  } catch {
    return undefined;
  }
}
