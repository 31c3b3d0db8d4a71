// `deno task test`: makes sure that both WebGPU providers have an adapter (software Vulkan where there is no better
// one for tests), then runs `deno test` with the arguments given.
import { softwareVulkan } from "./software_vulkan.ts";

const env = {
  ...await softwareVulkan(),
  XDG_RUNTIME_DIR: Deno.env.get("XDG_RUNTIME_DIR") ?? Deno.makeTempDirSync(),
};
const { code } = await new Deno.Command(Deno.execPath(), {
  args: ["test", "--allow-all", "--no-check", ...Deno.args],
  env,
}).spawn().status;
Deno.exit(code);
