"""Stock torch and RustTorch, as contexts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import rusttorch
from rusttorch.patching import built

from .timing import Side

stock: Side = nullcontext


def kernels(op: str | None, min_numel: int | None) -> Side:
    """The kernels alone, without the memory policy: of one op or of all; ``None`` for the shipped thresholds.

    At any size, shapes that do not pay stay stock torch's: the thresholds do not depend on them.
    """

    @contextmanager
    def patched() -> Iterator[rusttorch.Handle]:
        with rusttorch.patch(op, min_numel=min_numel, memory=False) as handle:
            for name in handle.ops:
                built()[name].native.set_weighs(True)
            yield handle

    return patched


def taken(op: str) -> int:
    """How many calls the op's kernel has taken; `rusttorch.report` would also search all modules."""
    found = built().get(op)
    return found.native.counters()["calls"] if found else 0
