// Why there is no answer, in words for the person at the editor.

/** What can be done about it, as far as the editor is concerned. */
export type ProblemKind = "loading" | "unreachable" | "refused";

export class ServerProblem extends Error {
  override readonly name = "ServerProblem";
  readonly kind: ProblemKind;

  constructor(kind: ProblemKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

/** Whether it passes by itself. */
export function isLoading(error: unknown): boolean {
  return error instanceof ServerProblem && error.kind === "loading";
}
