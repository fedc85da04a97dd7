"""Timing ways of doing the same work in turn."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from .cases import Work

#: One way: a context in which the work runs, entered and left outside the timed region.
Side = Callable[[], AbstractContextManager[Any]]

#: Rounds of a comparison: below the fewest there is no saying what is noise.
FEWEST, MOST = 3, 15
#: A pass must be long against the clock's resolution and the loop around the calls.
SHORTEST_PASS = 20e-6
#: Passes of a sample, of which the fastest counts: what preempts one does not preempt them all.
PASSES = 3
#: The same where the input's use limits the calls of a pass.
MOST_PASSES = 20
#: A call this long needs no warming up.
SLOW = 5e-3


@contextmanager
def quiet() -> Iterator[None]:
    """No garbage collection inside."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def one_pass(work: Work, count: int) -> float:
    """Seconds of a call, over one pass of ``count`` calls."""
    if work.prepare:
        work.prepare()
    start = time.perf_counter()
    work.run(count)
    return (time.perf_counter() - start) / count


def calibrate(work: Work) -> float:
    """Seconds of a call, roughly; warms up as well."""
    seconds, count = one_pass(work, 1), 1
    if seconds < SLOW:
        seconds = min(seconds, one_pass(work, 1))
    most = work.limit or 2**20
    while seconds * count < SHORTEST_PASS and count < most:
        count = min(count * 4, most)
        seconds = one_pass(work, count)
    return seconds


@dataclass(frozen=True)
class Schedule:
    """How often to do what: ``rounds``, in each and for each side ``passes`` of ``calls``."""

    rounds: int
    passes: int
    calls: int
    warm: bool

    @classmethod
    def fit(cls, seconds: float, sides: int, call: float, limit: int | None, most: int) -> Schedule:
        """What fits into the time, when a call takes ``call`` seconds."""
        warm = call < SLOW
        turns = int(seconds / (sides * call))
        rounds = max(FEWEST, min(most, turns // (1 + warm)))
        calls = max(1, turns // rounds - warm)
        if limit:
            calls_a_pass = min(limit, calls)
            return cls(rounds, max(1, min(calls // calls_a_pass, MOST_PASSES)), calls_a_pass, warm)
        passes = PASSES if calls >= PASSES and calls * call >= PASSES * SHORTEST_PASS else 1
        return cls(rounds, passes, calls // passes, warm)


def compare(work: Work, sides: Sequence[Side], budget: float, most: int = MOST) -> list[list[float]]:
    """Seconds of a call for each side, round by round, within about ``budget`` seconds.

    The order of the sides reverses each round, so that a slow drift of the machine favours none. At least `FEWEST`
    rounds are made, whatever they take.
    """
    deadline = time.perf_counter() + budget
    times: list[list[float]] = [[] for _ in sides]
    slowest = 0.0
    for side in sides:
        with side():
            slowest = max(slowest, calibrate(work))
    schedule = Schedule.fit(max(deadline - time.perf_counter(), 0.0), len(sides), slowest, work.limit, most)
    for turn in range(schedule.rounds):
        order = range(len(sides)) if turn % 2 else reversed(range(len(sides)))
        for index in order:
            with sides[index]():
                if schedule.warm:
                    one_pass(work, 1)
                times[index].append(min(one_pass(work, schedule.calls) for _ in range(schedule.passes)))
        if turn + 1 >= FEWEST and time.perf_counter() > deadline:
            break
    return times
