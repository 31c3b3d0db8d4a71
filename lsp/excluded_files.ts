// Files that are nobody's business: those that git ignores, and those that hold secrets. Reads .gitignore files as git
// does, from the repository's root down to the file's folder.
import ignore, { type Ignore } from "ignore";
import { dirname, join, relative } from "std/path/mod.js";

/** ignored: not shown to the model beside other files. secret: never sent anywhere. */
export type Exclusion = "ignored" | "secret";

/** The text of a file, undefined where there is none. */
export type ReadText = (path: string) => Promise<string | undefined>;

/** In .gitignore's notation; names compare without case. */
const SECRET_FILES = [
  ...[".env", ".env.*", "*.env", ".envrc", "!.env.example", "!.env.sample", "!.env.template"],
  ...["*.pem", "*.key", "*.p8", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk", "*.asc", "*.gpg"],
  ...["id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "!id_*.pub"],
  ...[".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".htpasswd", ".git-credentials", ".dockercfg"],
  ...["credentials", "credentials.json", "credentials.toml", "service-account*.json", "client_secret*.json"],
  ...["secrets.*", "secret.*", "*.secret", "*.tfvars", "*.tfstate", "*.tfstate.*"],
  ...[".ssh/", ".gnupg/", ".aws/", ".azure/", ".kube/", ".docker/config.json"],
];

/** Texts that no context may hold: private keys, and tokens by the forms that their issuers gave them. */
const SECRET_TEXT = new RegExp(
  [
    String.raw`-----BEGIN [A-Z ]*PRIVATE KEY-----`,
    String.raw`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`,
    String.raw`\bgh[pousr]_[A-Za-z0-9]{36}`,
    String.raw`\bgithub_pat_[A-Za-z0-9_]{60}`,
    String.raw`\bglpat-[A-Za-z0-9_-]{20}`,
    String.raw`\bxox[abprs]-[A-Za-z0-9-]{10}`,
    String.raw`\bsk-[A-Za-z0-9_-]{32}`,
    String.raw`\bhf_[A-Za-z0-9]{30}`,
    String.raw`\bAIza[0-9A-Za-z_-]{35}`,
    String.raw`\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.`,
  ].join("|"),
);

export function holdsSecret(text: string): boolean {
  return SECRET_TEXT.test(text);
}

export class ExcludedFiles {
  readonly #read: ReadText;
  readonly #secret: Ignore;

  /** @param patterns more secret files, in .gitignore's notation */
  constructor(patterns: readonly string[] = [], read: ReadText = readText) {
    this.#read = read;
    this.#secret = ignore({ ignorecase: true }).add(SECRET_FILES).add([...patterns]);
  }

  /**
   * @param path of the file, absolute
   * @param folder that the file is in, or some folder above: where no repository is found, looking begins there
   */
  async find(path: string, folder: string): Promise<Exclusion | undefined> {
    if (this.#secret.ignores(withoutRoot(path))) return "secret";
    return await this.#isIgnored(path, folder) ? "ignored" : undefined;
  }

  async #isIgnored(path: string, folder: string): Promise<boolean> {
    const root = await this.#repositoryOf(path) ?? folder;
    const parts = pathIn(root, path).split("/");
    if (parts[0] === "..") return false;
    const rules: { readonly folder: string; readonly rules: Ignore }[] = [];
    for (let depth = 0; depth < parts.length; depth++) {
      const here = join(root, ...parts.slice(0, depth));
      for (const file of depth === 0 ? [".git/info/exclude", ".gitignore"] : [".gitignore"]) {
        const text = await this.#read(join(here, file));
        if (text !== undefined) rules.push({ folder: here, rules: ignore().add(text) });
      }
      // What is below an ignored folder cannot be taken back.
      const name = join(here, parts[depth]), isFolder = depth < parts.length - 1;
      if (lastVerdict(rules, name, isFolder)) return true;
    }
    return false;
  }

  async #repositoryOf(path: string): Promise<string | undefined> {
    for (let folder = dirname(path); folder !== dirname(folder); folder = dirname(folder)) {
      // A work tree has a file of this name, a repository a folder with this file in it.
      const marks = [join(folder, ".git", "HEAD"), join(folder, ".git")];
      for (const mark of marks) if (await this.#read(mark) !== undefined) return folder;
    }
  }
}

/** The deepest rule that has anything to say decides. */
function lastVerdict(
  rules: readonly { readonly folder: string; readonly rules: Ignore }[],
  path: string,
  isFolder: boolean,
): boolean {
  return rules.reduce((ignored, { folder, rules }) => {
    const verdict = rules.test(pathIn(folder, path) + (isFolder ? "/" : ""));
    return verdict.ignored || (ignored && !verdict.unignored);
  }, false);
}

function pathIn(folder: string, path: string): string {
  return relative(folder, path).replaceAll("\\", "/");
}

/** From the root of the file system, or of a drive, on. */
function withoutRoot(path: string): string {
  return path.replaceAll("\\", "/").replace(/^(?:[A-Za-z]:)?\/+/, "");
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch {
    return undefined;
  }
}
