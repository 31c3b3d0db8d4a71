"""Makes a corpus of the packages of a manifest: JSON lines of name, version, licence, and held_out for those that nothing is
trained on.

    python build_corpus.py manifest.jsonl --out CORPUS                     # wheels from the index that pip is set up with
    python build_corpus.py manifest.jsonl --out CORPUS --newest            # newer versions, where there are
    python build_corpus.py manifest.jsonl --out CORPUS --archives FOLDER   # from archives at hand, and no others

CORPUS gets train-0.jsonl.xz and so on, validation.jsonl.xz and packages.jsonl, a manifest of what went in.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

from archives import find_archive, read_package
from corpus import write_shard
from file_filters import PACKAGE_BYTES, Novelty, is_worthwhile
from licences import is_permissive, licence_of


def main() -> None:
    options = parse_options()
    packages = [json.loads(line) for line in options.manifest.read_text().splitlines() if line.strip()]
    # Held-out packages first: what they have in common with others is then left out of the others.
    packages.sort(key=lambda package: not package.get("held_out", False))
    random, novelty = Random(options.seed), Novelty()
    texts: dict[bool, list[tuple[str, str]]] = {False: [], True: []}
    taken = []
    for package in packages:
        found = read(package, options)
        if found is None:
            print(f"{package['name']}: no archive", file=sys.stderr)
            continue
        version, licence, files = found
        if not is_permissive(licence):
            print(f"{package['name']}: left out for its licence ({licence or 'none is named'})", file=sys.stderr)
            continue
        kept = keep(package["name"], files, novelty, random)
        texts[package.get("held_out", False)] += kept
        taken.append({**package, "version": version, "licence": licence, "files": len(kept)})
    write(options, texts, taken, random)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--archives", type=Path, help="a folder of wheels and source distributions")
    parser.add_argument("--newest", action="store_true", help="versions other than the manifest's")
    parser.add_argument("--suffixes", default=".py", help="of files to read, with commas between (default: .py)")
    parser.add_argument("--shard-files", type=int, default=20_000, help="files in a shard (default: 20000)")
    parser.add_argument("--held-out-files", type=int, default=400, help="files of the validation shard at most")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def read(package: dict, options: argparse.Namespace) -> tuple[str, str, list[tuple[str, str]]] | None:
    """Version, licence and files; None where there is no archive."""
    name = package["name"]
    version = None if options.newest else package["version"]
    with tempfile.TemporaryDirectory() as fetched:
        folder = options.archives or Path(fetched)
        if not options.archives and not download(name, version, folder):
            return None
        archive = find_archive(folder, name, version)
        if archive is None:
            return None
        metadata, files = read_package(archive, tuple(options.suffixes.split(",")))
    version = next((line.removeprefix("Version: ") for line in metadata.splitlines() if line.startswith("Version: ")), version)
    return version, licence_of(metadata), files


def download(name: str, version: str | None, folder: Path) -> bool:
    """A wheel: to look at a source distribution pip would run its setup."""
    wanted = f"{name}=={version}" if version else name
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", str(folder), wanted]
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def keep(name: str, files: list[tuple[str, str]], novelty: Novelty, random: Random) -> list[tuple[str, str]]:
    kept, size = [], 0
    random.shuffle(files)
    for path, text in files:
        if size + len(text) <= PACKAGE_BYTES and is_worthwhile(path, text, random) and novelty.admits(text):
            kept.append((f"{name}/{path}", text))
            size += len(text)
    return kept


def write(options: argparse.Namespace, texts: dict[bool, list], taken: list[dict], random: Random) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    for kept in texts.values():
        random.shuffle(kept)
    held_out, training = texts[True][:options.held_out_files], texts[False]
    write_shard(options.out / "validation.jsonl.xz", iter(held_out))
    for number, start in enumerate(range(0, len(training), options.shard_files)):
        write_shard(options.out / f"train-{number}.jsonl.xz", iter(training[start:start + options.shard_files]))
    (options.out / "packages.jsonl").write_text("".join(json.dumps(package) + "\n" for package in taken))
    size = sum(len(text) for _, text in training)
    print(f"{options.out}: {len(taken)} packages, {len(training)} files of {size} characters, {len(held_out)} held out")


if __name__ == "__main__":
    main()
