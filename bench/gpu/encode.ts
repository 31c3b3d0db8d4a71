// What a dispatch costs the host: the calls that encode it, and what finishing and submitting take for each, on Dawn's null
// backend, whose front end and conversions are the real ones. No GPU is needed.
//
//     deno run -A bench/gpu/encode.ts --buffers 2,5,8 --toggles skip_validation
import { parseArgs } from "node:util";
import { BUFFERS, type EncodeCost, encodeCosts } from "./encode_costs.ts";

const USAGE = `Say what a dispatch costs the host, microseconds, the least of many rounds.

  deno run -A bench/gpu/encode.ts [--buffers LIST] [--toggles LIST] [--dispatches N]

  --buffers LIST   storage buffers that a dispatch binds (default: ${BUFFERS.join()})
  --toggles LIST   Dawn's toggles to enable, such as skip_validation (default: none)
  --dispatches N   of a step (default: 198)`;

const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    buffers: { type: "string", default: BUFFERS.join() },
    toggles: { type: "string", default: "" },
    dispatches: { type: "string", default: "198" },
    help: { type: "boolean", short: "h" },
  },
});
if (flags.help) console.log(USAGE);
else {
  const columns: (keyof EncodeCost)[] = [
    "setPipeline",
    "setBindGroup",
    "dispatch",
    "encode",
    "finish",
    "submit",
  ];
  console.log(`| buffers | ${columns.join(" | ")} |\n| ---: |${" ---: |".repeat(columns.length)}`);
  for (const buffers of flags.buffers.split(",").map(Number)) {
    const cost = await encodeCosts({ buffers, toggles: flags.toggles, dispatches: Number(flags.dispatches) });
    console.log(`| ${buffers} | ${columns.map((column) => cost[column].toFixed(2)).join(" | ")} |`);
  }
  Deno.exit(0); // The addon's instance would keep the process.
}
