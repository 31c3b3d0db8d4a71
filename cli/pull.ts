// `pull REPO`: downloads a model from a Hugging Face compatible hub, so that `serve --model REPO` finds it from then on,
// without a network.
import { Command, InvalidArgumentError } from "commander";
import { format } from "std/fmt/bytes.js";
import { hubAccess } from "../models/hub/hub_access.ts";
import { parseRepoName, type RepoName } from "../models/hub/hub_cache.ts";
import { pullModel } from "../models/hub/pull_model.ts";
import { ProgressBar } from "./progress_bar.ts";
import { TransferText } from "./transfer_text.ts";

const EXAMPLES = `
Examples:
  deno task pull bigcode/starcoder2-3b                               then: deno task serve --model bigcode/starcoder2-3b
  deno task pull Qwen/Qwen2.5-Coder-1.5B
  HF_TOKEN=hf_… deno task pull bigcode/starcoderbase-1b              a gated repository, whose terms you have accepted
  deno task pull Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF --gguf q8_0   one of several GGUF files

A pull that was stopped goes on where it was. Environment:
  HF_TOKEN       token of your account (else what huggingface-cli login has saved)
  HF_ENDPOINT    address of a mirror
  HF_HUB_CACHE   folder of the cache, shared with Hugging Face's programs (default: ~/.cache/huggingface/hub)
`;

interface PullFlags {
  readonly gguf?: string;
}

export function pullCommand(): Command {
  return new Command("pull")
    .description("Download a model from the Hugging Face hub or a mirror of it")
    .argument("<repository>", "as org/name, or org/name@revision", parseName)
    .option("--gguf <part of a name>", "take the GGUF file whose name has this in it, instead of safetensors")
    .addHelpText("after", EXAMPLES)
    .action((name: RepoName, flags: PullFlags) => pull(name, flags));
}

async function pull(name: RepoName, { gguf }: PullFlags): Promise<void> {
  const access = hubAccess(), bar = new ProgressBar(`Pulling ${name.repo}`), transfer = new TransferText();
  const { files, downloaded } = await pullModel(name, {
    access,
    ...(gguf !== undefined && { gguf }),
    onProgress: (done, total) => bar.update(done / total, transfer.text(done, total)),
    onWait: (reason) => bar.line(reason),
  }).finally(() => bar.update(1));
  const size = files.reduce((sum, file) => sum + file.size, 0), full = nameOf(name);
  const came = downloaded === 0 ? "all of it was there" : `${format(downloaded)} downloaded`;
  console.log(
    `${full}: ${files.length} files, ${format(size)}, ${came}. Serve it: deno task serve --model ${full}`,
  );
}

function nameOf({ repo, revision }: RepoName): string {
  return revision === "main" ? repo : `${repo}@${revision}`;
}

function parseName(text: string): RepoName {
  const name = parseRepoName(text);
  if (name) return name;
  throw new InvalidArgumentError("must be a repository such as bigcode/starcoder2-3b");
}
