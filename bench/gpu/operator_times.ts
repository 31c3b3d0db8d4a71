// Times one step of an operator's plan, whole or by kind of kernel. Knows no operator.
import type { GpuPlan } from "../../kernels/gpu_plan.ts";
import type { StepBatch } from "../../kernels/step.ts";
import type { DispatchTime, StepProfile } from "../../kernels/step_profile.ts";
import { median } from "../median.ts";

/** A GPU that idles, if only between two dispatches, lowers its clock: so several profiles are in flight at once. */
const IN_FLIGHT = 4;
const ROUNDS = 4;
/** Times over that a step's dispatches run between two timestamps. */
const REPEATS = 4;

/** Dispatches of one kind, slices and weights' names aside; the last of a table is "all". */
export interface KernelTimes {
  readonly kernel: string;
  readonly dispatches: number;
  readonly us: number;
  readonly bytes: number;
  readonly flop: number;
}

/** Medians of 16 profiles of the step, after `warmUpMs` of them. */
export async function profileStep(plan: GpuPlan, batch: StepBatch, warmUpMs: number): Promise<KernelTimes[]> {
  const round = () => Promise.all(Array.from({ length: IN_FLIGHT }, () => plan.profile(batch)));
  for (const end = performance.now() + warmUpMs; performance.now() < end;) await round();
  const profiles: StepProfile[] = [];
  for (let i = 0; i < ROUNDS; i++) profiles.push(...await round());
  return kernelTimes(profiles);
}

/**
 * The step as a whole, its dispatches one after the other as in an ordinary one: the median of several rounds, after
 * `warmUpMs` of them.
 */
export async function timeStep(plan: GpuPlan, batch: StepBatch, warmUpMs: number): Promise<KernelTimes> {
  const { dispatches } = await plan.profile(batch);
  const time = () => Promise.all(Array.from({ length: IN_FLIGHT }, () => plan.time(batch, REPEATS)));
  const end = performance.now() + warmUpMs;
  do await time(); while (performance.now() < end);
  const sumOf = (of: "bytes" | "flop") => sum(dispatches.map(({ work }) => work?.[of] ?? 0));
  return {
    kernel: "all",
    dispatches: dispatches.length,
    us: median(await time()) / 1000,
    bytes: sumOf("bytes"),
    flop: sumOf("flop"),
  };
}

/** The columns of a table after those that say what was measured. */
export function timeColumns({ kernel, dispatches, us, bytes, flop }: KernelTimes): string {
  const rates = `${(bytes / us / 1e3).toFixed(0)} | ${(flop / us / 1e6).toFixed(2)}`;
  return `${kernel} | ${dispatches} | ${us.toFixed(1)} | ${rates}`;
}

function kernelTimes(profiles: readonly StepProfile[]): KernelTimes[] {
  const kinds = new Map<string, DispatchTime[][]>();
  profiles[0].dispatches.forEach(({ label }, i) => {
    const kind = label.replace(/ \w+,/, "");
    kinds.set(kind, [...kinds.get(kind) ?? [], profiles.map(({ dispatches }) => dispatches[i])]);
  });
  const rows = [...kinds].map(([kernel, dispatches]) => ({
    kernel,
    dispatches: dispatches.length,
    us: sum(dispatches.map((times) => median(times.map(({ begin, end }) => (end - begin) / 1000)))),
    bytes: sum(dispatches.map(([{ work }]) => work?.bytes ?? 0)),
    flop: sum(dispatches.map(([{ work }]) => work?.flop ?? 0)),
  }));
  const total = (of: "dispatches" | "us" | "bytes" | "flop") => sum(rows.map((row) => row[of]));
  return [...rows, {
    kernel: "all",
    dispatches: total("dispatches"),
    us: total("us"),
    bytes: total("bytes"),
    flop: total("flop"),
  }];
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
