// Which cases of a comparison fit a GPU, and what they take. Knows no device.
import { BLOCK_SIZE } from "../../../kernels/step.ts";

/** What a model keeps, and where it has to go. */
export interface Room {
  /** Of a block of 16 tokens, all layers together; 0 where no layer keeps tokens. */
  readonly blockBytes: number;
  /** Of a sequence, whatever its length. */
  readonly stateBytes: number;
  /** Blocks that the GPU can bind of a layer. */
  readonly maxBlocks: number;
  /** For what is kept of all sequences. */
  readonly keptBytes: number;
}

export interface Fitting {
  /** Tokens: those asked for, or a block less where that is what fits. */
  readonly context: number;
  readonly batch: number;
  readonly blocks: number;
  readonly bytes: number;
}

export interface Refused {
  readonly context: number;
  readonly batch: number;
  readonly bytes: number;
  readonly reason: string;
}

/** Contexts of so many blocks lose less than two in a hundred of their tokens with one. */
const MANY_BLOCKS = 64;

/** Where there are many blocks, the last one is given up for a batch that fits without it. */
export function fit(context: number, batch: number, room: Room): Fitting | Refused {
  const whole = Math.ceil(context / BLOCK_SIZE);
  const reasons = [whole, whole < MANY_BLOCKS ? whole : whole - 1].map((blocks) =>
    whyNot(blocks, batch, room)
  );
  const blocks = reasons[0] === undefined ? whole : whole - 1;
  const bytes = bytesOf(blocks, batch, room);
  if (reasons.every((reason) => reason !== undefined)) {
    return { context, batch, bytes: bytesOf(whole, batch, room), reason: reasons[0] };
  }
  return { context: Math.min(context, blocks * BLOCK_SIZE), batch, blocks, bytes };
}

/** Every context with every batch; after one that does not fit the largest smaller batch that does, none twice. */
export function fittingCases(
  contexts: readonly number[],
  batches: readonly number[],
  room: Room,
): (Fitting | Refused)[] {
  return contexts.flatMap((context) => {
    const asked = batches.map((batch) => fit(context, batch, room));
    const largest = Math.max(...batches.filter((_, i) => "blocks" in asked[i]), 0);
    const refused = asked.findIndex((one) => "reason" in one);
    if (refused < 0) return asked;
    for (let batch = batches[refused] - 1; batch > largest; batch--) {
      const smaller = fit(context, batch, room);
      if ("blocks" in smaller) return [...asked, smaller];
    }
    return asked;
  });
}

function bytesOf(blocks: number, batch: number, { blockBytes, stateBytes }: Room): number {
  return batch * (blocks * blockBytes + stateBytes);
}

function whyNot(blocks: number, batch: number, room: Room): string | undefined {
  const bytes = bytesOf(blocks, batch, room);
  if (bytes > room.keptBytes) {
    return `takes ${gigabytes(bytes)}, there is room for ${gigabytes(room.keptBytes)}`;
  }
  if (blocks * batch <= room.maxBlocks || room.blockBytes === 0) return undefined;
  return `takes ${gigabytes(bytes)}, and of a layer more than WebGPU binds here`;
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toPrecision(3)} GB`;
}
