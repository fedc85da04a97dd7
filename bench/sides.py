"""Stock torch and RustTorch, as contexts."""

from __future__ import annotations

from contextlib import nullcontext

import rusttorch
from rusttorch.patching import built

from .timing import Side

stock: Side = nullcontext


def kernels(op: str | None, min_numel: int | None) -> Side:
    """The kernels alone, without the memory policy: of one op or of all; ``None`` for the shipped thresholds."""
    return lambda: rusttorch.patch(op, min_numel=min_numel, memory=False)


def taken(op: str) -> int:
    """How many calls the op's kernel has taken; `rusttorch.report` would also search all modules."""
    found = built().get(op)
    return found.native.counters()["calls"] if found else 0
