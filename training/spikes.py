"""What is done about steps that would throw a model off: skipped where gradients are far above the usual, undone where the
loss has left for good."""
from collections import deque
from statistics import median


class SpikeGuard:
    def __init__(self, ratio: float = 5.0, window: int = 100, warmup: int = 50, rise: float = 0.8, patience: int = 30):
        self.ratio, self.warmup, self.rise, self.patience = ratio, warmup, rise, patience
        self.norms: deque[float] = deque(maxlen=window)
        self.losses: deque[float] = deque(maxlen=patience)
        self.best = float("inf")
        self.skipped = 0

    def skips(self, norm: float) -> bool:
        """Whether a step with gradients of this norm is left out; not many in a row, lest a level that is new counts as one."""
        odd = norm != norm or norm == float("inf")
        usual = median(self.norms) if len(self.norms) >= self.warmup else float("inf")
        skips = odd or norm > self.ratio * usual
        self.skipped = self.skipped + 1 if skips else 0
        if not odd:
            self.norms.append(norm)
        return skips

    def diverged(self, loss: float) -> bool:
        """Whether the mean of the last losses is well above the best such mean, or steps are skipped without end."""
        self.losses.append(loss)
        if self.skipped >= self.patience:
            return True
        if len(self.losses) < self.patience:
            return False
        mean = sum(self.losses) / len(self.losses)
        self.best = min(self.best, mean)
        return not mean <= self.best + self.rise

    def forget(self) -> None:
        """The weights are others now, and may have to come down again from where they are."""
        self.norms.clear(), self.losses.clear()
        self.skipped, self.best = 0, float("inf")
