// How urgent a request is. Strictly ordered: whatever the scheduler gives out goes to the more urgent class first.

/**
 * live: somebody is looking at the cursor. speculative: what they may ask next. warm-up: only fills the cache. batch:
 * nobody waits for it.
 */
export type Priority = "live" | "speculative" | "warm-up" | "batch";

/** The most urgent first. */
export const PRIORITIES = ["live", "speculative", "warm-up", "batch"] as const satisfies readonly Priority[];

/** 0 for the most urgent class. */
export function rankOf(priority: Priority): number {
  return PRIORITIES.indexOf(priority);
}

/** Of one session, a newer request supersedes the older ones of its own class; what somebody types, speculation too. */
export function supersedes(newer: Priority, older: Priority): boolean {
  if (newer === "batch") return false;
  return newer === older || newer === "live" && older === "speculative";
}
