// Who of a class is read next: a chunk at a time to whoever was given least, admitted first where it waits. Pure. The
// rules: docs/scheduling.md, Shares and Overload.
import { FairShare, type Flow } from "./fair_share.ts";
import type { Places } from "./places.ts";
import { PRIORITIES } from "./priority.ts";
import { Progress } from "./progress.ts";
import type { Sequence } from "./sequence.ts";
import type { StepPlan } from "./step_plan.ts";

export class ClassShares {
  readonly #places: Places;
  /** By rank. */
  readonly #shares = PRIORITIES.map(() => new FairShare());

  constructor(places: Places) {
    this.#places = places;
  }

  /** Gives out at most `most` rows within a class, of which live decodes have theirs already. @returns how many */
  giveOut(rank: number, most: number, plan: StepPlan): number {
    const { budget, progress } = plan;
    const shares = this.#shares[rank];
    const candidates = this.#candidates(rank, plan);
    const elders = servedOutOfOrder(rank, plan);
    shares.contend([...elders, ...candidates.map(({ flow }) => flow)]);
    const inOrder = order(shares, candidates, progress);
    candidates.sort(inOrder);
    const blocked = new Set<string>(), wanting: Flow[] = [];
    let rows = 0;
    while (candidates.length > 0 && rows < most && budget.tokens > 0) {
      const next = candidates.shift()!;
      const mayRun = plan.admits && !blocked.has(next.flow.key); // No overtaking within a key.
      if (next.state === "waiting" && !(mayRun && this.#makePlace(next, plan))) {
        blocked.add(next.flow.key);
        wanting.push(next.flow);
        continue;
      }
      const count = plan.take(next, most - rows);
      shares.charge(next.flow, count);
      candidates.sort(inOrder);
      rows += count;
      if (rank > 0 || progress.numUncomputed(next) > count) wanting.push(next.flow);
    }
    // Who has all it wanted is as good as new when it comes again.
    shares.contend([...elders, ...wanting, ...candidates.map(({ flow }) => flow)]);
    // What a class waits for, the classes below it must not take.
    if (blocked.size > 0) plan.admits = false;
    return rows;
  }

  #candidates(rank: number, { step, elder, progress }: StepPlan): Sequence[] {
    const taken = new Set(step.map(({ sequence }) => sequence));
    return [...this.#places.running, ...this.#places.waiting].filter((one) =>
      one.rank === rank && (rank === 0 || one !== elder) && !taken.has(one) &&
      (one.state === "running" ? progress.reached(one) : isReady(one)) &&
      (rank > 0 || !progress.isDecode(one))
    );
  }

  /** Admits a sequence, if need be in the place of others, but not of those with rows under way. False: it has to wait. */
  #makePlace(sequence: Sequence, plan: StepPlan): boolean {
    if (this.#places.admit(sequence)) return true;
    if (plan.progress !== Progress.now) return false;
    const victims = this.#places.victimsFor(sequence, plan.elder);
    if (!victims) return false;
    for (const victim of victims) {
      this.#places.preempt(victim);
      plan.giveBack(victim);
    }
    return this.#places.admit(sequence);
  }
}

/** Who was served out of its order is still among those who want something: forgotten, it would start anew. */
function servedOutOfOrder(rank: number, { step, elder, progress }: StepPlan): Flow[] {
  if (elder?.rank !== rank || progress.isDecode(elder)) return [];
  return step.some(({ sequence }) => sequence === elder) ? [elder.flow] : [];
}

/**
 * Of keys that were given as much, whichever waits for longest. Within one, live work that needs least for its next
 * token: the mean wait is shortest so (Schrage, "A proof of the optimality of the SRPT discipline", 1968).
 */
function order(
  shares: FairShare,
  candidates: readonly Sequence[],
  progress: Progress,
): (a: Sequence, b: Sequence) => number {
  const since = new Map<string, number>();
  for (const { flow: { key }, arrival } of candidates) {
    since.set(key, Math.min(since.get(key) ?? Infinity, arrival));
  }
  const toGo = (one: Sequence) => one.state === "waiting" ? one.numExpected : progress.numUncomputed(one);
  return (a, b) =>
    shares.compare(a.flow, b.flow) || since.get(a.flow.key)! - since.get(b.flow.key)! ||
    (a.rank === 0 ? toGo(a) - toGo(b) : 0) || a.arrival - b.arrival;
}

/** Samples wait for the first of their request, to find its prompt in the cache. */
function isReady({ leader }: Sequence): boolean {
  return !leader || leader.promptDone || leader.state === "finished";
}
