"""Greedy completion of many prompts at once, the whole sequence computed again for every token: no cache of any kind, so that
what it says holds for every architecture and nothing can be wrong but the model."""
from dataclasses import dataclass, field

import torch
from tokenizers import Tokenizer

from control_tokens import CONTROL_TOKENS, END, MIDDLE, PREFIX, SUFFIX
from decoder import Decoder
from healing import Vocabulary

# Rows are padded to a multiple of so many tokens.
GRAIN = 64


@dataclass
class Row:
    prompt: list[int]
    rest: bytes = b""  # of the prompt's text, to be spelled again before anything new is
    drawn: list[int] = field(default_factory=list)
    ended: bool = False  # by itself
    num_given: int = 0  # bytes at the start of what is drawn that were the prompt's


@dataclass(frozen=True)
class Completion:
    text: str
    ended: bool


def keep_filters(model: Decoder) -> None:
    """Of a model that is trained no more: its long filters are computed once, not for every token."""
    for layer in model.layers:
        for name, lengths in (("shift_filter", ()), ("diagonal_filter", (model.size.positions,)), ("filter", ())):
            if hasattr(layer.mixer, name):
                taps = getattr(layer.mixer, name)(*lengths).detach()
                setattr(layer.mixer, name, lambda length=None, taps=taps: taps[:, :length])


class Completer:
    def __init__(self, model: Decoder, tokenizer: Tokenizer, batch: int = 64):
        self.model, self.tokenizer, self.batch = model, tokenizer, batch
        self.vocabulary = Vocabulary(tokenizer)
        keep_filters(model)
        self.device = model.embedding.device
        self.control = torch.arange(1, len(CONTROL_TOKENS), device=self.device)

    def infill(self, pairs: list[tuple[str, str]], layout: str, most: int, healed: bool = False) -> list[Completion]:
        """What stands between each prefix and suffix, `most` tokens of it."""
        rows = []
        for prefix, suffix in pairs:
            row, after = self.row(prefix, healed), self.encode(suffix)
            row.prompt = (
                [PREFIX, *row.prompt, SUFFIX, *after, MIDDLE] if layout == "psm"
                else [PREFIX, SUFFIX, *after, MIDDLE, *row.prompt]
            )
            rows.append(row)
        return self.complete(rows, most)

    def go_on(self, prefixes: list[str], most: int, healed: bool = False) -> list[Completion]:
        """From left to right."""
        return self.complete([self.row(prefix, healed) for prefix in prefixes], most)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def row(self, prefix: str, healed: bool) -> Row:
        ids = self.encode(prefix)
        if not healed:
            return Row(ids)
        ids, rest = self.vocabulary.back_up(ids)
        return Row(ids, rest, num_given=len(rest))

    @torch.no_grad()
    def complete(self, rows: list[Row], most: int) -> list[Completion]:
        # Prompts of like length share a batch.
        order = sorted(range(len(rows)), key=lambda i: len(rows[i].prompt))
        for start in range(0, len(order), self.batch):
            batch = [rows[i] for i in order[start:start + self.batch]]
            for _ in range(most):
                going = [row for row in batch if not row.ended and self.has_room(row)]
                if not going:
                    break
                for row, logits in zip(going, self.next_logits(going)):
                    self.draw(row, logits)
        return [Completion(self.text(row), row.ended) for row in rows]

    def has_room(self, row: Row) -> bool:
        return len(row.prompt) + len(row.drawn) < self.model.size.positions

    def draw(self, row: Row, logits: torch.Tensor) -> None:
        token = int((logits + self.vocabulary.allowed(row.rest) if row.rest else logits).argmax())
        if token == END:
            row.ended = True
            return
        row.drawn.append(token)
        row.rest = row.rest[len(self.vocabulary.spelling[token]):]

    def text(self, row: Row) -> str:
        drawn = b"".join(self.vocabulary.spelling[token] for token in row.drawn)
        return drawn[row.num_given:].decode(errors="replace")

    def next_logits(self, rows: list[Row]) -> torch.Tensor:
        """[rows, vocabulary] in f32 on the CPU, control tokens out of reach."""
        known = [row.prompt + row.drawn for row in rows]
        length = min(-(-max(map(len, known)) // GRAIN) * GRAIN, self.model.size.positions)
        ids = torch.zeros(len(rows), length, dtype=torch.int32)
        for row, values in zip(ids, known):
            row[:len(values)] = torch.tensor(values)
        x = self.model(ids.to(self.device)).view(len(rows), length, -1)
        lasts = torch.tensor([len(values) - 1 for values in known], device=self.device)
        logits = self.model.logits(x[torch.arange(len(rows), device=self.device), lasts]).float()
        logits[:, self.control] = -torch.inf
        return logits.cpu()
