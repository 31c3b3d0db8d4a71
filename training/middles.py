"""Where fill-in-the-middle cuts a text: mostly as a cursor does. Bavarian et al., "Efficient Training of Language Models to
Fill in the Middle" (2022) cut at random places alone; single lines and words are what an editor asks for."""
import math
import re
from itertools import accumulate
from random import Random

from text_store import NEWLINE, TextStore

# How often a middle is of each kind.
KINDS = {"rest_of_line": 0.50, "whole_line": 0.12, "lines": 0.10, "word": 0.14, "span": 0.12, "nothing": 0.02}
NAMES, CUMULATED = list(KINDS), list(accumulate(KINDS.values()))
WORD = re.compile(rb"[A-Za-z_][A-Za-z_0-9]*")
# What an editor closes by itself when it is opened.
CLOSERS = b")]}\"':,;"
CLOSED_SHARE = 0.15
MOST_LINES = 8
SPAN_BYTES = (2, 400)


def draw_middle(store: TextStore, piece: int, last_byte: int, random: Random) -> tuple[int, int] | None:
    """Bytes [start, end) of the text that begin in the last line of a piece; None where it has nothing of that kind.

    last_byte: where the file ends.
    """
    start, end = int(store.pieces[piece]), int(store.pieces[piece + 1])
    line_start = start + store.text[start:end].tobytes().rfind(b"\n") + 1
    line = store.text[line_start:end].tobytes()
    indent = len(line) - len(line.lstrip())
    if indent == len(line):
        return None
    kind = random.choices(NAMES, cum_weights=CUMULATED)[0]
    column = random.randrange(indent, len(line))
    cut = MIDDLES[kind](store, piece, line, indent, column, random)
    if cut is None:
        return None
    first, last = line_start + cut[0], min(line_start + cut[1], last_byte)
    first, last = character_start(store, first), character_start(store, last)
    return (first, last) if first <= last else None


def rest_of_line(store, piece, line, indent, column, random):
    if random.random() < CLOSED_SHARE:
        inner = len(line.rstrip(CLOSERS))
        if column < inner:
            return column, inner
    return column, len(line)


def whole_line(store, piece, line, indent, column, random):
    return (indent if random.random() < 0.7 else 0), len(line)


def lines(store, piece, line, indent, column, random):
    """This line, from a random column, its start or its indentation, and up to seven more."""
    more = 1
    while more < MOST_LINES - 1 and random.random() < 0.6:
        more += 1
    last = min(piece + more, store.num_pieces - 1)
    start = random.choice((column, indent, 0))
    return start, len(line) + int(store.pieces[last + 1]) - int(store.pieces[piece + 1])


def word(store, piece, line, indent, column, random):
    """A word, or the rest of it."""
    words = [match.span() for match in WORD.finditer(line)]
    if not words:
        return None
    start, end = random.choice(words)
    return (start if random.random() < 0.5 else random.randrange(start, end)), end


def span(store, piece, line, indent, column, random):
    shortest, longest = map(math.log, SPAN_BYTES)
    return column, column + int(math.exp(random.uniform(shortest, longest)))


def nothing(store, piece, line, indent, column, random):
    place = len(line) if random.random() < 0.5 else column
    return place, place


MIDDLES = {"rest_of_line": rest_of_line, "whole_line": whole_line, "lines": lines, "word": word, "span": span, "nothing": nothing}


def character_start(store: TextStore, byte: int) -> int:
    """This byte, or the next that begins a character of UTF-8."""
    while byte < len(store.text) and store.text[byte] & 0xC0 == 0x80:
        byte += 1
    return byte
