"""Run the same program stock and accelerated, in turn, and compare what it computes and how long it takes."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import rusttorch


@dataclass
class Side:
    """One way of running the program, and what was seen of it."""

    name: str
    context: Callable[[], AbstractContextManager[object]]
    losses: list[float] = field(default_factory=list)
    #: Seconds of each step, block by block.
    blocks: list[list[float]] = field(default_factory=list)
    #: Highest resident memory during this side's blocks in bytes; 0 where the system does not tell.
    peak: int = 0

    def medians(self) -> list[float]:
        """The median step of each block."""
        return [statistics.median(block) for block in self.blocks]


@dataclass(frozen=True)
class Timing:
    """A median and the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Timing:
        """The quartiles of ``values``."""
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))

    def show(self, digits: int) -> str:
        """Such as ``1.31 (1.28-1.35)``."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


def make_sides() -> list[Side]:
    """Stock torch first; then the memory policy alone, where there is one; then RustTorch as users switch it on."""
    sides = [Side("stock", nullcontext)]
    if rusttorch.memory.available():
        sides.append(Side("memory policy", rusttorch.memory.policy))
    return [*sides, Side("RustTorch", rusttorch.accelerate)]


def interleave(
    sides: Sequence[Side], steppers: Sequence[Callable[[], float]], steps: int, block: int
) -> Iterator[Side]:
    """Step each side's program in blocks, one side after the other, and yield the side after each step.

    Blocks in turn let a noisy neighbour or a throttled clock hit every side alike; the order turns by one each round,
    so that no side always follows the same one.
    """
    for turn, start in enumerate(range(0, steps, block)):
        pairs = list(zip(sides, steppers, strict=True))
        shift = turn % len(pairs)
        for side, step in pairs[shift:] + pairs[:shift]:
            seconds: list[float] = []
            with side.context(), _watch_memory(side):
                for _ in range(min(block, steps - start)):
                    begin = time.perf_counter()
                    loss = step()
                    seconds.append(time.perf_counter() - begin)
                    side.losses.append(loss)
                    yield side
            side.blocks.append(seconds)


def speedup(stock: Side, side: Side) -> Timing:
    """How many times faster than stock a side is: each round's blocks against each other, then the median round."""
    return Timing.of([a / b for a, b in zip(stock.medians(), side.medians(), strict=True)])


def difference(expected: Iterable[float], actual: Iterable[float]) -> float:
    """The largest relative difference between two loss curves; infinite where either is not a number."""
    worst = 0.0
    for a, b in zip(expected, actual, strict=True):
        gap = abs(a - b) / max(abs(a), sys.float_info.min)
        if not gap <= worst:
            worst = gap if gap == gap else float("inf")
    return worst


@contextmanager
def _watch_memory(side: Side) -> Iterator[None]:
    """Note the highest resident memory while the block runs.

    The process has one high-water mark. Linux lets it be reset, which makes it each block's own; elsewhere nothing is
    noted.
    """
    try:
        with open("/proc/self/clear_refs", "w") as refs:
            refs.write("5")
    except OSError:
        yield
        return
    yield
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                side.peak = max(side.peak, int(line.split()[1]) * 1024)
