// A reply with an error status, as the page tells it.

export class ServerError extends Error {
  override readonly name = "ServerError";
  readonly status: number;
  /** llama.cpp's `error.type`, or OpenAI's. */
  readonly type: string;

  constructor(status: number, message: string, type = "") {
    super(message);
    this.status = status;
    this.type = type;
  }
}

/** Of either dialect's shape; of a proxy's page only the status is told. */
export async function serverError(response: Response): Promise<ServerError> {
  const body = await response.json().catch(() => undefined) as
    | { error?: { message?: string; type?: string }; reason?: string }
    | undefined;
  const message = body?.error?.message ?? body?.reason ?? `The server answers with status ${response.status}`;
  return new ServerError(response.status, message, body?.error?.type);
}
