// `deno task test`: makes sure that both WebGPU providers have an adapter (software Vulkan where there is no better
// one for tests), runs `deno test` with the arguments given, and then the tests of kernels on matrix units in a process
// of their own, on a software GPU that has these. Options of `deno test` are for the first of the two alone. Without
// arguments the whole suite runs in parts, some at a time.
import { printAfter } from "./print_after.ts";
import { mesaVersion, softwareVulkan } from "./software_vulkan.ts";
import { MIN_MATRIX_MESA, unpackedMesa } from "./unpacked_mesa.ts";

interface Surroundings {
  /** To stand before Deno's path. */
  readonly launcher: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** Arguments of `deno test`, and where it runs. */
interface Part {
  readonly surroundings: Surroundings;
  readonly args: readonly string[];
}

/** What parts of the suite have, whose processes compute most of the time; one more, which often waits, has all the rest. */
const PARTS = [["tests/models"], ["tests/kernels"], [
  "tests/bench",
  "tests/cli",
  "tests/engine",
  "tests/lsp",
]];
/** As many as keep two cores busy: a test waits now and then, and software compiles on one core. */
const PARTS_AT_ONCE = 4;

// Ctrl-C ends the tests, which get it too; what they have printed until then is still to be shown.
let isInterrupted = false;
Deno.addSignalListener("SIGINT", () => isInterrupted = true);

const shared = {
  XDG_RUNTIME_DIR: Deno.env.get("XDG_RUNTIME_DIR") ?? Deno.makeTempDirSync(),
  // Else the built-in provider loads libEGL as well, under which threads that end with the process crash now and then.
  ...(Deno.build.os === "linux" && { DENO_WEBGPU_BACKEND: "vulkan" }),
};
const vulkan: Surroundings["env"] = { ...shared, ...await softwareVulkan() };
/** Vectors of four numbers: for those of eight LLVM compiles twice as long. Matrix units take these. */
const usual: Surroundings = { launcher: [], env: { ...vulkan, LP_NATIVE_VECTOR_WIDTH: "128" } };
Deno.exit(await (Deno.args.length > 0 ? testSome(Deno.args) : testAll()));

async function testSome(args: readonly string[]): Promise<number> {
  const code = await runParts([{ surroundings: usual, args }]);
  if (isInterrupted || args.some((arg) => arg.startsWith("-"))) return code;
  return Math.max(code, await runParts([matrixPart(args)]));
}

async function testAll(): Promise<number> {
  const rest = [`--ignore=${PARTS.flat().join(",")}`];
  const [models, ...others] = PARTS;
  return await runParts([
    ...[models, rest, ...others].map((args) => ({ surroundings: usual, args })),
    matrixPart(["tests/kernels", "tests/models"]),
  ]);
}

/** Undefined where these cannot be run, which is said on stderr. */
async function matrixPart(paths: readonly string[]): Promise<Part | undefined> {
  const surroundings = await matrixUnits();
  if (!surroundings) return undefined;
  const env = { ...surroundings.env, HYADES_TEST_MATRIX_UNITS: "true" };
  return { surroundings: { ...surroundings, env }, args: ["--filter", "/matrix units\\]$/", ...paths] };
}

/**
 * In the order given, each as soon as a process is free. What a part prints comes after what those before it print.
 * Returns the exit code; with CI=true a part that cannot be run is a failure.
 */
async function runParts(parts: readonly (Part | Promise<Part | undefined>)[]): Promise<number> {
  const waiting = [...parts], codes: number[] = [];
  let shown: Promise<unknown> | undefined;
  async function takeParts(): Promise<void> {
    for (let next = waiting.shift(); next && !isInterrupted; next = waiting.shift()) {
      const part = await next;
      const process = part && denoTest(part, shown ? "piped" : "inherit");
      if (process) shown = shown ? printAfter(shown, process) : process.status;
      codes.push(process ? (await process.status).code : Deno.env.get("CI") === "true" ? 1 : 0);
    }
  }
  await Promise.all(Array.from({ length: PARTS_AT_ONCE }, takeParts));
  await shown;
  return Math.max(...codes);
}

async function matrixUnits(): Promise<Surroundings | undefined> {
  if ("VK_DRIVER_FILES" in vulkan && await mesaVersion() >= MIN_MATRIX_MESA) {
    return { launcher: [], env: vulkan };
  }
  try {
    const { version, folder, launcher, env } = await unpackedMesa();
    console.error(`Tests on matrix units: Mesa ${version} in ${folder} (delete it to have today's fetched)`);
    return { launcher, env: { ...shared, ...env } };
  } catch (error) {
    console.error(
      `Not checked: kernels on matrix units, for want of Mesa ${MIN_MATRIX_MESA} or newer: ` +
        (error instanceof Error ? error.message : error),
    );
    return undefined;
  }
}

function denoTest(
  { surroundings: { launcher, env }, args }: Part,
  output: "inherit" | "piped",
): Deno.ChildProcess {
  const [program, ...before] = [...launcher, Deno.execPath()];
  return new Deno.Command(program, {
    args: [...before, "test", "--allow-all", "--no-check", ...args],
    env,
    stdout: output,
    stderr: output,
  }).spawn();
}
