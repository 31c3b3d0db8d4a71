// When exact long convolutions are summed online, and in windows of which size.
import { deepEqual, equal } from "node:assert/strict";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import { chooseOnline, onlineBytes } from "../../models/online_choice.ts";

function graphOf(numLayers: number) {
  const builder = new GraphBuilder(), filter = { name: "filter", shape: [100, 9] };
  let x = builder.input("x", 100);
  for (let i = 0; i < numLayers; i++) x = builder.convolutionHistory(x, filter);
  return builder.build(x);
}

/** Bytes of a position's sums: 2 layers, 10 sequences. */
const POSITION_BYTES = 4 * 100 * 2 * 10;
const PLENTY = {
  contextLength: 32_768,
  maxSequences: 10,
  kvBytes: 1e12,
  leastBytes: 1e9,
} as const;

Deno.test("chooseOnline() takes a sixteenth of the context where it is long, with transforms where they can pay", () => {
  const graph = graphOf(2);
  deepEqual(chooseOnline(graph, PLENTY), { window: 2048, square: 64, transformsWorth: 1000 });
  deepEqual(chooseOnline(graph, { ...PLENTY, contextLength: 5000 }), { window: 256, square: 64 });
  deepEqual(chooseOnline(graph, { ...PLENTY, contextLength: 1024 }), { window: 128, square: 64 });
  equal(chooseOnline(graph, { ...PLENTY, contextLength: 1023 }), undefined);
  equal(chooseOnline(graphOf(0), PLENTY), undefined);
  equal(onlineBytes(graph, { window: 2048 }, 10), 2048 * POSITION_BYTES);
});

Deno.test("chooseOnline() takes what was asked for, as far as memory allows", () => {
  const graph = graphOf(2);
  equal(chooseOnline(graph, PLENTY, "direct"), undefined);
  deepEqual(chooseOnline(graph, { ...PLENTY, contextLength: 300 }, "online"), { window: 128, square: 64 });
  // An eighth of the memory, and nothing that a context of full length needs.
  const scarce = { ...PLENTY, kvBytes: 8 * 700 * POSITION_BYTES, leastBytes: 0 };
  deepEqual(chooseOnline(graph, scarce), { window: 512, square: 64 });
  // Nor more of a layer than can be bound.
  const narrow = { ...PLENTY, maxBindingBytes: 4 * 100 * 10 * 700 };
  deepEqual(chooseOnline(graph, narrow), { window: 512, square: 64 });
  equal(chooseOnline(graph, { ...narrow, maxBindingBytes: 4 * 100 * 10 * 127 }), undefined);
  const least = { ...scarce, leastBytes: scarce.kvBytes - 130 * POSITION_BYTES };
  deepEqual(chooseOnline(graph, least), { window: 128, square: 64 });
  equal(chooseOnline(graph, { ...least, leastBytes: scarce.kvBytes }, "online"), undefined);
});
