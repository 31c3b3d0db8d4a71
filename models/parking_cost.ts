// Whether a block that has to give way on a GPU is worth a copy in host memory: measured with the model itself, since the
// link, the kernels and the shapes all have their share in it.
import type { GpuPlan } from "../kernels/gpu_plan.ts";
import { BLOCK_SIZE, type HostMove, type StepBatch, type StepLimits } from "../kernels/step.ts";

/** Blocks that are computed and moved at a time: enough that what a step costs anyway counts little, as in a prompt. */
const BLOCKS = 16;
/** Timings of each, after one that does not count. */
const ROUNDS = 3;

/** Seconds for one block. */
export interface ParkingCost {
  /** To host memory and back. */
  readonly move: number;
  /** To compute its rows anew. */
  readonly compute: number;
}

/** Each block is moved both ways once, in the worst case: parked ones that nobody asks for again cost half of it. */
export function parkingPays({ move, compute }: ParkingCost): boolean {
  return move < compute;
}

/** Measures on a plan that nothing is stored in yet; leaves rubbish in its first blocks and slots. */
export async function measureParking(plan: GpuPlan, limits: StepLimits): Promise<ParkingCost> {
  const { maxTokens, maxBlocksPerSequence, numHostBlocks = 0 } = limits;
  const blocks = Math.min(BLOCKS, maxBlocksPerSequence, numHostBlocks);
  const moves = Array.from({ length: blocks }, (_, index): HostMove => ({ block: index, slot: index }));
  const rows = Math.min(maxTokens, blocks * BLOCK_SIZE);
  await plan.move({ parks: moves, unparks: [] });
  const move = await bestOf(async () => {
    await plan.move({ parks: [], unparks: moves });
    await plan.move({ parks: moves, unparks: [] }); // The queue keeps the order: the blocks are back before this ends.
  });
  const prompt = promptOf(rows, limits);
  const compute = await bestOf(() => plan.step(prompt));
  return { move: move / blocks, compute: compute / rows * BLOCK_SIZE };
}

/** The least that it took, in seconds: what comes on top was something else's. */
async function bestOf(work: () => Promise<unknown>): Promise<number> {
  await work();
  let best = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const began = performance.now();
    await work();
    best = Math.min(best, (performance.now() - began) / 1000);
  }
  return best;
}

/** A sequence's first rows, in the first blocks. */
function promptOf(rows: number, { numStateSlots = 0 }: StepLimits): StepBatch {
  const count = (length: number) => Uint32Array.from({ length }, (_, index) => index);
  return {
    tokenIds: new Uint32Array(rows),
    positions: count(rows),
    slotMapping: count(rows),
    queryStart: Uint32Array.of(0, rows),
    contextLengths: Uint32Array.of(rows),
    blockTables: [count(Math.ceil(rows / BLOCK_SIZE))],
    ...(numStateSlots > 0 && { stateSlots: Uint32Array.of(0) }),
    samples: [],
  };
}
