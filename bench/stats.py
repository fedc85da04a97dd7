"""What repeated measurements say, and how surely."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: A ratio must be below the first to count as a gain and above the second to count as a loss.
GAIN, LOSS = 0.97, 1.03


@dataclass(frozen=True)
class Spread:
    """A median and the interval that holds the true one."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float], confidence: float = 0.95) -> Spread:
        """The median of ``values`` and its interval, from their order alone.

        Timings have outliers on one side and no normal distribution; order statistics need none. With eight values or
        fewer the interval is all of them, which with five or fewer is less than the confidence asked for.
        """
        ordered = sorted(values)
        skip = _ranks_outside(len(ordered), confidence)
        return cls(statistics.median(ordered), ordered[skip], ordered[-1 - skip], len(ordered))

    @property
    def gain(self) -> bool:
        """Whether this ratio to stock is a gain beyond noise."""
        return self.median < GAIN and self.high < 1

    @property
    def loss(self) -> bool:
        """Whether this ratio to stock is a loss beyond noise."""
        return self.median > LOSS and self.low > 1

    def inverse(self) -> Spread:
        """The spread of the reciprocals: ratios to speed-ups."""
        return Spread(1 / self.median, 1 / self.high, 1 / self.low, self.rounds)

    def show(self, digits: int = 2) -> str:
        """Such as ``1.31 (1.28-1.35)``."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


def _ranks_outside(count: int, confidence: float) -> int:
    """How many values to drop at each end so that the rest covers the median with the confidence."""
    # The interval misses the median if no more than the dropped ones are on one side of it.
    dropped, misses = 0, 2 / 2**count
    while dropped + 1 <= (count - 1) // 2:
        misses += 2 * math.comb(count, dropped + 1) / 2**count
        if misses > 1 - confidence:
            break
        dropped += 1
    return dropped


def ratios(ours: Sequence[float], stock: Sequence[float]) -> Spread:
    """Each round's time against the same round's time of stock torch: what disturbs both cancels."""
    return Spread.of([a / b for a, b in zip(ours, stock, strict=True)])


def geometric_mean(values: Iterable[float]) -> float:
    """The geometric mean; not a number without values."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan
