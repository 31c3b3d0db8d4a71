import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { TokenBucket } from "../../routes/token_bucket.ts";

Deno.test("TokenBucket is full at first, flows in evenly, and holds no more than a minute's worth", () => {
  const bucket = new TokenBucket(600, 1000);
  assert.equal(bucket.level(1000), 600);
  bucket.spend(100, 1000);
  assert.equal(bucket.level(1000), 500);
  assert.equal(bucket.level(6000), 550);
  assert.equal(bucket.level(1e9), 600);
});

Deno.test("TokenBucket may be overdrawn, and says how long the debt takes", () => {
  const bucket = new TokenBucket(600, 0);
  bucket.spend(650, 0);
  assert.equal(bucket.level(0), -50);
  assert.equal(bucket.msUntil(0, 0), 5000);
  assert.equal(bucket.msUntil(1, 0), 5100);
  assert.equal(bucket.msUntil(1, 5100), 0);
});

Deno.test("TokenBucket never lets more through than a minute's worth, the inflow and one overdraft", () => {
  const demand = fc.record({
    afterMs: fc.integer({ min: 0, max: 5000 }),
    cost: fc.integer({ min: 1, max: 500 }),
  });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1000 }), fc.array(demand), (perMinute, demands) => {
      const bucket = new TokenBucket(perMinute, 0);
      let now = 0, spent = 0;
      for (const { afterMs, cost } of demands) {
        now += afterMs;
        const waitMs = bucket.msUntil(1, now);
        if (waitMs > 0) {
          assert.equal(bucket.msUntil(1, now + waitMs), 0, "what it says is enough");
          now += waitMs;
        }
        bucket.spend(cost, now);
        spent += cost;
        assert.ok(spent <= perMinute + now / 60_000 * perMinute + cost + 1);
      }
    }),
  );
});
