"""Loss on text that the model has not seen, while it trains: the same examples every time."""
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from batches import LENGTHS, shifted
from decoder import Decoder
from examples import ENDING, GIVEN, INFILLED, TEXT, ExampleSource
from text_store import load_store, token_bytes


class HeldOut:
    def __init__(self, store: Path, tokens: int, positions: int, device: torch.device, seed: int = 0):
        store = load_store(store)
        source = ExampleSource(store, Random(seed))
        self.token_bytes = torch.from_numpy(token_bytes(store.tokenizer)).float().to(device)
        lengths = [length for length in LENGTHS if length <= min(positions, 1024, tokens)]
        self.batches = [
            [torch.from_numpy(array).to(device) for array in source.rows(tokens // length, length)] for length in lengths
        ]

    def losses(self, model: Decoder) -> dict[str, float]:
        """Nats a token of text and of middles, and a byte of text. With gradients, though nobody asks for them: the compiled
        forms are there."""
        sums = torch.zeros(5, device=model.embedding.device)
        weights = torch.ones(ENDING + 1, device=model.embedding.device)
        for ids, scores in self.batches:
            sums += self.sums(model, ids, scores, weights)
        text, texts, size, middle, middles = sums.tolist()
        return {"text": round(text / max(1, texts), 5), "middle": round(middle / max(1, middles), 5),
                "per_byte": round(text / max(1, size), 5)}

    def sums(self, model: Decoder, ids: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
        targets, kinds, row_weights = shifted(ids, scores, weights)
        _, rows = model.loss(model(ids), targets, row_weights, kinds == GIVEN)
        text, infilled = ((kinds == TEXT) | (kinds == GIVEN)).float(), (kinds >= INFILLED).float()
        return torch.stack([rows @ text, text.sum(), self.token_bytes[targets] @ text, rows @ infilled, infilled.sum()])
