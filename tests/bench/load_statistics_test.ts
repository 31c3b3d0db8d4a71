// The arithmetic of the load test: arrivals, percentiles, goodput, the search for saturation.
import assert from "node:assert/strict";
import { ARRIVAL_PROCESSES, arrivalTimes } from "../../bench/load/arrivals.ts";
import { keystrokeFindings } from "../../bench/load/keystrokes_report.ts";
import { isGood } from "../../bench/load/open_loop.ts";
import { isSustained, nextRate, type RateResult, saturationRate } from "../../bench/load/saturation.ts";
import { SeededRandom } from "../../bench/load/seeded_random.ts";
import { distributionOf, quantile, quantileOf, slopeOf, spreadOf } from "../../bench/load/statistics.ts";
import fc from "../fast_check.ts";

Deno.test("arrivalTimes() ascends within its time, is the same for a seed, and has the rate asked for", () => {
  fc.assert(fc.property(fc.nat(), fc.constantFrom(...ARRIVAL_PROCESSES), (seed, process) => {
    const times = arrivalTimes(process, 20, 10, new SeededRandom(seed));
    assert.deepEqual(times, arrivalTimes(process, 20, 10, new SeededRandom(seed)));
    assert.ok(times.every((time, i) => time >= 0 && time < 10_000 && (i === 0 || time >= times[i - 1])));
  }));
  for (const process of ARRIVAL_PROCESSES) {
    const { length } = arrivalTimes(process, 50, 1000, new SeededRandom(7));
    assert.ok(Math.abs(length / 50_000 - 1) < 0.1, `${process}: ${length} of 50000`);
  }
});

Deno.test("arrivalTimes() in bursts has most of its gaps far below the mean", () => {
  const shortGaps = (process: "poisson" | "bursty") => {
    const times = arrivalTimes(process, 5, 1000, new SeededRandom(3));
    return times.slice(1).filter((time, i) => time - times[i] < 50).length / times.length;
  };
  assert.ok(shortGaps("bursty") > 0.7 && shortGaps("poisson") < 0.4);
});

Deno.test("quantile() lies within the values, grows with the share, and meets the ends", () => {
  const values = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1 });
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  fc.assert(fc.property(values, share, share, (values, a, b) => {
    const sorted = values.toSorted((x, y) => x - y);
    assert.deepEqual([quantile(sorted, 0), quantile(sorted, 1)], [sorted[0], sorted.at(-1)]);
    assert.ok(quantile(sorted, Math.min(a, b))! <= quantile(sorted, Math.max(a, b))! + 1e-6);
  }));
  assert.deepEqual(spreadOf([4, 1, 3, 2, 5]), { p50: 3, p95: 4.8, p99: 4.96 });
  assert.equal(spreadOf([]).p50, undefined);
});

Deno.test("distributionOf() without cut-offs is the plain share, and with them never below it", () => {
  const observation = fc.record({ ms: fc.integer({ min: 1, max: 50 }), cutOff: fc.boolean() });
  fc.assert(fc.property(fc.array(observation, { minLength: 1 }), (observations) => {
    const plain = distributionOf(observations.map(({ ms }) => ({ ms, cutOff: false })));
    const sorted = observations.map(({ ms }) => ms).toSorted((a, b) => a - b);
    plain.forEach(({ ms, share }, i) => {
      assert.equal(ms, sorted[i]);
      assert.ok(Math.abs(share - (i + 1) / sorted.length) < 1e-9);
    });
    const points = distributionOf(observations);
    points.forEach(({ share }, i) => assert.ok(share >= (i + 1) / observations.length - 1e-9));
  }));
});

Deno.test("quantileOf() tells nothing where too many were cut off", () => {
  const points = distributionOf([{ ms: 5, cutOff: false }, { ms: 9, cutOff: true }]);
  assert.deepEqual([quantileOf(points, 0.5), quantileOf(points, 0.95)], [5, undefined]);
});

Deno.test("slopeOf() finds a line's slope", () => {
  fc.assert(
    fc.property(fc.integer({ min: -99, max: 99 }), fc.integer({ min: -99, max: 99 }), (slope, start) => {
      const points = [0, 1, 2, 5].map((x) => [x, start + slope * x] as const);
      assert.ok(Math.abs(slopeOf(points) - slope) < 1e-9);
    }),
  );
  assert.equal(slopeOf([[1, 2]]), 0);
});

Deno.test("isGood() asks for the whole answer within both bounds", () => {
  const bounds = { ttftBound: 100, totalBound: 1000 };
  assert.ok(isGood({ kind: "complete", firstMs: 100, totalMs: 1000 }, bounds));
  assert.ok(!isGood({ kind: "complete", firstMs: 101, totalMs: 1000 }, bounds));
  assert.ok(!isGood({ kind: "complete", firstMs: 9, totalMs: 1001 }, bounds));
  assert.ok(!isGood({ kind: "aborted", firstMs: 9, totalMs: 10 }, bounds));
  assert.ok(!isGood({ kind: "refused", firstMs: undefined, totalMs: 10 }, bounds));
});

Deno.test("nextRate() closes in on the capacity of any server, from above and from below", () => {
  const capacities = fc.double({ min: 0.2, max: 400, noNaN: true });
  fc.assert(fc.property(capacities, fc.integer({ min: 0, max: 4 }), (capacity, refinements) => {
    const search = { firstRate: 2, refinements, maxRate: 512 };
    const results: RateResult[] = [];
    for (let rate = nextRate(results, search); rate !== undefined; rate = nextRate(results, search)) {
      results.push({ rate, goodput: Math.min(rate, capacity) });
      assert.ok(results.length < 20, "the search ends");
    }
    const found = saturationRate(results)!;
    // A rate is sustained up to capacity / 0.9; the search ends within a step of it.
    const step = 2 ** (2 ** -refinements);
    assert.ok(found <= capacity / 0.9 * 1.0001 && found * step * 1.002 >= capacity / 0.9, `${found}`);
  }));
});

Deno.test("nextRate() ends where nothing is sustained, and at the highest rate", () => {
  const search = { firstRate: 1, refinements: 2, maxRate: 8 };
  const all = (goodput: (rate: number) => number) => {
    const results: RateResult[] = [];
    for (let rate = nextRate(results, search); rate !== undefined; rate = nextRate(results, search)) {
      results.push({ rate, goodput: goodput(rate) });
    }
    return results;
  };
  assert.equal(saturationRate(all(() => 0)), undefined);
  const sustained = all((rate) => rate);
  assert.deepEqual([sustained.map(({ rate }) => rate), sustained.every(isSustained)], [[1, 2, 4, 8], true]);
});

Deno.test("keystrokeFindings() draws no curve of a server that answered next to nothing, and says so", () => {
  const replay = (label: string, answered: number) => ({
    ...{ label, editors: 8, startedAt: 0, accepted: 0, flood: 0, floodCompleted: 0 },
    ...{ before: undefined, after: undefined, samples: [] },
    outcomes: Array.from({ length: 100 }, (_, i) => ({
      kind: i < answered ? "complete" as const : "aborted" as const,
      ...{ status: 200, sentAt: i, firstMs: i < answered ? 10 + i : undefined, totalMs: 200, gapsMs: [] },
      ...{ text: "", promptTokens: undefined, cachedTokens: undefined, reason: undefined },
    })),
  });
  const { charts, notes } = keystrokeFindings([replay("a", 50), replay("b", 5), replay("c", 4)]);
  const { title, series } = charts.find(({ name }) => name === "first-token-distribution")!;
  assert.match(title, /estimated/);
  assert.deepEqual(series.map(({ label }) => label), ["a, 8 editors", "b, 8 editors"]);
  assert.deepEqual(notes, ["No curve for c, 8 editors: under 5 % of its keys were answered."]);
});
