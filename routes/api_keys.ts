// API keys as they are configured: one a person or program, with a name that logs may show and the limits it has.

export interface ApiKey {
  readonly key: string;
  /** Stands for the key wherever the key itself must not be seen. */
  readonly name: string;
}

/** Keys that have nothing but themselves, named by their place: "key-1", "key-2", ... */
export function bareKeys(keys: readonly string[]): ApiKey[] {
  return keys.map((key, index) => ({ key, name: `key-${index + 1}` }));
}
