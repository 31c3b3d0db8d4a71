"""Holes in files that a model has not seen, as bench/infill_holes.ts of the server digs them, and of two kinds more."""
import re
from dataclasses import dataclass
from random import Random

WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
KINDS = ("line", "lines", "word")


@dataclass(frozen=True)
class Hole:
    kind: str
    prefix: str
    middle: str
    suffix: str


def dig(files: list[str], kind: str, count: int, seed: int, before: int = 1500, after: int = 500) -> list[Hole]:
    """Each in a file chosen anew: the rest of a line from a random column (line), with two to four lines more (lines), or the
    rest of a word (word); so many characters are shown before and after."""
    random = Random(f"{kind} {seed}")
    holes = []
    while len(holes) < count:
        lines = random.choice(files).split("\n")
        row = random.randrange(len(lines))
        line = lines[row].rstrip()
        indent = len(line) - len(line.lstrip())
        if not line or not line.isascii() or not line.isprintable():
            continue
        start = end = 0
        if kind == "word":
            words = [match.span() for match in WORD.finditer(line) if match.end() - match.start() > 2]
            if not words:
                continue
            first, end = random.choice(words)
            start = random.randrange(first, end)
            last = row
        else:
            start = random.randrange(indent, len(line))
            last = row + (random.randint(2, 4) if kind == "lines" else 0)
            if last >= len(lines) or (kind == "lines" and not lines[last].strip()):
                continue
            end = len(lines[last].rstrip())
        text = "\n".join([line[start:], *lines[row + 1:last], lines[last][:end]]) if last > row else line[start:end]
        prefix = "\n".join([*lines[:row], line[:start]])
        # What follows a line's end is its line break, whatever blanks stood before.
        suffix = (line[end:] if kind == "word" else "") + "".join("\n" + other for other in lines[last + 1:])
        holes.append(Hole(kind, prefix[-before:], text, suffix[:after]))
    return holes
