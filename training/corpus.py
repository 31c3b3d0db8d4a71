"""The text that models are trained on: JSON lines of [path, text], or one JSON list of such pairs, plain or xz-compressed."""
import json
import lzma
from collections.abc import Iterator
from pathlib import Path


def read_shards(paths: list[Path]) -> Iterator[tuple[str, str]]:
    """All (path, text) of the shards, in order; of a folder all its *.jsonl, *.json and their .xz, in order of name."""
    for path in paths:
        if path.is_dir():
            yield from read_shards(sorted(p for p in path.iterdir() if is_shard(p)))
        elif not is_shard(path):
            raise ValueError(f"{path}: must end in .jsonl, .json, .jsonl.xz or .json.xz")
        else:
            yield from read_shard(path)


def is_shard(path: Path) -> bool:
    return path.name.removesuffix(".xz").endswith((".jsonl", ".json")) and not path.name.startswith("packages.")


def read_shard(path: Path) -> Iterator[tuple[str, str]]:
    opened = lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8")
    with opened as lines:
        pairs = json.load(lines) if ".jsonl" not in path.name else (json.loads(line) for line in lines)
        for name, text in pairs:
            yield name, text


def write_shard(path: Path, pairs: Iterator[tuple[str, str]]) -> None:
    opened = lzma.open(path, "wt", encoding="utf-8") if path.suffix == ".xz" else path.open("w", encoding="utf-8")
    with opened as lines:
        for pair in pairs:
            lines.write(json.dumps(pair, ensure_ascii=False) + "\n")
