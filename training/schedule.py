"""Rates over a run: warm-up, a plateau, and a decay to zero, by the share of the time that has passed. Hägele et al., "Scaling
Laws and Compute-Optimal Training Beyond Fixed Training Durations" (2024): a run that is stopped on the plateau goes on as if it
had never stopped; decay is paid for once, at the end."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    warmup_steps: int
    decay_share: float

    def decaying(self, passed: float) -> bool:
        return passed > 1 - self.decay_share

    def factor(self, step: int, passed: float) -> float:
        """Of the peak rate; `passed` is the share of the run's time from 0 to 1."""
        warm = min(1.0, (step + 1) / self.warmup_steps)
        return warm * (max(0.0, 1 - passed) / self.decay_share if self.decaying(passed) else 1.0)
