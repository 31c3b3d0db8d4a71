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

/** A last block is given up for a batch that fits without it. */
export function fit(context: number, batch: number, room: Room): Fitting | Refused {
  const whole = Math.ceil(context / BLOCK_SIZE);
  const reasons = [whole, whole - 1].map((blocks) => whyNot(blocks, batch, room));
  const blocks = reasons[0] === undefined ? whole : whole - 1;
  const bytes = bytesOf(blocks, batch, room);
  const reason = reasons[0] === undefined ? undefined : reasons[1];
  if (reason !== undefined) return { context, batch, bytes: bytesOf(whole, batch, room), reason };
  return { context: Math.min(context, blocks * BLOCK_SIZE), batch, blocks, bytes };
}

/** The most sequences of a context that fit, where `batch` do not; undefined where not even one does. */
export function largestBatch(context: number, batch: number, room: Room): Fitting | undefined {
  for (let smaller = batch - 1; smaller > 0; smaller--) {
    const fitting = fit(context, smaller, room);
    if (!("reason" in fitting)) return fitting;
  }
  return undefined;
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
