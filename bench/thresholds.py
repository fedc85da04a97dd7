"""From measurements to ``python/rusttorch/thresholds.json``: the sizes at which each kernel wins, by vendor."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rusttorch.catalog import TENSOR_OPS
from rusttorch.thresholds import by_shape

from .accuracy import is_worse
from .cases import MODES, plain_calls
from .results import BENCH, Record, Store
from .stats import LOSS, Spread

PATH = BENCH.parent / "python" / "rusttorch" / "thresholds.json"

#: A median up to the first is no harm, but noise: stock torch's own repeats differ by as much. Nor is one up to the
#: second whose interval has gains in it.
HARMLESS, DOUBTFUL = 1.01, LOSS
#: To decline late is a loss where it takes a quarter of stock torch's time.
LATE = 1.25
#: An error larger than stock torch's by more units in the last place leaves an op to it.
INEXACT = 0.05
#: Results up to this size say nothing of the sizes beyond them.
ENOUGH = 2**20

Window = list[int | None] | None


def window(spreads: dict[int, Sequence[Spread]]) -> Window:
    """The sizes to give to the kernel, from what was measured at each: ``[low, high]``, or ``None`` for never.

    A size wins where every measurement of it (calls, numbers of threads) is a gain beyond noise, and does no harm where
    none is slower. The window is the one with the most wins, the larger sizes of several such, among those that begin
    with a win and hold nothing harmful; what comes after its last win stays in if it does no harm, and all larger sizes
    do if nothing harmful follows. One size alone, with nothing to be said of its neighbours, is not worth a window.
    """
    sizes = sorted(spreads)
    wins = [all(spread.gain for spread in spreads[size]) for size in sizes]
    harmless = [all(map(is_harmless, spreads[size])) for size in sizes]
    best: tuple[int, int, int] | None = None
    start = 0
    while start < len(sizes):
        if not wins[start]:
            start += 1
            continue
        end = start
        while end < len(sizes) and harmless[end]:
            end += 1
        count = sum(wins[start:end])
        if best is None or count >= best[0]:
            best = (count, start, end)
        start = end
    if best is None:
        return None
    _, start, end = best
    open_ended = end == len(sizes) and sizes[-1] >= ENOUGH
    if end - start == 1 and not open_ended:
        return None
    return [sizes[start], None if open_ended else sizes[end - 1]]


def is_harmless(spread: Spread) -> bool:
    """Whether it is not slower, or may be noise."""
    return spread.median <= HARMLESS or (spread.median <= DOUBTFUL and spread.low <= 1)


def derive(records: Iterable[Record], errors: Mapping[str, Iterable[dict[str, Any]]]) -> dict[str, Any]:
    """Windows by instruction set, op (and kind of input), dtype and mode, from all calls without the memory policy that
    kernels took, or declined late.

    Never, whatever the speed, where stock torch is the more accurate here: by ``errors``, rows of `accuracy.run` by
    instruction set, of the plain call for an op's kind of input.
    """
    inexact = {
        (isa, _sized(row["op"], row["call"]), row["dtype"])
        for isa, rows in errors.items()
        for row in rows
        if row["call"] in plain_calls(TENSOR_OPS[row["op"]]) and is_worse(row, INEXACT)
    }
    groups: dict[tuple[str, str, str, str], dict[int, list[Spread]]] = {}
    for record in records:
        case = record.case
        if record.policy or (case.mode == "forward" and by_shape(case.row)):
            continue
        sizes = groups.setdefault((record.isa, _sized(case.op, case.call), case.dtype, case.mode), {})
        # What the kernel declines by itself needs no threshold, unless that takes long.
        if record.taken or record.ratio.median > LATE:
            sizes.setdefault(case.size, []).append(record.ratio)
    table: dict[str, Any] = {}
    for (isa, op, dtype, mode), sizes in groups.items():
        found = None if (isa, op, dtype) in inexact else window(sizes)
        table.setdefault(isa, {}).setdefault(op, {}).setdefault(dtype, {})[mode] = found
    return table


def _sized(op: str, call: str) -> str:
    """What the table calls the op where its input is as the call's."""
    row = TENSOR_OPS[op]
    return row.sized[row.kind(call)]


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The old windows, each that was measured anew replaced."""
    merged = dict(old)
    for name, value in new.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both else value
    return merged


def dump(table: dict[str, Any]) -> str:
    """The file's text: one dtype a line."""

    def block(value: dict[str, Any], depth: int) -> str:
        if depth == 4:
            return json.dumps({mode: value[mode] for mode in MODES if mode in value})
        names = sorted(value) if depth < 2 else value
        indent = "  " * (depth + 1)
        lines = [f"{indent}{json.dumps(name)}: {block(value[name], depth + 1)}" for name in names]
        return "{\n" + ",\n".join(lines) + "\n" + "  " * depth + "}" if lines else "{}"

    return block(table, 0) + "\n"


def update(store: Store, path: Path = PATH) -> dict[str, Any]:
    """Brings the file up to date with what was measured on a vendor's CPU, and gives back what was derived."""
    new, vendor = derive(store.records, store.accuracy), store.machine["vendor"]
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(dump(merge(old, {vendor: new} if new else {})), encoding="utf-8")
    return new
