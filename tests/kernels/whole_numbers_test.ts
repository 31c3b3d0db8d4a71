// Two linears in int4 of which the first leaves its output to the second as whole numbers, in steps of one row, and as
// floats in others: against the float64 reference.
import { deepEqual, ok } from "node:assert/strict";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import { wholeNumbers } from "../../kernels/whole_number_fusion.ts";
import { gpuTest } from "../gpus.ts";
import { packRows } from "./scheduled_steps.ts";
