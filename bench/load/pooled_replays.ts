// Several replays of one server as one: requests together, counters added up, times counted from each replay's start.
import type { Replay } from "./keystrokes.ts";
import type { ServerCounters } from "./server_counters.ts";

/** One for each server, number of editors and flood (or none), in the order in which they first come. */
export function pooledReplays(replays: readonly Replay[]): Replay[] {
  const groups = Map.groupBy(replays, ({ label, editors, flood }) => JSON.stringify([label, editors, flood]));
  return [...groups.values()].map(pool);
}

function pool(rounds: readonly Replay[]): Replay {
  if (rounds.length === 1) return rounds[0];
  const sum = (value: (round: Replay) => number) => rounds.reduce((total, round) => total + value(round), 0);
  return {
    ...rounds[0],
    startedAt: 0,
    outcomes: rounds.flatMap(({ outcomes, startedAt }) =>
      outcomes.map((outcome) => ({ ...outcome, sentAt: outcome.sentAt - startedAt }))
    ),
    accepted: sum(({ accepted }) => accepted),
    floodCompleted: sum(({ floodCompleted }) => floodCompleted),
    before: addedUp(rounds.map(({ before }) => before)),
    after: addedUp(rounds.map(({ after }) => after)),
    // A line over time can be of one round only.
    samples: rounds[0].samples.map(({ at, counters }) => ({ at: at - rounds[0].startedAt, counters })),
  };
}

/** Each counter's sum; undefined where one of them is. */
function addedUp(all: readonly (ServerCounters | undefined)[]): ServerCounters | undefined {
  return all.reduce((total, one) => {
    if (total === undefined || one === undefined) return undefined;
    const names = Object.keys(total) as (keyof ServerCounters)[];
    const sums = names.map((name) => {
      const a = total[name], b = one[name];
      return [name, a === undefined || b === undefined ? undefined : a + b] as const;
    });
    return Object.fromEntries(sums) as unknown as ServerCounters;
  });
}
