// Blocks of the KV cache on their way to host memory and back, byte for byte.
import { deepStrictEqual, ok, rejects } from "node:assert/strict";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { Readback } from "../../device/readback.ts";
import { GpuHostBlocks } from "../../kernels/attention/gpu_host_blocks.ts";
import { HostSlots } from "../../kernels/attention/host_slots.ts";
import { kvRowBytes } from "../../kernels/attention/kv_layout.ts";
import { historyRowBytes } from "../../kernels/convolution_history/history_layout.ts";
import type { PagedMatrices } from "../../kernels/gpu_op.ts";
import type { HistoryLayer, KvLayer } from "../../kernels/graph.ts";
import { BLOCK_SIZE } from "../../kernels/step.ts";
import { gpuTest } from "../gpus.ts";
import { Random, testSeed } from "./random.ts";

const NUM_BLOCKS = 12;
const NUM_SLOTS = 20;
const LAYERS: readonly KvLayer[] = [{ numKvHeads: 1, headSize: 5 }, { numKvHeads: 2, headSize: 8 }];
const HISTORIES: readonly HistoryLayer[] = [{ width: 7 }, { width: 24 }];

/** Caches of random bytes, and what they hold. */
class Caches implements Disposable {
  readonly paged: readonly PagedMatrices[];
  readonly matrices: readonly { readonly buffer: GPUBuffer; readonly blockBytes: number }[];
  readonly #gpu: GpuDevice;
  /** By matrix. */
  #bytes: Uint8Array<ArrayBuffer>[] = [];

  constructor(gpu: GpuDevice, type: "f32" | "f16") {
    this.#gpu = gpu;
    const create = (rowBytes: number) =>
      gpu.device.createBuffer({
        size: NUM_BLOCKS * BLOCK_SIZE * rowBytes,
        usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
      });
    this.paged = [
      ...LAYERS.map((layer) => kvRowBytes(layer, type)).map((rowBytes) => ({
        buffers: [create(rowBytes), create(rowBytes)] as const,
        rowBytes,
      })),
      ...HISTORIES.map((layer) => historyRowBytes(layer, type)).map((rowBytes) => ({
        buffers: [create(rowBytes)] as const,
        rowBytes,
      })),
    ];
    this.matrices = this.paged.flatMap(({ buffers }) => buffers.flatMap((buffer) => buffer ?? []))
      .map((buffer) => ({ buffer, blockBytes: buffer.size / NUM_BLOCKS }));
  }

  /** Other bytes everywhere. */
  fill() {
    this.#bytes = this.matrices.map(({ buffer }) => {
      const bytes = new Uint8Array(buffer.size);
      crypto.getRandomValues(bytes);
      this.#gpu.device.queue.writeBuffer(buffer, 0, bytes);
      return bytes;
    });
  }

  /** As expected, of all matrices. */
  block(block: number): Uint8Array<ArrayBuffer>[] {
    return this.matrices.map(({ blockBytes }, m) =>
      this.#bytes[m].slice(block * blockBytes, (block + 1) * blockBytes)
    );
  }

  expect(block: number, rows: Uint8Array<ArrayBuffer>[]) {
    this.matrices.forEach(({ blockBytes }, m) => this.#bytes[m].set(rows[m], block * blockBytes));
  }

  async check() {
    for (const [m, { buffer }] of this.matrices.entries()) {
      using readback = new Readback(this.#gpu, buffer.size);
      const encoder = this.#gpu.device.createCommandEncoder();
      readback.encodeCopy(encoder, buffer, buffer.size);
      this.#gpu.device.queue.submit([encoder.finish()]);
      deepStrictEqual(new Uint8Array(await readback.read(buffer.size)), this.#bytes[m], `matrix ${m}`);
    }
  }

  [Symbol.dispose]() {
    for (const { buffer } of this.matrices) buffer.destroy();
  }
}

for (const type of ["f32", "f16"] as const) {
  gpuTest(`GpuHostBlocks moves whole blocks of every layer, parks first, ${type}`, {}, async (gpu) => {
    using caches = new Caches(gpu, type);
    // Room for two or three blocks at a time, so that most steps take several turns.
    using host = new GpuHostBlocks(gpu, caches.paged, NUM_SLOTS, 10_000);
    const seed = testSeed(), random = new Random(seed);
    console.log(`  seed ${seed}`);
    const slots = new Map<number, Uint8Array<ArrayBuffer>[]>();
    const some = (most: number, of: number) => {
      const all = Array.from({ length: of }, (_, index) => index);
      return Array.from({ length: random.below(most + 1) }, () => all.splice(random.below(all.length), 1)[0]);
    };
    caches.fill();
    let both = 0;
    for (let step = 0; step < 30; step++) {
      const targets = some(5, NUM_SLOTS);
      const parks = some(targets.length, NUM_BLOCKS).map((block, i) => ({ block, slot: targets[i] }));
      for (const { block, slot } of parks) slots.set(slot, caches.block(block));
      const filled = [...slots.keys()];
      const unparks = filled.length === 0 ? [] : some(5, NUM_BLOCKS).map((block) => ({
        block,
        slot: filled[random.below(filled.length)],
      }));
      for (const { block, slot } of unparks) caches.expect(block, slots.get(slot)!);
      if (unparks.some(({ slot }) => parks.some((park) => park.slot === slot))) both++;
      await host.move({ parks, unparks });
      if (step % 3 === 0) await caches.check();
      if (step % 7 === 0) caches.fill(); // Overwritten while the latest parks may be under way.
    }
    await caches.check();
    ok(both > 0, "no step parked and brought back the same slot");
  });
}

gpuTest(
  "GpuHostBlocks says that the device was lost under a park, to a step and to whoever waits",
  {},
  async (gpu) => {
    using caches = new Caches(gpu, "f32");
    using host = new GpuHostBlocks(gpu, caches.paged, NUM_SLOTS);
    caches.fill();
    await host.move({ parks: [{ block: 1, slot: 2 }], unparks: [] });
    gpu.device.destroy();
    await rejects(async () => {
      await host.landed();
      await host.move({ parks: [{ block: 1, slot: 2 }], unparks: [] });
      await host.landed();
    });
  },
);

Deno.test("HostSlots have memory of their own each, across pieces", () => {
  const slots = new HostSlots(2 ** 25 - 4);
  for (const slot of [3, 0, 2, 1]) slots.bytes(slot).fill(slot + 1);
  for (const slot of [0, 1, 2, 3]) {
    const bytes = slots.bytes(slot);
    deepStrictEqual([bytes.length, bytes[0], bytes.at(-1)], [2 ** 25 - 4, slot + 1, slot + 1]);
  }
});
