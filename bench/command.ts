// How a benchmark that people call by name ends when it cannot go on.

/** Runs it. What it throws is told in one line, and the exit status is 1. */
export async function runCommand(main: () => Promise<void>): Promise<void> {
  try {
    await main();
  } catch (error) {
    console.error(`error: ${error instanceof Error ? error.message : error} (--help lists the options)`);
    Deno.exit(1);
  }
}
