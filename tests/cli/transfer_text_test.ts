import { equal } from "node:assert/strict";
import { duration, TransferText } from "../../cli/transfer_text.ts";

Deno.test("TransferText tells the rate of the last seconds, and none for what was thrown away", () => {
  const transfer = new TransferText();
  equal(transfer.text(0, 1e9, 0), "0 B of 1 GB");
  equal(transfer.text(1e8, 1e9, 1000), "100 MB of 1 GB, 100 MB/s, 9 s left");
  // Slow from now on: after some seconds the fast second counts no more.
  for (let second = 2; second <= 9; second++) transfer.text(1e8 + second * 1e6, 1e9, second * 1000);
  equal(transfer.text(1.1e8, 1e9, 10_000), "110 MB of 1 GB, 1 MB/s, 14 min 50 s left");
  equal(transfer.text(0, 1e9, 11_000), "0 B of 1 GB");
});

Deno.test("duration() keeps to two units", () => {
  equal(
    [0.2, 59.2, 61, 3600, 7500].map(duration).join(", "),
    "1 s, 1 min 0 s, 1 min 1 s, 1 h 0 min, 2 h 5 min",
  );
});
