// What a dispatch costs the host: the calls that encode it, and what finishing and submitting take for each, on Dawn's null
// backend, whose front end and conversions are the real ones. No GPU is needed. With --seconds, how that and the core's own
// speed change with time.
//
//     deno run -A bench/gpu/encode.ts --buffers 2,5,8 --toggles skip_validation
//     deno run -A bench/gpu/encode.ts --seconds 20 --gpu
import { parseArgs } from "node:util";
import { runCommand } from "../command.ts";
import { BUFFERS, type EncodeCost, encodeCosts } from "./encode_costs.ts";
import { hostSpeeds, INTERVAL_MS } from "./host_speeds.ts";

const USAGE = `Say what a dispatch costs the host, microseconds, the least of many rounds.

  deno run -A bench/gpu/encode.ts [--buffers LIST] [--toggles LIST] [--dispatches N] [--seconds N]

  --buffers LIST   storage buffers that a dispatch binds (default: ${BUFFERS.join()})
  --toggles LIST   Dawn's toggles to enable, such as skip_validation (default: none)
  --dispatches N   of a step (default: 198)
  --gpu            send them to a GPU, not to Dawn's null backend
  --seconds N      instead, every half second for so long: a dispatch of five buffers, a turn of a loop of arithmetic,
                   and a read that waits for memory`;

const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    buffers: { type: "string", default: BUFFERS.join() },
    toggles: { type: "string", default: "" },
    dispatches: { type: "string", default: "198" },
    gpu: { type: "boolean", default: false },
    seconds: { type: "string" },
    help: { type: "boolean", short: "h" },
  },
});
const { toggles, gpu: onGpu, seconds } = flags, dispatches = Number(flags.dispatches);
if (flags.help) console.log(USAGE);
else {
  await runCommand(seconds === undefined ? printCosts : () => printSpeeds(Number(seconds)));
  Deno.exit(0); // The addon's instance would keep the process.
}

async function printCosts(): Promise<void> {
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
    const cost = await encodeCosts({ buffers, onGpu, toggles, dispatches });
    console.log(`| ${buffers} | ${columns.map((column) => cost[column].toFixed(2)).join(" | ")} |`);
  }
}

async function printSpeeds(seconds: number): Promise<void> {
  if (!(seconds > 0)) throw new RangeError(`--seconds must be a number above 0, received "${flags.seconds}"`);
  console.log("| s | a dispatch, us | arithmetic, ns | memory, ns |\n| ---: | ---: | ---: | ---: |");
  let passed = 0;
  for await (const speed of hostSpeeds({ buffers: 5, onGpu, toggles, dispatches })) {
    passed += INTERVAL_MS / 1000;
    console.log(
      `| ${passed.toFixed(1)} | ${speed.dispatch.toFixed(2)} | ${speed.arithmetic.toFixed(2)} | ${
        speed.memory.toFixed(0)
      } |`,
    );
    if (passed >= seconds) return;
  }
}
