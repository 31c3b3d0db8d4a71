// Who loses a place when others need it. Pure; of those who run it knows classes, keys and order of arrival, not what they
// hold.
import type { Sequence } from "./sequence.ts";

/**
 * Of the least urgent class that runs, the youngest.
 * @param running in order of arrival
 */
export function leastUrgent(
  running: readonly Sequence[],
  except: Sequence | undefined,
): Sequence | undefined {
  const others = running.filter((one) => one !== except);
  return others.reduce<Sequence | undefined>((a, b) => a && a.rank > b.rank ? a : b, undefined);
}

/**
 * Who makes place for a sequence: a less urgent one, or the youngest of a key with at least two more that run.
 * @param running in order of arrival
 * @param elder who does not
 */
export function victimOf(
  running: readonly Sequence[],
  sequence: Sequence,
  elder: Sequence | undefined,
): Sequence | undefined {
  const least = leastUrgent(running, elder);
  if (!least || least.rank > sequence.rank) return least;
  const peers = Map.groupBy(
    running.filter(({ rank }) => rank === sequence.rank),
    ({ flow }) => flow.key,
  );
  const own = peers.get(sequence.flow.key)?.length ?? 0;
  const richest = [...peers.values()].reduce<Sequence[]>((a, b) => b.length > a.length ? b : a, []);
  return richest.length >= own + 2 ? richest.findLast((one) => one !== elder) : undefined;
}
