"""Token healing, as engine/token_healing.ts of the server does it: a prompt that ends within what the vocabulary has as one
token is backed up, and what was taken away is spelled again by the first tokens drawn."""
from bisect import bisect_left, bisect_right
from functools import lru_cache

import torch
from tokenizers import Tokenizer

from control_tokens import CONTROL_TOKENS


class Vocabulary:
    """What each id is spelled as, in bytes; control tokens as nothing."""

    def __init__(self, tokenizer: Tokenizer):
        alphabet = byte_alphabet()
        self.spelling = [b""] * tokenizer.get_vocab_size()
        for token, index in tokenizer.get_vocab().items():
            if token not in CONTROL_TOKENS:
                self.spelling[index] = bytes(alphabet[character] for character in token)
        self.order = sorted((index for index, token in enumerate(self.spelling) if token), key=self.spelling.__getitem__)
        self.keys = [self.spelling[index] for index in self.order]
        self.longest = max(map(len, self.keys))
        self.allowed = lru_cache(4096)(self._allowed)

    def has_longer(self, text: bytes) -> bool:
        """Whether a token begins with this and goes on."""
        after = bisect_right(self.keys, text)
        return after < len(self.keys) and self.keys[after].startswith(text)

    def back_up(self, ids: list[int]) -> tuple[list[int], bytes]:
        """ids without the longest end that is the beginning of a longer token, and that end's bytes."""
        taken, kept, text = b"", len(ids), b""
        for count in range(1, len(ids) + 1):
            text = self.spelling[ids[-count]] + text
            if not self.spelling[ids[-count]] or len(text) >= self.longest:
                break
            if self.has_longer(text):
                taken, kept = text, len(ids) - count
        return ids[:kept], taken

    def _allowed(self, rest: bytes) -> torch.Tensor:
        """Added to logits: 0 for tokens that begin with `rest`, or that it begins with, and -inf for all others."""
        mask = torch.full((len(self.spelling),), -torch.inf)
        first, last = bisect_left(self.keys, rest), bisect_left(self.keys, rest + b"\xff" * self.longest)
        mask[self.order[first:last]] = 0
        for length in range(1, len(rest)):
            at = bisect_left(self.keys, rest[:length])
            if at < len(self.keys) and self.keys[at] == rest[:length]:
                mask[self.order[at]] = 0
        return mask


def byte_alphabet() -> dict[str, int]:
    """GPT-2's characters for bytes: those that can be printed stand for themselves, others from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
