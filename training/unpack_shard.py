"""Writes the files of shards into a folder: python unpack_shard.py SHARD.. FOLDER"""
import sys
from pathlib import Path

from corpus import read_shards

*shards, folder = map(Path, sys.argv[1:])
for path, text in read_shards(shards):
    target = (folder / path).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise ValueError(f"{path}: leads out of {folder}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
