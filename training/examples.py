"""Training examples of exactly so many tokens, drawn anew each time: a file around a cursor in one of StarCoder's two
layouts, as the server's engine/fim.ts and engine/infill_prompt.ts write them, or text as it stands.

A row begins with an example, whose positions are those that it has when the model is served, and nothing comes before what it
attends to or is convolved with, so no mask is needed. Examples are of any length, and text fills up their rows: where all were
as long as the row, a model learnt to end a middle at the row's last position, and nowhere else.
"""
from dataclasses import dataclass
from random import Random

import numpy as np

from control_tokens import END, FILENAME, MIDDLE, PAD, PREFIX, SUFFIX
from healing import Vocabulary
from middles import draw_middle
from text_store import TextStore

# What a token counts as when it is to be predicted. GIVEN: text that a middle will follow without a sign (SPM). What stands
# before a middle is never drawn, so its end is none of what may come there; else a model learns to go on at a line's end.
UNSCORED, TEXT, GIVEN, INFILLED, ENDING = 0, 1, 2, 3, 4


@dataclass(frozen=True)
class Mixture:
    infill_share: float = 0.9
    least_share: float = 0.4  # of a row that its example is to take
    psm_share: float = 0.5
    named_share: float = 0.15  # begin with the file's name
    healed_share: float = 0.4  # of the cursors are backed up as token healing does it, so that a middle begins with its tokens
    least_filled: float = 0.6  # of the length wanted, else another place is drawn
    tries: int = 6


# How many tokens a server shows after the cursor at most: engine/served_model.ts, CPU_INFILL_SUFFIX.
SHOWN_SUFFIX = 128


class ExampleSource:
    def __init__(self, store: TextStore, random: Random, mixture: Mixture = Mixture()):
        self.store, self.random, self.mixture = store, random, mixture
        self.vocabulary = Vocabulary(store.tokenizer)

    def rows(self, count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """ids [count, length] and what each counts as, uint8 [count, length]."""
        ids = np.full((count, length), PAD, np.int32)
        scores = np.zeros((count, length), np.uint8)
        for row in range(count):
            example, counts_as = self.example(self.random.randint(int(self.mixture.least_share * length), length))
            text, text_counts_as = self.plain(length - len(example))
            filled = len(example) + len(text)
            ids[row, :filled] = np.concatenate([example, text])
            scores[row, :filled] = np.concatenate([counts_as, text_counts_as])
        return ids, scores

    def example(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """At most `length` tokens; the fullest of several tries where files are short."""
        draw = self.infill if self.random.random() < self.mixture.infill_share else self.plain
        best = None
        for _ in range(self.mixture.tries):
            example = draw(length)
            if example is None:
                continue
            if best is None or len(example[0]) > len(best[0]):
                best = example
            if len(best[0]) >= self.mixture.least_filled * length:
                break
        return best or self.plain(length)

    def plain(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """A file from its beginning, or from the start of a line, with its end where that is within reach."""
        store, random = self.store, self.random
        piece = random.randrange(store.num_pieces)
        file = store.file_of(piece)
        first, last = int(store.files[file]), int(store.files[file + 1])
        piece = first if random.random() < 0.3 else piece
        head = self.name(file) if random.random() < self.mixture.named_share else store.ids[:0]
        begin, end = int(store.piece_ids[piece]), int(store.piece_ids[last])
        body = store.ids[begin:min(end, begin + length)]
        ids = np.concatenate([head, body, *([[END]] if begin + length > end else [])])[:length]
        scores = np.full(len(ids), TEXT, np.uint8)
        scores[:len(head)] = UNSCORED
        return ids, scores

    def infill(self, length: int) -> tuple[np.ndarray, np.ndarray] | None:
        store, random = self.store, self.random
        piece = random.randrange(store.num_pieces)
        file = store.file_of(piece)
        first, last = int(store.files[file]), int(store.files[file + 1])
        cut = draw_middle(store, piece, int(store.pieces[last]), random)
        if cut is None:
            return None
        if random.random() < self.mixture.healed_share:
            cut = self.backed_up(piece, cut)
        middle = store.encode(*cut)
        head = self.name(file) if random.random() < self.mixture.named_share else store.ids[:0]
        room = length - 4 - len(head) - len(middle)
        if room < length // 4:
            return None
        before, suffix = self.around(cut, first, last, piece, room)
        if random.random() < self.mixture.psm_share:
            parts = [([PREFIX], UNSCORED), (head, UNSCORED), (before, TEXT), ([SUFFIX], UNSCORED), (suffix, TEXT), ([MIDDLE], UNSCORED)]
        else:
            parts = [([PREFIX, SUFFIX], UNSCORED), (suffix, TEXT), ([MIDDLE], UNSCORED), (head, UNSCORED), (before, GIVEN)]
        parts += [(middle, INFILLED), ([END], ENDING)]
        ids = np.concatenate([np.asarray(ids, np.int32) for ids, _ in parts])
        return ids, np.concatenate([np.full(len(ids), score, np.uint8) for ids, score in parts])

    def backed_up(self, piece: int, cut: tuple[int, int]) -> tuple[int, int]:
        """Where a server begins to spell again what stands before the cursor, at the most from the piece's start on."""
        piece_start = int(self.store.pieces[piece])
        _, rest = self.vocabulary.back_up(self.store.fresh(piece_start, cut[0]).tolist())
        start = cut[0] - len(rest)
        # A token may end within a character, and text is encoded in whole ones.
        while start > piece_start and self.store.text[start] & 0xC0 == 0x80:
            start -= 1
        return start, cut[1]

    def around(self, cut: tuple[int, int], first: int, last: int, piece: int, room: int):
        """What is shown before and after the cut: the prefix's end and the suffix's start, together `room` tokens."""
        store, most = self.store, self.most_suffix(room)
        next_piece = min(max(store.piece_at(cut[1]), piece + 1), last)
        suffix = store.fresh(cut[1], int(store.pieces[next_piece]))
        begin = int(store.piece_ids[next_piece])
        suffix = np.concatenate([suffix, store.ids[begin:min(begin + room, int(store.piece_ids[last]))]])
        line = store.fresh(int(store.pieces[piece]), cut[0])
        end = int(store.piece_ids[piece])
        prefix = np.concatenate([store.ids[max(int(store.piece_ids[first]), end - room):end], line])
        # What the prefix leaves free is the suffix's, unless no more of that is ever shown.
        left = max(most, room - len(prefix)) if most > SHOWN_SUFFIX or self.random.random() < 0.7 else most
        suffix = suffix[:left]
        return prefix[max(0, len(prefix) - (room - len(suffix))):], suffix

    def most_suffix(self, room: int) -> int:
        """As servers on the CPU show it, as those on a GPU do, any share, or none."""
        draw = self.random.random()
        if draw < 0.45:
            return min(SHOWN_SUFFIX, room // 4)
        if draw < 0.8:
            return room // 4
        return self.random.randrange(room // 2 + 1) if draw < 0.95 else 0

    def name(self, file: int) -> np.ndarray:
        """As the server names a file: within the prefix, before its text."""
        path = self.store.encode_fresh(f"{self.store.paths[file]}\n".encode())[-64:]
        return np.concatenate([np.array([FILENAME], self.store.ids.dtype), path])
