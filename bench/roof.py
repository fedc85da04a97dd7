"""What the machine allows at best: bandwidth by working set, and arithmetic, measured on the spot."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

METHOD = (
    "Bandwidth: the fastest of several calls of torch's copy_ (two buffers), neg_ (in place) and sum (read only) on"
    " float32 buffers written before; a smaller working set is taken to be no slower than a larger one, so that the"
    " cost of a call does not count as memory's. Arithmetic: the fastest of several torch.mm of square matrices, whose"
    " multiply-adds are counted; halves are computed in float32. A peak from instruction counts alone would be higher."
)

_BYTES = tuple(2**power for power in range(14, 30))
_MATRICES = (256, 512, 1024)


def _best(call: Callable[[], Any], seconds: float) -> float:
    """The fastest call within the time, of at least three."""
    best, end, count = math.inf, time.perf_counter() + seconds, 0
    while count < 4 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best, count = min(best, time.perf_counter() - start), count + 1
    return best


def measure(seconds: float = 6.0) -> dict[str, Any]:
    """Bandwidth in bytes a second by kind and working set, and fused multiply-adds a second by dtype."""
    import torch

    share = seconds / (3 * len(_BYTES) + 2 * len(_MATRICES))
    bandwidth: dict[str, list[list[float]]] = {"copy": [], "inplace": [], "read": []}
    for size in _BYTES:
        whole, half = torch.ones(size // 4), torch.ones(size // 8)
        target = torch.ones_like(half)
        bandwidth["copy"].append([size, size / _best(lambda a=target, b=half: a.copy_(b), share)])
        bandwidth["inplace"].append([size, 2 * size / _best(lambda a=whole: a.neg_(), share)])
        bandwidth["read"].append([size, size / _best(lambda a=whole: a.sum(), share)])
    rates = {}
    for name in ("float32", "float64"):
        for size in _MATRICES:
            a, b = (torch.randn(size, size, dtype=getattr(torch, name)) for _ in range(2))
            out = torch.empty_like(a)
            rate = size**3 / _best(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), share)
            rates[name] = max(rates.get(name, 0.0), rate)
    return {"method": METHOD, "bandwidth": bandwidth, "fma": rates}


class Roof:
    """The least time that a case can take."""

    def __init__(self, measured: dict[str, Any]) -> None:
        self.fma: dict[str, float] = measured["fma"]
        self._curves: dict[str, list[tuple[float, float]]] = {}
        for kind, points in measured["bandwidth"].items():
            best, curve = 0.0, []
            for size, rate in reversed(points):
                best = max(best, rate)
                curve.append((math.log2(size), best))
            self._curves[kind] = curve[::-1]

    def bandwidth(self, kind: str, working_set: float) -> float:
        """Bytes a second of a kind of traffic for a working set."""
        curve = self._curves[kind]
        place = math.log2(max(working_set, 1))
        if place <= curve[0][0]:
            return curve[0][1]
        for (left, a), (right, b) in pairwise(curve):
            if place <= right:
                return a + (b - a) * (place - left) / (right - left)
        return curve[-1][1]

    def rate(self, dtype: str) -> float:
        """Fused multiply-adds a second."""
        return self.fma["float64" if dtype == "float64" else "float32"]

    def floor(self, kind: str, traffic: int, flops: int, dtype: str) -> tuple[str, float]:
        """Which of memory and arithmetic binds, and the seconds that it takes."""
        memory = traffic / self.bandwidth(kind, traffic / 2 if kind == "inplace" else traffic)
        compute = flops / self.rate(dtype)
        return ("memory", memory) if memory >= compute else ("compute", compute)
