// What a suggestion depends on.

/** The document around the cursor. */
export interface CursorContext {
  readonly prefix: string;
  readonly suffix: string;
}
