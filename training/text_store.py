"""A corpus as bytes and token ids side by side, so that any stretch of text is tokenised at once.

Byte-level BPE of words as train_tokenizer.py (or GPT-2) splits them encodes apart what stands before and after a seam, a line
break that follows anything but white space, which engine/line_encoder.ts of the server makes use of, too. So ids of everything between two seams are
looked up, and only the ends of a stretch, cut within a line, are encoded anew: see `encode`.

    python text_store.py CORPUS.. --tokenizer tokenizer.json --out FOLDER
"""
import argparse
import json
import lzma
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from corpus import read_shards

NEWLINE = 10
WHITE_SPACE = np.isin(np.arange(256), np.frombuffer(b" \t\n\r\x0b\x0c", np.uint8))
BLOCK_BYTES = 2_000_000
EMPTY = np.zeros(0, np.int64)
ARRAYS = ("text", "ids", "pieces", "piece_ids", "files")


def load_tokenizer(path: Path) -> Tokenizer:
    """Control tokens spelled out in a text are text."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


def token_bytes(tokenizer: Tokenizer) -> np.ndarray:
    """How many bytes each id stands for: a byte-level vocabulary spells every byte as one character."""
    lengths = np.zeros(tokenizer.get_vocab_size(), np.int64)
    for token, index in tokenizer.get_vocab().items():
        lengths[index] = len(token)
    return lengths


@dataclass
class TextStore:
    text: np.ndarray  # uint8 [bytes]
    ids: np.ndarray  # uint16 [tokens], or uint32 where the vocabulary needs them
    pieces: np.ndarray  # uint32 [pieces + 1]: the byte at which each begins: files, and lines after a seam
    piece_ids: np.ndarray  # uint32 [pieces + 1]: its first token
    files: np.ndarray  # uint32 [files + 1]: its first piece
    paths: list[str]
    tokenizer: Tokenizer

    def __post_init__(self) -> None:
        self.encode_fresh = lru_cache(50_000)(self._encode_fresh)

    @property
    def num_pieces(self) -> int:
        return len(self.pieces) - 1

    def file_of(self, piece: int) -> int:
        return place(self.files, piece, "right") - 1

    def piece_at(self, byte: int) -> int:
        """The first piece that begins at this byte or later."""
        return place(self.pieces, byte, "left")

    def encode(self, start: int, end: int) -> np.ndarray:
        """Ids of text[start:end], as the tokenizer gives them for it alone."""
        first, last = self.piece_at(start), place(self.pieces, end, "right") - 1
        if first > last:
            return self.fresh(start, end)
        whole = self.ids[self.piece_ids[first]:self.piece_ids[last]]
        parts = [self.fresh(start, int(self.pieces[first])), whole, self.fresh(int(self.pieces[last]), end)]
        return np.concatenate([part for part in parts if len(part)] or [self.ids[:0]])

    def fresh(self, start: int, end: int) -> np.ndarray:
        return self.encode_fresh(self.text[start:end].tobytes())

    def _encode_fresh(self, text: bytes) -> np.ndarray:
        if not text:
            return self.ids[:0]
        return np.array(self.tokenizer.encode(text.decode(), add_special_tokens=False).ids, self.ids.dtype)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ARRAYS:
            # A store that is being read from stays as it is: its readers keep the old files.
            np.save(folder / f"{name}.partial.npy", getattr(self, name))
        for name in ARRAYS:
            (folder / f"{name}.partial.npy").rename(folder / f"{name}.npy")
        (folder / "paths.json").write_text(json.dumps(self.paths))
        self.tokenizer.save(str(folder / "tokenizer.json"))


def place(ascending: np.ndarray, value: int, side: str) -> int:
    """np.searchsorted of a value of the array's own type: of any other it converts the whole array first."""
    return int(ascending.searchsorted(ascending.dtype.type(value), side))


def load_store(folder: Path) -> TextStore:
    """Read-only and mapped: processes share the pages."""
    # As plain arrays: every slice of a memmap is a Python object with a life of its own.
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r").view(np.ndarray) for name in ARRAYS}
    paths = json.loads((folder / "paths.json").read_text())
    return TextStore(**arrays, paths=paths, tokenizer=load_tokenizer(folder / "tokenizer.json"))


def build_store(shards: list[Path], tokenizer_file: Path, processes: int) -> TextStore:
    """In the order of the shards, whoever is done first."""
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, start_worker, (str(tokenizer_file),)) as pool, \
            ThreadPoolExecutor(len(shards) or 1) as readers:
        # Shards are unpacked side by side (lzma leaves the interpreter to others), and only cut here: workers parse.
        futures = readers.map(lambda shard: [pool.submit(encode_pairs, lines) for lines in blocks_of_lines(shard)], shards)
        encoded = [future.result() for of_shard in futures for future in of_shard]
    return joined(encoded, tokenizer_file)


def blocks_of_lines(shard: Path) -> Iterator[bytes]:
    """The shard's [path, text] as JSON lines, some BLOCK_BYTES at a time."""
    if ".jsonl" not in shard.name:
        yield b"".join(json.dumps(pair).encode() + b"\n" for pair in read_shards([shard]))
        return
    with (lzma.open(shard) if shard.suffix == ".xz" else shard.open("rb")) as lines:
        while block := lines.read(BLOCK_BYTES):
            yield block + lines.readline()


def joined(encoded: list["Encoded"], tokenizer_file: Path) -> TextStore:
    """One after the other, places counted on."""
    num_bytes = num_ids = num_pieces = 0
    pieces, piece_ids, files = [], [], []
    for part in encoded:
        pieces.append(part.pieces + num_bytes), piece_ids.append(part.piece_ids + num_ids), files.append(part.files + num_pieces)
        num_bytes, num_ids, num_pieces = num_bytes + len(part.text), num_ids + len(part.ids), num_pieces + len(part.pieces)
    if num_bytes >= 2**32:
        raise ValueError(f"A store holds 4 GB at most, received {num_bytes} bytes: make several")
    return TextStore(
        text=np.concatenate([part.text for part in encoded]),
        ids=np.concatenate([part.ids for part in encoded]),
        pieces=np.concatenate([*pieces, [num_bytes]]).astype(np.uint32),
        piece_ids=np.concatenate([*piece_ids, [num_ids]]).astype(np.uint32),
        files=np.concatenate([*files, [num_pieces]]).astype(np.uint32),
        paths=[path for part in encoded for path in part.paths],
        tokenizer=load_tokenizer(tokenizer_file),
    )


def start_worker(tokenizer_file: str) -> None:
    global worker_tokenizer, worker_lengths
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    worker_tokenizer = load_tokenizer(Path(tokenizer_file))
    worker_lengths = token_bytes(worker_tokenizer)


@dataclass
class Encoded:
    """Some files as a store has them, places from 0."""

    paths: list[str]
    text: np.ndarray
    ids: np.ndarray
    pieces: np.ndarray
    piece_ids: np.ndarray
    files: np.ndarray


def encode_pairs(lines: bytes) -> Encoded:
    pairs = [pair for pair in map(json.loads, lines.splitlines()) if pair[1]]
    encodings = worker_tokenizer.encode_batch_fast([text for _, text in pairs], add_special_tokens=False)
    dtype = np.uint16 if len(worker_lengths) <= 2**16 else np.uint32
    texts, all_ids, pieces, piece_ids, files = [EMPTY[:0].view(np.uint8)], [EMPTY[:0].astype(dtype)], [EMPTY], [EMPTY], []
    num_bytes = num_ids = num_pieces = 0
    for (_, text), encoding in zip(pairs, encodings):
        text, ids = np.frombuffer(text.encode(), np.uint8), np.array(encoding.ids, dtype)
        starts, first_ids = seams_of(text, ids, worker_lengths)
        texts.append(text), all_ids.append(ids)
        pieces.append(starts + num_bytes), piece_ids.append(first_ids + num_ids), files.append(num_pieces)
        num_bytes, num_ids, num_pieces = num_bytes + len(text), num_ids + len(ids), num_pieces + len(starts)
    return Encoded(
        [path for path, _ in pairs], *map(np.concatenate, (texts, all_ids, pieces, piece_ids)), np.array(files, np.int64)
    )


def seams_of(text: np.ndarray, ids: np.ndarray, lengths: np.ndarray):
    """The bytes at which pieces begin and their first tokens, both from 0."""
    token_starts = np.concatenate([[0], np.cumsum(lengths[ids])])
    if token_starts[-1] != len(text):
        raise ValueError("The tokenizer does not give back its text: it must be byte-level BPE without a normalizer")
    seams = np.flatnonzero((text[1:] == NEWLINE) & ~WHITE_SPACE[text[:-1]]) + 1
    first_ids = np.searchsorted(token_starts, seams)
    # White space beyond ASCII's before a line break makes one token with it: no seam there.
    clean = token_starts[first_ids] == seams
    return np.concatenate([[0], seams[clean]]), np.concatenate([[0], first_ids[clean]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="+", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    start = time.monotonic()
    store = build_store(options.corpus, options.tokenizer, options.processes)
    built = time.monotonic()
    store.save(options.out)
    print(f"{options.out}: {len(store.paths)} files, {len(store.text)} bytes, {len(store.ids)} tokens, {store.num_pieces} pieces; "
          f"{built - start:.0f} s to make, {time.monotonic() - built:.0f} s to write")


if __name__ == "__main__":
    main()
