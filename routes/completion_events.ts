// What may become of a completion, as clients tell it (Tabby's words).

/** view: shown. select: accepted. dismiss: refused, or typed over. */
export const COMPLETION_EVENTS = ["view", "select", "dismiss"] as const;
export type CompletionEvent = typeof COMPLETION_EVENTS[number];
