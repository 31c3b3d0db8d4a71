// Sums profiles of one step up by kind of dispatch, and sets each kind beside the roofline. Knows no GPU.
import type { DispatchTime, StepProfile } from "../../kernels/step_profile.ts";
import { median } from "../median.ts";
import { type Bound, leastTime, type Roofline } from "./roofline.ts";

/** The dispatches of one kind in a step. Times are microseconds, of all of them together. */
export interface Kind {
  readonly kind: string;
  readonly count: number;
  /** Of each dispatch the median over the profiles, its pass included. */
  readonly us: number;
  /** Without what passes of their own take. */
  readonly workUs: number;
  /** Undefined where an op does not say what it has to do. */
  readonly need: Need | undefined;
}

/** What the dispatches of a kind have to do. */
export interface Need {
  readonly bytes: number;
  readonly flop: number;
  /** The least time that the roofline allows for it, microseconds. */
  readonly us: number;
  /** What bounds the most of that time. */
  readonly bound: Bound;
}

/** A label without the layer: the first number in the name of a tensor, and that of an attention. */
export function kindOf(label: string): string {
  return label.split(" ").map((word) => word.replace(/\.\d+\./, ".")).join(" ")
    .replace(/^attention \d+ /, "attention ");
}

/** What a dispatch takes that does nothing, microseconds. */
export function passUs(profiles: readonly StepProfile[]): number {
  return median(profiles.flatMap(({ empty }) => empty.map(durationUs)));
}

/** Kinds in the order in which they first run. @param profiles of one and the same step */
export function kindsOf(profiles: readonly StepProfile[], roofline: Roofline): Kind[] {
  const pass = passUs(profiles);
  const calls = profiles[0].dispatches.map((dispatch, i) => ({
    ...dispatch,
    us: median(profiles.map(({ dispatches }) => durationUs(dispatches[i]))),
  }));
  return [...Map.groupBy(calls, ({ label }) => kindOf(label))].map(([kind, group]) => {
    const us = total(group.map((call) => call.us));
    return {
      kind,
      count: group.length,
      us,
      workUs: us - pass * group.length,
      need: needOf(group, roofline),
    };
  });
}

/** A markdown table, the sum of all kinds last. */
export function formatKinds(kinds: readonly Kind[], passUs: number): string {
  return [
    "| kind | dispatches | us each | us in all | less passes | TB/s | TFLOP/s | of attainable | bound |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ...[...kinds, allOf(kinds)].map((kind) => formatKind(kind, passUs)),
  ].join("\n");
}

/** Less than this share of a pass cannot be told from the noise of the passes. */
const LEAST_OF_A_PASS = 0.1;

function formatKind({ kind, count, us, workUs, need }: Kind, passUs: number): string {
  const measurable = workUs > LEAST_OF_A_PASS * passUs * count;
  const rate = (amount: number | undefined) =>
    amount && measurable ? (amount / workUs / 1e6).toPrecision(3) : "";
  const share = need && measurable ? `${(100 * need.us / workUs).toFixed(1)} %` : "";
  const times = [count, (us / count).toFixed(2), us.toFixed(0), workUs.toFixed(0)];
  const cells = [kind, ...times, rate(need?.bytes), rate(need?.flop), share, need?.bound ?? ""];
  return `| ${cells.join(" | ")} |`;
}

/** The whole step; of what ops do not say, nothing counts. */
function allOf(kinds: readonly Kind[]): Kind {
  const needs = kinds.flatMap(({ need }) => need ?? []);
  return {
    kind: "all",
    count: total(kinds.map(({ count }) => count)),
    us: total(kinds.map(({ us }) => us)),
    workUs: total(kinds.map(({ workUs }) => workUs)),
    need: needs.length > 0 ? sumOf(needs) : undefined,
  };
}

function needOf(dispatches: readonly DispatchTime[], roofline: Roofline): Need | undefined {
  const works = dispatches.flatMap(({ work }) => work ?? []);
  if (works.length < dispatches.length) return undefined;
  return sumOf(works.map((work) => ({ ...work, ...leastTime(work, roofline) })));
}

function sumOf(needs: readonly Need[]): Need {
  const byBound = Map.groupBy(needs, ({ bound }) => bound);
  const times = [...byBound].map(([bound, group]) => ({ bound, us: total(group.map(({ us }) => us)) }));
  return {
    bytes: total(needs.map(({ bytes }) => bytes)),
    flop: total(needs.map(({ flop }) => flop)),
    us: total(times.map(({ us }) => us)),
    bound: times.reduce((most, time) => time.us > most.us ? time : most).bound,
  };
}

function durationUs({ begin, end }: DispatchTime): number {
  return (end - begin) / 1000;
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
