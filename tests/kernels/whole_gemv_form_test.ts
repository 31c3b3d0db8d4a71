// The division of products of one row in whole numbers, on devices of all kinds: within their workgroup memory and the
// grid's limit.
import { deepEqual } from "node:assert/strict";
import type { GpuCaps } from "../../device/caps.ts";
import type { GpuMatrix } from "../../kernels/gpu_op.ts";
import { bytesPerWord, WORD_COLUMNS } from "../../kernels/linear/fixed_point.ts";
import { gemvWorkgroups, outputColumns } from "../../kernels/linear/gemv_form.ts";
import { wholeGemvForm } from "../../kernels/linear/whole_gemv_form.ts";
import { leavesWholeNumbers } from "../../kernels/linear/whole_numbers.ts";

const KIB = 1024;
const TYPES = ["i4", "i8"] as const;
const SHAPES = [
  [1, 16],
  [33, 8960],
  [384, 384],
  [2048, 8192],
  [6144, 24_576],
  [6400, 6144],
  [263_000, 8192],
  [24_576, 34_080],
];

Deno.test("Forms in whole numbers fit workgroup memory and the grid on every kind of device", () => {
  const misfits: unknown[] = [];
  for (const lanes of [8, 16, 32, 64]) {
    for (const kib of [16, 32, 48, 64]) {
      for (const maxInvocations of [256, 512, 1024]) {
        for (const type of TYPES) {
          for (const [rows, columns] of SHAPES) {
            for (const isWhole of [false, true]) {
              for (const leaves of [undefined, ...TYPES]) {
                const weight = { type, rows, columns } as GpuMatrix,
                  caps = capsOf(lanes, kib, maxInvocations);
                const form = wholeGemvForm(type, weight, caps, { isWhole, leaves });
                const sums = outputColumns(form) * (form.parts + (leaves ? 1 : 0)) * 4;
                const x = isWhole ? 0 : form.wordsPerSlice * bytesPerWord(type);
                const problem = sums + x > kib * KIB
                  ? `${sums + x} bytes`
                  : gemvWorkgroups(form, rows) > 65_535
                  ? "the grid"
                  : form.threads > maxInvocations || outputColumns(form) > form.threads
                  ? `${form.threads} threads`
                  : form.wordsPerTurn * form.parts * lanes * WORD_COLUMNS[type] < columns
                  ? "columns left out"
                  : undefined;
                if (problem) {
                  misfits.push({ problem, lanes, kib, maxInvocations, type, rows, columns, isWhole, leaves });
                }
              }
            }
          }
        }
      }
    }
  }
  deepEqual(misfits, []);
});

Deno.test("Products as wide as models have them leave whole numbers, however many rows a workgroup would take", () => {
  const widths = [2816, 4096, 5120, 6144, 8192, 8960, 11_008, 12_288, 18_432, 24_576];
  const not = TYPES.flatMap((type) =>
    widths.filter((rows) => {
      const weight = { type, rows, columns: rows / 4, shards: [{ firstRow: 0, numRows: rows }] };
      return !leavesWholeNumbers(weight as unknown as GpuMatrix, type, capsOf(32, 48, 1024));
    })
  );
  deepEqual(not, []);
});

function capsOf(lanes: number, kib: number, maxInvocations: number): GpuCaps {
  return {
    subgroups: true,
    subgroupMinSize: lanes,
    subgroupMaxSize: lanes,
    maxInvocations,
    maxWorkgroupBytes: kib * KIB,
  } as GpuCaps;
}
