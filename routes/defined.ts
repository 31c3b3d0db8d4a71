// Building objects whose optional fields are absent, rather than present and undefined.

type WithUndefined<T> = { [K in keyof T]: T[K] | undefined };

/** A copy without the fields that are undefined. Only fields that `T` calls optional may be. */
export function defined<T extends object>(fields: WithUndefined<T>): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}
