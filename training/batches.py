"""Batches of examples from worker processes, the same number of tokens in each, all rows of a batch of one length."""
import os
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from examples import ExampleSource, Mixture
from text_store import load_store

# Shares of the tokens by length: short rows hold most middles, long ones teach the positions that are served.
LENGTHS = {128: 0.10, 256: 0.25, 512: 0.25, 1024: 0.25, 2048: 0.15}


@dataclass(frozen=True)
class BatchPlan:
    store: Path
    tokens: int
    longest: int
    seed: int
    mixture: Mixture = Mixture()
    lengths: dict[int, float] = field(default_factory=LENGTHS.copy)

    def length(self, index: int) -> int:
        """Of every row of batch number `index`, on whichever machine."""
        lengths = [length for length in self.lengths if length <= min(self.longest, self.tokens)]
        weights = [self.lengths[length] for length in lengths]
        return Random(f"{self.seed} {index}").choices(lengths, weights)[0]


class Batches(IterableDataset):
    """Endless (ids int32 [rows, length], scores uint8 [rows, length]); worker w of n makes batches w, w + n, and so on."""

    def __init__(self, plan: BatchPlan, rank: int = 0):
        self.plan, self.rank = plan, rank

    def __iter__(self):
        worker = get_worker_info()
        index, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        source = ExampleSource(
            load_store(self.plan.store), Random(f"{self.plan.seed} {self.rank} {index}"), self.plan.mixture
        )
        while True:
            length = self.plan.length(index)
            ids, scores = source.rows(self.plan.tokens // length, length)
            yield torch.from_numpy(ids), torch.from_numpy(scores)
            index += stride


def start_batches(plan: BatchPlan, workers: int, rank: int, pinned: bool):
    """Workers start here: call it before a GPU is used, for they are forked."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    several = {"prefetch_factor": 4} if workers else {}
    return iter(DataLoader(Batches(plan, rank), batch_size=None, num_workers=workers, pin_memory=pinned, **several))


def shifted(ids: Tensor, scores: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What each position is to predict, as what it counts and with what weight; each [rows * length]. The last predicts
    nothing."""
    targets, kinds = ids.roll(-1, 1).long(), scores.roll(-1, 1).long()
    kinds[:, -1] = 0
    return targets.flatten(), kinds.flatten(), weights[kinds].flatten()
