// Writes profiled steps for Chrome's tracing page and Perfetto: complete events in one lane, in microseconds, after
// https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
import type { StepProfile } from "../../kernels/step_profile.ts";
import { kindOf } from "./profile_table.ts";

export interface CompleteEvent {
  readonly ph: "X";
  readonly name: string;
  readonly cat: "step" | "dispatch";
  readonly pid: number;
  readonly tid: number;
  /** Since the earliest step began. */
  readonly ts: number;
  readonly dur: number;
  readonly args?: Readonly<Record<string, string | number>>;
}

/**
 * Steps by the GPU's clock, each an event around those of its dispatches.
 * @param name of the lane
 */
export function chromeTrace(steps: readonly StepProfile[], name: string): string {
  const ordered = steps.toSorted((a, b) => Number(a.start - b.start));
  const traceEvents = ordered.flatMap((step, i) => eventsOf(step, i, Number(step.start - ordered[0].start)));
  const process = { ph: "M", name: "process_name", pid: 0, args: { name } };
  return JSON.stringify({ displayTimeUnit: "ns", traceEvents: [process, ...traceEvents] });
}

/** @param start nanoseconds */
function eventsOf({ dispatches }: StepProfile, index: number, start: number): CompleteEvent[] {
  const event = (begin: number, end: number) =>
    ({ ph: "X", pid: 0, tid: 0, ts: (start + begin) / 1000, dur: (end - begin) / 1000 }) as const;
  const last = Math.max(...dispatches.map(({ end }) => end));
  return [
    { name: `step ${index}`, cat: "step", ...event(0, last) },
    ...dispatches.map(({ label, begin, end, work }): CompleteEvent => ({
      name: kindOf(label),
      cat: "dispatch",
      ...event(begin, end),
      args: { label, ...work },
    })),
  ];
}
