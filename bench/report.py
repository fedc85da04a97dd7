"""From saved figures to PERFORMANCE.md and its plots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rusttorch.catalog import DTYPES, FLOATS, TENSOR_OPS
from rusttorch.thresholds import table

from . import accuracy, calls, machine, roof, steps
from .cases import MODES
from .ops import is_loss, short
from .results import BENCH, COMMITTED, OUT, Record, Store
from .stats import Spread, geometric_mean

PAGE = BENCH.parent / "PERFORMANCE.md"
PLOTS = BENCH / "plots"

#: The size that the tables show; the plots have them all.
SIZE = 2**20

_INTRO = """\
# Performance

Every figure here was measured by `python -m bench` and written by `python -m bench report`; nothing was typed in. They
belong to the machine named above them, and no other: repeat them on yours.

- Stock torch and RustTorch take turns in one process (A B B A ...), with the patch put in and taken out between,
  outside the timed region. A figure is the median over the rounds of one round's ratio, and in brackets is the interval
  that holds the true median in 95 of 100 cases (from order statistics; of five rounds or fewer, all of them).
- *Times faster*: stock's time over RustTorch's; below 1, stock is faster. *Beyond noise*: the interval does not hold 1,
  and the median is more than 3 % from it.
- *Forward* is a call that needs no gradient, *in place* the same into its input, *training* a call on an input that
  requires a gradient, with its backward pass.
- Ops are measured without the memory policy, so that these are the kernels' gains alone. Outputs above 32 MiB are paged
  in anew by both sides, and the gains shrink there. Programs show the policy in a column of its own.
"""

_REPEAT = """\
## Repeating it

```sh
pip install '.[bench]'
python -m bench --shipped        # ops, as users get them; fails where one is slower than stock beyond noise
python -m bench steps
python -m bench programs
python -m bench calls
python -m bench accuracy
python -m bench report --save    # keeps a short copy of the figures, and writes this page
```

`python -m bench --quick` takes two minutes. `python -m bench ops && python -m bench thresholds` measures each kernel at
every size and sets the sizes at which it is used; `--isa avx2` keeps RustTorch, torch and torch's libraries to AVX2.
`python -m bench accuracy --exhaustive` tries every float32.
"""


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table, its first ``left`` columns flush left."""
    lines = [headings, ["---" if index < left else "---:" for index in range(len(headings))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(stores: Sequence[Store], page: Path = PAGE, plots: Path | None = PLOTS) -> None:
    """The page over all machines; without ``plots``, without figures."""
    for path in plots.glob("*.svg") if plots else ():
        path.unlink()
    parts = [_INTRO]
    for store in stores:
        parts += _machine(store, page, plots)
    parts.append(_REPEAT)
    page.write_text("\n".join(part.rstrip("\n") + "\n" for part in parts), encoding="utf-8")


def saved() -> list[Store]:
    """The committed figures, all machines."""
    return [Store.load(path) for path in sorted(COMMITTED.glob("*.json"))]


def keep(path: Path = OUT) -> Path:
    """Copies the working figures, shortened, to the committed ones."""
    store = Store.load(path)
    target = COMMITTED / f"{machine.slug(store.machine)}.json"
    store.committed().save(target)
    return target


def _machine(store: Store, page: Path, plots: Path | None) -> list[str]:
    facts = store.machine
    name = machine.slug(facts)
    parts = [
        f"## {facts['cpu']}, {facts['cores']} cores, torch {facts['torch']}\n",
        markdown(
            ("", ""),
            [
                ("caches", facts["caches"]),
                ("memory", f"{facts['memory_gib']} GiB"),
                ("system", f"{facts['system']}, Python {facts['python']}"),
                ("RustTorch", f"{facts['rusttorch']}, door {facts['door']}"),
            ],
            left=2,
        ),
    ]
    sections = (store.accuracy, store.calls, store.programs, store.steps)
    for isa in sorted({record.isa for record in store.records}.union(*sections)):
        title = isa.upper()
        for label, rows in _by_threads(title, store.programs.get(isa, [])):
            parts += [f"### Programs, {label}\n", _programs(rows)]
        for label, rows in _by_threads(title, store.steps.get(isa, [])):
            parts += [f"### Optimizers' steps, {label}\n", _steps(rows)]
        groups: dict[tuple[int, bool], list[Record]] = {}
        for record in store.records:
            if record.isa == isa:
                groups.setdefault((record.threads, record.policy), []).append(record)
        for (threads, policy), records in sorted(groups.items(), reverse=True):
            label = _label(title, threads) + ", memory policy on both sides" * policy
            tag = f"{name}-{isa}-{threads}{'-policy' * policy}"
            measured_roof = roof.Roof(store.roofs[f"{isa}/{threads}"])
            parts += _ops(label, tag, records, measured_roof, page, plots)
        for label, rows in _by_threads(title, store.calls.get(isa, [])):
            parts += [f"### The cost of a call, {label}\n", _calls(rows)]
        if isa in store.accuracy:
            parts += [f"### Accuracy, {title}\n", _accuracy(store.accuracy[isa])]
    if store.roofs:
        parts += ["### The roof\n", roof.METHOD + "\n", _roofs(store.roofs)]
    return parts


def _label(title: str, threads: int) -> str:
    return f"{title}, {threads} thread{'s' if threads > 1 else ''}"


def _by_threads(title: str, rows: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Plain rows by their number of threads, most first."""
    numbers = sorted({row["threads"] for row in rows}, reverse=True)
    return [(_label(title, number), [row for row in rows if row["threads"] == number]) for number in numbers]


def _programs(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        policy = row.get("policy")
        memory = [f"{way['peak'] / 2**20:,.0f}" if way and way["peak"] else "" for way in map(row.get, _WAYS)]
        lines.append(
            (
                f"{row['program']}: {row['about']}",
                f"{row['stock']['seconds'] * 1e3:,.1f}",
                Spread(*policy["ratio"], 0).inverse().show() if policy else "",
                Spread(*row["rusttorch"]["ratio"], 0).inverse().show(),
                *memory,
            )
        )
    headings = ("program", "stock, ms a step", "times faster: memory policy alone", "times faster: RustTorch",
                "peak MiB: stock", "policy", "RustTorch")  # fmt: skip
    note = (
        "RustTorch is `accelerate()` as it comes: kernels and memory policy. Its gain over the policy alone is the"
        " kernels'. Peak resident memory is the process's, with three copies of the model.\n\n"
    )
    return note + markdown(headings, lines)


_WAYS = ("stock", "policy", "rusttorch")


def _ops(
    label: str, tag: str, records: Sequence[Record], measured_roof: roof.Roof, page: Path, plots: Path | None
) -> list[str]:
    shipped = records[0].sizes == "shipped"
    taken = [record for record in records if record.taken]
    mean = geometric_mean(1 / record.ratio.median for record in taken)
    parts = [
        f"### Ops, {label}\n",
        f"{len(records):,} cases, "
        + ("with the shipped thresholds" if shipped else "every size forced on the kernels, thresholds ignored")
        + f"; kernels took {len(taken):,} of them, and were {mean:.2f} times faster in the geometric mean.\n",
    ]
    for mode in MODES:
        inside = [record for record in records if record.case.mode == mode]
        if not inside:
            continue
        parts.append(f"#### {'In place' if mode == 'inplace' else mode.capitalize()}\n")
        if plots:
            from .plots import speedups

            path = speedups(inside, plots / f"{tag}-{mode}.svg")
            parts.append(f"![Times faster by size, {mode}]({path.relative_to(page.parent).as_posix()})\n")
        parts.append(_speeds(inside))
    roofed = [
        record
        for record in _at_size(record for record in records if record.case.mode == "forward")
        if record.case.dtype == "float32" and record.case.call == record.case.row.calls[0]
    ]
    if roofed:
        parts.append("#### Of the roof\n")
        if plots:
            from .plots import roofline

            path = roofline(roofed, measured_roof, plots / f"{tag}-roofline.svg")
            parts.append(f"![Roofline]({path.relative_to(page.parent).as_posix()})\n")
        parts.append(_fractions(roofed))
    parts += ["#### Where stock is faster\n", _losses(records), _kept(records[0].vendor, records[0].isa)]
    return parts


def _at_size(records: Iterable[Record]) -> list[Record]:
    """The records at `SIZE`, or at the largest size below that was measured, in the catalogue's order."""
    ranks = {call: rank for rank, call in enumerate(call for op in TENSOR_OPS.values() for call in op.calls)}
    found = sorted(records, key=lambda record: ranks.get(record.case.call, len(ranks)))
    sizes = [record.case.size for record in found if record.case.size <= SIZE]
    return [record for record in found if record.case.size == max(sizes, default=0)]


def _speeds(records: Sequence[Record]) -> str:
    shown = _at_size(records)
    if not shown:
        return "No figures at the size of the tables."
    cells = {(record.case.call, record.case.dtype): _speed(record) for record in shown}
    tables = []
    for group in (FLOATS, DTYPES[len(FLOATS) :]):
        dtypes = [dtype for dtype in group if any(key[1] == dtype for key in cells)]
        rows = [
            (f"`{call}`", *(cells.get((call, dtype), "") for dtype in dtypes))
            for call in dict.fromkeys(record.case.call for record in shown if record.case.dtype in dtypes)
        ]
        if rows:
            tables.append(markdown(("call", *dtypes), rows))
    size = shown[0].case.size
    note = (
        f"Times faster than stock, {short(size)} elements; in italics, stock torch had the call; bold, stock is faster."
        "\n\n"
    )
    return note + "\n\n".join(tables)


def _speed(record: Record) -> str:
    text = record.ratio.inverse().show()
    mark = "" if record.taken else "*"
    return f"{mark}{'**' * record.ratio.loss}{text}{'**' * record.ratio.loss}{mark}"


def _fractions(records: Sequence[Record]) -> str:
    rows = [
        (f"`{record.case.call}`", record.limit, f"{record.stock_fraction:.0%}", f"{record.fraction:.0%}")
        for record in records
    ]
    note = f"Of what the roof allows, {short(records[0].case.size)} float32 elements, forward.\n\n"
    return note + markdown(("call", "binds", "stock", "RustTorch"), rows, left=2)


def _losses(records: Sequence[Record]) -> str:
    every = sorted((record for record in records if record.ratio.loss), key=lambda record: -record.ratio.median)
    # Of forced sizes, the others are what the thresholds leave to stock torch, below; the figures above show them.
    slower = every if records[0].sizes == "shipped" else [record for record in every if is_loss(record)]
    outside = len(every) - len(slower)
    left = f"{outside:,} more at sizes that the thresholds leave to stock torch.\n" if outside else ""
    if not slower:
        return f"Nowhere beyond noise, of what users get. {left}".rstrip() + "\n"
    rows = [
        (
            f"`{record.case.call}`",
            record.case.dtype,
            record.case.mode,
            short(record.case.size),
            f"{record.stock * 1e6:,.2f}",
            record.ratio.inverse().show(),
            "kernel" if record.taken else "stock torch",
            "yes" if is_loss(record) else "",
        )
        for record in slower
    ]
    note = (
        "The cases that are slower beyond noise. Where stock torch had the call, the difference is the look at its"
        f" arguments, which may cost {calls.ALLOWED * 1e9:.0f} ns. The last column marks the ones that break a promise:"
        " users get them.\n\n"
    )
    headings = ("call", "dtype", "mode", "elements", "stock, us", "times faster", "ran on", "broken promise")
    return note + markdown(headings, rows, left=4) + "\n\n" + left


def _kept(vendor: str, isa: str) -> str:
    """What the thresholds leave to stock torch."""
    windows = table(vendor, isa)
    never, limited = [], []
    for op in (name for row in TENSOR_OPS.values() for name in row.sized):
        for dtype, modes in windows.get(op, {}).items():
            for mode, window in modes.items():
                if window is None:
                    never.append((op, dtype, mode))
                elif window[1] is not None:
                    limited.append(f"{op} {dtype} {mode} above {short(window[1])}")
    if not never and not limited:
        return "The thresholds leave no op to stock torch altogether.\n"
    groups: dict[tuple[str, str], list[str]] = {}
    for op, dtype, mode in never:
        groups.setdefault((op, dtype), []).append(mode)
    kept = [f"{op} {dtype} ({', '.join(modes)})" for (op, dtype), modes in groups.items()]
    return (
        "Never given to the kernel, since it did not win: "
        + ("; ".join(kept) or "none")
        + ". Given to stock torch from some size up: "
        + ("; ".join(limited) or "none")
        + ".\n"
    )


def _steps(rows: Sequence[dict[str, Any]]) -> str:
    note = (
        "Optimizers as they come from `torch.optim`, stock torch's step being its default one; the fused one is what"
        " `fused=True` asks for. The roof is the time that the bandwidth measured here takes to read and write each"
        " tensor once. Bold: stock torch's default is faster beyond noise.\n\n"
    )
    lines = []
    for row in rows:
        cells = list(steps.cells(row))
        cells[4] = f"**{cells[4]}**" if steps.is_loss(row) else cells[4]
        lines.append(cells)
    return note + markdown(steps.HEADINGS, lines, left=3)


def _calls(rows: Sequence[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> tuple[str, ...]:
        extra, low, high = (seconds * 1e9 for seconds in row["extra"])
        return (
            f"`{row['call']}`",
            row["why"] or "run by the kernel",
            f"{row['stock'] * 1e9:,.0f}",
            f"{row['ours'] * 1e9:,.0f}",
            f"{extra:+,.0f} ({low:+,.0f} to {high:+,.0f})",
            "yes" if calls.too_slow(row) else "",
        )

    note = f"Nanoseconds, {calls.NUMEL:,} elements: x floats, i integers, w floats that require a gradient.\n\n"
    headings = ("call", "", "stock", "RustTorch", "more", "too much")
    return note + markdown(headings, map(line, rows), left=2)


def _accuracy(rows: Sequence[dict[str, Any]]) -> str:
    found = {(row["call"], row["dtype"]): row for row in rows}
    dtypes = [dtype for dtype in FLOATS if any(row["dtype"] == dtype for row in rows)]

    def cell(row: dict[str, Any] | None, value: Callable[[dict[str, Any], str], float]) -> str:
        if row is None:
            return ""
        text = f"{value(row, 'stock'):.3g} / {value(row, 'ours'):.3g}"
        return f"**{text}**" if accuracy.is_worse(row) else text

    lines = []
    for call in dict.fromkeys(row["call"] for row in rows):
        inside = [found.get((call, dtype)) for dtype in dtypes]
        lines.append(
            (
                f"`{call}`",
                *(cell(row, lambda row, way: row[way]) for row in inside),
                *(cell(row, lambda row, way: row[f"{way}_ordinary"]) for row in inside),
            )
        )
    singles = max((row["values"] for row in rows if row["dtype"] == "float32"), default=0)
    note = (
        "Largest error in units in the last place, stock / RustTorch, against references in wider floats; first over"
        f" all numbers tried, then over those from -{accuracy.ORDINARY} to {accuracy.ORDINARY}. Bold: RustTorch's is"
        " larger than stock's. Of log_softmax and logsumexp, units are those of 1 where the result is smaller. Halves:"
        f" every number. float32: {singles:,} of them."
        "\n\n"
    )
    return note + markdown(("call", *dtypes, *(f"{dtype}, ordinary" for dtype in dtypes)), lines)


def _roofs(roofs: dict[str, Any]) -> str:
    names = sorted(roofs)
    sizes = (2**15, 2**18, 2**20, 2**23, 2**26, 2**28)
    rows = []
    for name in names:
        known = roof.Roof(roofs[name])
        for kind in ("copy", "inplace", "read"):
            rates = [f"{known.bandwidth(kind, size) / 1e9:,.0f}" for size in sizes]
            rows.append((name, f"{kind}, GB/s", *rates))
        rates = ", ".join(f"{dtype} {rate / 1e9:,.0f}" for dtype, rate in known.fma.items())
        rows.append((name, f"1e9 multiply-adds a second: {rates}", *([""] * len(sizes))))
    return markdown(("threads", "working set", *(f"{short(size)}B" for size in sizes)), rows, left=2)
