// `deno task test`: makes sure that both WebGPU providers have an adapter (software Vulkan where there is no better
// one for tests), runs `deno test` with the arguments given, and then the tests of kernels on matrix units in a process
// of their own, on a software GPU that has these. Options of `deno test` are for the first of the two alone. Without
// arguments the whole suite runs as two processes side by side.
import { printAfter } from "./print_after.ts";
import { mesaVersion, softwareVulkan } from "./software_vulkan.ts";
import { MIN_MATRIX_MESA, unpackedMesa } from "./unpacked_mesa.ts";

interface Surroundings {
  /** To stand before Deno's path. */
  readonly launcher: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** About half of all work. */
const HALF = ["tests/bench", "tests/cli", "tests/engine", "tests/kernels", "tests/lsp"];

// Ctrl-C ends the tests, which get it too; what they have printed until then is still to be shown.
let isInterrupted = false;
Deno.addSignalListener("SIGINT", () => isInterrupted = true);

const shared = {
  XDG_RUNTIME_DIR: Deno.env.get("XDG_RUNTIME_DIR") ?? Deno.makeTempDirSync(),
  // Else the built-in provider loads libEGL as well, under which threads that end with the process crash now and then.
  ...(Deno.build.os === "linux" && { DENO_WEBGPU_BACKEND: "vulkan" }),
};
const usual = { launcher: [], env: { ...shared, ...await softwareVulkan() } };
const code = await (Deno.args.length > 0 ? denoTest(usual, Deno.args) : testAll());
const isWhole = !isInterrupted && !Deno.args.some((arg) => arg.startsWith("-"));
const matrixCode = isWhole ? await testMatrixUnits(Deno.args) : 0;
Deno.exit(code || matrixCode);

/** In two processes side by side, of which neither keeps two cores busy. What the second prints comes after the first. */
async function testAll(): Promise<number> {
  const half = denoTest(usual, HALF);
  const codes = await Promise.all([half, denoTest(usual, [`--ignore=${HALF.join(",")}`], half)]);
  return Math.max(...codes);
}

/** The exit code; with CI=true it is a failure when they cannot be run, which is else said on stderr. */
async function testMatrixUnits(paths: readonly string[]): Promise<number> {
  const surroundings = await matrixUnits();
  if (!surroundings) return Deno.env.get("CI") === "true" ? 1 : 0;
  const env = { ...surroundings.env, HYADES_TEST_MATRIX_UNITS: "true" };
  const folders = paths.length > 0 ? paths : ["tests/kernels", "tests/models"];
  return await denoTest({ ...surroundings, env }, [
    "--parallel",
    "--filter",
    "/matrix units\\]$/",
    ...folders,
  ]);
}

async function matrixUnits(): Promise<Surroundings | undefined> {
  if ("VK_DRIVER_FILES" in usual.env && await mesaVersion() >= MIN_MATRIX_MESA) return usual;
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

/** The exit code. @param after what is printed waits for it */
async function denoTest(
  { launcher, env }: Surroundings,
  args: readonly string[],
  after?: Promise<unknown>,
): Promise<number> {
  const [program, ...before] = [...launcher, Deno.execPath()];
  const output = after ? "piped" : "inherit";
  const process = new Deno.Command(program, {
    args: [...before, "test", "--allow-all", "--no-check", ...args],
    env,
    stdout: output,
    stderr: output,
  }).spawn();
  if (after) await printAfter(after, process);
  return (await process.status).code;
}
