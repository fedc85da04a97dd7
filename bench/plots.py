"""The report's figures, as small SVG files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from rusttorch.catalog import FLOATS, Along, Index, Nary, Op, Select

from .ops import short
from .results import Record
from .roof import Roof

matplotlib.use("svg")
# Text as text and names without chance: files stay small, and the same figures give the same file.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9, "axes.titlesize": 9})

FAMILIES = (
    "clamps and scalings", "activations", "elementary functions", "softmaxes and gates", "normalisation and losses",
    "selecting, sorting, indexing",
)  # fmt: skip
#: Instructions for an element up to which an op is only memory's work.
_CHEAP = 5
#: Names in a column of the legend.
NAMES = 24


def family(op: Op | Nary | Select | Index) -> str:
    """The family whose figure the op is in."""
    if isinstance(op, Nary):
        return FAMILIES[4]
    if isinstance(op, (Along, Select, Index)):
        return FAMILIES[5]
    if op.shape != "pointwise":
        return FAMILIES[3]
    if op.flops <= _CHEAP:
        return FAMILIES[0]
    return FAMILIES[1] if op.entrances[0].startswith("F.") else FAMILIES[2]


def _save(figure: pyplot.Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    pyplot.close(figure)
    # A hundredth of a point is enough.
    text = re.sub(r"\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    return path


def speedups(records: Sequence[Record], path: Path) -> Path:
    """Speed-up by size, a row of panels for each family and a column for each dtype, over each op's first call."""
    first = [record for record in records if record.case.call == record.case.row.calls[0]]
    dtypes = [dtype for dtype in FLOATS if any(record.case.dtype == dtype for record in first)]
    families = [name for name in FAMILIES if any(family(record.case.row) == name for record in first)]
    figure, grid = pyplot.subplots(
        len(families),
        len(dtypes),
        figsize=(3.1 * len(dtypes) + 1, 2.6 * len(families)),
        squeeze=False,
        sharex=True,
        sharey="row",
    )
    for line, name in zip(grid, families, strict=True):
        inside = [record for record in first if family(record.case.row) == name]
        ops = list(dict.fromkeys(record.case.op for record in inside))
        for axes, dtype in zip(line, dtypes, strict=True):
            for number, op in enumerate(ops):
                found = sorted(
                    (record for record in inside if record.case.op == op and record.case.dtype == dtype),
                    key=lambda record: record.case.size,
                )
                if not found:
                    continue
                sizes = [record.case.size for record in found]
                color = matplotlib.colormaps["tab20"](number % 20)
                axes.plot(sizes, [1 / record.ratio.median for record in found], color=color, lw=1.2, label=op)
            axes.axhline(1, color="black", lw=0.8)
            axes.set_xscale("log", base=2)
            axes.set_yscale("log", base=2)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(int(value))))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.grid(alpha=0.25, lw=0.5)
            axes.set_title(f"{name}, {dtype}")
        line[0].set_ylabel("times faster than stock")
        handles, labels = max((axes.get_legend_handles_labels() for axes in line), key=lambda pair: len(pair[1]))
        columns = 1 + len(labels) // NAMES
        line[-1].legend(
            handles, labels, loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=7, frameon=False, ncols=columns
        )
    for axes in grid[-1]:
        axes.set_xlabel("elements")
    figure.tight_layout()
    return _save(figure, path)


def roofline(records: Sequence[Record], roof: Roof, path: Path) -> Path:
    """What stock torch and RustTorch reach below the machine's roof, at one size and dtype, without gradient."""
    case = records[0].case
    kind, traffic = case.traffic
    bandwidth, rate = roof.bandwidth(kind, traffic), roof.rate(case.dtype)
    figure, axes = pyplot.subplots(figsize=(8.5, 5))
    intensities = [record.case.flops / record.case.traffic[1] for record in records]
    edges = [min(intensities) / 2, rate / bandwidth, max(*intensities, rate / bandwidth) * 2]
    axes.plot(edges, [min(rate, edge * bandwidth) / 1e9 for edge in edges], color="black", lw=1.5)
    axes.annotate(
        f"{bandwidth / 1e9:.0f} GB/s", (edges[0], edges[0] * bandwidth / 1e9), xytext=(0, 12),
        textcoords="offset points", fontsize=8,
    )  # fmt: skip
    axes.annotate(f"{rate / 1e9:.0f} G/s", (edges[2], rate / 1e9), fontsize=8, va="bottom", ha="right")
    for record, intensity in zip(records, intensities, strict=True):
        stock, ours = (record.case.flops / seconds / 1e9 for seconds in (record.stock, record.ours))
        axes.plot([intensity, intensity], [stock, ours], color="grey", lw=0.6, zorder=1)
        axes.plot(intensity, stock, "o", color="tab:grey", ms=4)
        axes.plot(intensity, ours, "o", color="tab:orange", ms=4)
        _name(axes, record.case.op, intensity, max(stock, ours))
    axes.plot([], [], "o", color="tab:grey", ms=4, label="stock")
    axes.plot([], [], "o", color="tab:orange", ms=4, label="RustTorch")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("floating-point instructions for a byte")
    axes.set_ylabel("1e9 of them a second")
    axes.set_title(f"{short(case.size)} elements, {case.dtype}, forward")
    axes.grid(alpha=0.25, lw=0.5)
    axes.legend(loc="lower right", frameon=False)
    return _save(figure, path)


def _name(axes: Axes, text: str, x: float, y: float) -> None:
    axes.annotate(text, (x, y), xytext=(2, 3), textcoords="offset points", fontsize=6, rotation=60)
