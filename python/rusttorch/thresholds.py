"""The sizes at which each kernel wins, as measured by the bench: ``thresholds.json``."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

from . import _rusttorch
from .catalog import Along, Index, Nary, Row, Select, Step

MODES = ("forward", "inplace", "training")

#: Where the bench has no entry: from how many elements, by mode; never for double precision, whose functions cost
#: several times as much.
DEFAULT: dict[str, list[int | None] | None] = {"forward": [0, None], "inplace": [0, None], "training": [262144, None]}
MEASURED_ONLY = ("float64",)

#: Elements below which the slower doors cost more than a kernel gains, by tier.
DOOR_FLOOR = {1: 0, 2: 8192, 3: 32768}


@functools.lru_cache(maxsize=1)
def measured() -> dict[str, Any]:
    """The shipped file: vendor, instruction set, op (and kind of input), dtype, mode, then ``[low, high]`` or null."""
    return json.loads(resources.files("rusttorch").joinpath("thresholds.json").read_text("utf-8"))


@functools.cache
def table(vendor: str, isa: str) -> dict[str, Any]:
    """The shipped windows of a vendor's CPUs: stock torch's libraries choose their code by the vendor as well.

    Of an op that was not measured on them, the sizes at which the kernel wins on all others.
    """
    known = {name: isas[isa] for name, isas in measured().items() if isa in isas}
    others = [ops for name, ops in known.items() if name != vendor]
    return (functools.reduce(_common, others) if others else {}) | known.get(vendor, {})


def _common(one: Any, other: Any) -> Any:
    """What two windows, or tables of windows, have in common."""
    if isinstance(one, dict):
        return one | other | {name: _common(one[name], other[name]) for name in one if name in other}
    if one is None or other is None:
        return None
    low = max(one[0], other[0])
    high = min((high for high in (one[1], other[1]) if high is not None), default=None)
    return [low, high] if high is None or low <= high else None


def by_shape(op: Row) -> bool:
    """Whether the kernel says by the tensors' shapes which calls pay: the size of one of two factors tells little."""
    return isinstance(op, Index) and op.multiplies


def windows(
    op: Row, vendor: str, isa: str, door: int, min_numel: int | None, kind: int = 0
) -> dict[tuple[str, str], tuple[int | None, int | None]]:
    """``(mode, dtype)`` to the sizes, inclusive, at which the kernel takes the call, of an input of the kind at this
    index; low ``None`` means never.
    """
    shipped = table(vendor, isa).get(op.sized[kind], {})
    # Stock torch multiplies by the CPU's own instructions at the hardware's limit; of few rows of single precision the
    # kernel knows better.
    stocks = _rusttorch.multiplied(isa) if isinstance(op, (Nary, Index)) and op.multiplies else []
    result: dict[tuple[str, str], tuple[int | None, int | None]] = {}
    for mode in MODES:
        for dtype in op.dtypes:
            if mode == "training" and not op.trains:
                result[mode, dtype] = (None, None)
                continue
            if min_numel is not None:
                result[mode, dtype] = (min_numel, None)
                continue
            if dtype in stocks and (mode, dtype) != ("forward", "float32"):
                result[mode, dtype] = (None, None)
                continue
            if mode == "forward" and by_shape(op):
                result[mode, dtype] = (0, None)
                continue
            # An optimizer's step saves reading and writing, and comparing costs the same, whatever the numbers are.
            measured_only = dtype in MEASURED_ONLY and not isinstance(op, (Along, Index, Select, Step))
            fallback = None if measured_only else DEFAULT[mode]
            window = shipped.get(dtype, {}).get(mode, fallback)
            low, high = window if window is not None else (None, None)
            if low is not None:
                low = max(low, DOOR_FLOOR[door])
                if high is not None and low > high:
                    low = None
            result[mode, dtype] = (low, high)
    return result
