"""The ops of the catalogue, stock and accelerated in turn, by dtype, size and mode."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import rusttorch
from rusttorch.thresholds import windows

from . import machine, sides
from .cases import Case, Inputs, build, weights
from .results import Record
from .roof import Roof
from .stats import geometric_mean, ratios
from .timing import MOST, compare, quiet

#: What a call that goes to stock torch may cost on top, in seconds.
DECLINED_COST = 100e-9
#: The share of the time for measuring everything once; the rest is for a second look at losses.
FIRST = 0.8


@dataclass(frozen=True)
class Settings:
    """How to run the cases."""

    seconds: float
    threads: int
    shipped: bool = False
    policy: bool = False

    @property
    def min_numel(self) -> int | None:
        """What the accelerated side is patched with."""
        return None if self.shipped else 0


def run(cases: Sequence[Case], settings: Settings, roof: Roof, console: Console) -> list[Record]:
    """Measures every case within about ``settings.seconds``; what looks like a loss is measured again, for longer."""
    records = list(_measure(cases, settings, roof, settings.seconds * FIRST, "measuring", console))
    doubtful = [record.case for record in records if is_loss(record)]
    # No more for each than four times what it had.
    seconds = settings.seconds * min(1 - FIRST, 4 * len(doubtful) / max(1, len(cases)))
    again = {
        record.case: record
        for record in _measure(doubtful, settings, roof, seconds, "again, what looked slower", console, 2 * MOST)
    }
    return [again.get(record.case, record) for record in records]


def _measure(
    cases: Sequence[Case],
    settings: Settings,
    roof: Roof,
    seconds: float,
    title: str,
    console: Console,
    most: int = MOST,
) -> Iterator[Record]:
    isa, inputs = machine.isa(), Inputs()
    shares = list(weights(cases))
    left, end = sum(shares), time.perf_counter() + seconds
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[now]}"),
    )  # fmt: skip
    # The display's thread would wake up inside timed regions.
    progress = Progress(*columns, console=console, auto_refresh=False, disable=not console.is_terminal)
    with quiet(), progress, rusttorch.memory.policy() if settings.policy else nullcontext():
        task = progress.add_task(title, total=len(cases), now="")
        for case, share in zip(cases, shares, strict=True):
            progress.update(task, now=f"{case.call} {case.dtype} {case.size:,} {case.mode}")
            progress.refresh()
            budget = max(0.0, end - time.perf_counter()) * share / left
            left -= share
            yield measure(case, settings, roof, budget, isa, inputs, most)
            progress.advance(task)
        progress.refresh()


def measure(
    case: Case, settings: Settings, roof: Roof, budget: float, isa: str, inputs: Inputs, most: int = MOST
) -> Record:
    """One case."""
    work = build(case, inputs)
    ours = sides.kernels(case.op, settings.min_numel)
    try:
        with ours():
            counted = sides.taken(case.op)
            if work.prepare:
                work.prepare()
            work.run(1)
            taken = sides.taken(case.op) > counted
        stock, accelerated = compare(work, (sides.stock, ours), budget, most)
    finally:
        work.close()
    kind, traffic = case.traffic
    limit, floor = roof.floor(kind, traffic, case.flops, case.dtype)
    return Record(
        case=case,
        isa=isa,
        threads=settings.threads,
        sizes="shipped" if settings.shipped else "forced",
        policy=settings.policy,
        vendor=rusttorch.system()["vendor"],
        taken=taken,
        stock=statistics.median(stock),
        ours=statistics.median(accelerated),
        ratio=ratios(accelerated, stock),
        limit=limit,
        floor=floor,
    )


def in_window(record: Record) -> bool:
    """Whether the shipped thresholds give this case to the kernel."""
    case = record.case
    door, kind = rusttorch.system()["door"] or 1, case.row.kind(case.call)
    sizes = windows(case.row, record.vendor, record.isa, door, None, kind)
    low, high = sizes[case.mode, case.dtype]
    return low is not None and low <= case.size and (high is None or case.size <= high)


def is_loss(record: Record) -> bool:
    """Whether users would find the case slower than stock, beyond noise.

    A call that stock torch gets may cost `DECLINED_COST` more. One that was forced on a kernel counts only where the
    shipped thresholds would give it to the kernel as well.
    """
    if not record.ratio.loss:
        return False
    if record.sizes == "forced":
        return in_window(record)
    return record.taken or record.stock * (record.ratio.low - 1) > DECLINED_COST


def tables(records: Sequence[Record]) -> Iterator[Table]:
    """Speed-ups by size, a table for each dtype and mode."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.case.mode, record.case.dtype), []).append(record)
    for (mode, dtype), group in sorted(groups.items()):
        sizes = sorted({record.case.size for record in group})
        table = Table(title=f"{mode}, {dtype}: times faster than stock", title_justify="left")
        table.add_column("call", no_wrap=True)
        for size in sizes:
            table.add_column(short(size), justify="right")
        table.add_column("of roof", justify="right")
        for call in dict.fromkeys(record.case.call for record in group):
            found = {record.case.size: record for record in group if record.case.call == call}
            cells = [_cell(found[size]) if size in found else "" for size in sizes]
            best = max(found.values(), key=lambda record: record.fraction)
            table.add_row(call, *cells, f"{best.fraction:.0%} {best.limit}")
        yield table


def _cell(record: Record) -> str:
    text = f"{1 / record.ratio.median:.2f}"
    if not record.taken:
        return f"[dim]{text}[/]"
    style = "green" if record.ratio.gain else "red" if record.ratio.loss else ""
    return f"[{style}]{text}[/]" if style else text


def summary(records: Sequence[Record]) -> list[str]:
    """What to say at the end: the mean, and each loss."""
    taken = [record for record in records if record.taken]
    lines = [
        f"{len(records)} cases, {len(taken)} of them run by kernels;"
        f" geometric mean of their speed-ups {geometric_mean(1 / record.ratio.median for record in taken):.2f}."
        " Dim: stock torch had the call. Green and red: beyond noise."
    ]
    for record in filter(is_loss, records):
        spread = record.ratio
        lines.append(
            f"[red]slower[/]: {record.case.call} {record.case.dtype} {record.case.mode} {record.case.size:,}:"
            f" {spread.median:.2f} of stock's time ({spread.low:.2f}-{spread.high:.2f}),"
            f" {record.stock * 1e6:.2f} us stock, {'kernel' if record.taken else 'declined'}"
        )
    return lines


def short(size: int) -> str:
    """Such as 64K."""
    for unit, letter in ((2**20, "M"), (2**10, "K")):
        if size >= unit and size % unit == 0:
            return f"{size // unit}{letter}"
    return str(size)
