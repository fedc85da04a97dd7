"""What a call costs: small tensors taken by a kernel, and calls that stock torch gets after all."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from . import sides
from .cases import LOOPS, Work
from .stats import Spread, ratios
from .timing import compare, quiet

NUMEL = 1024
#: What a declined call may cost on top, in seconds.
ALLOWED = 100e-9
#: No tensor is as large.
NEVER = 2**48


@dataclass(frozen=True)
class Call:
    """A call of the table: over ``x`` (floats), ``i`` (integers) or ``w`` (floats that require a gradient)."""

    code: str
    why: str = ""
    #: what to patch with; ``None`` for the shipped thresholds
    min_numel: int | None = 0

    @property
    def declined(self) -> bool:
        """Whether stock torch is to get it."""
        return bool(self.why)


ACCELERATED = (
    *map(Call, ("F.relu(x)", "torch.relu(x)", "x.relu()", "F.gelu(x)", "F.silu(x)", "torch.sigmoid(x)", "x.exp()")),
    *map(Call, ("F.softmax(x, -1)", "torch.softmax(x, -1)", "x.softmax(-1)")),
)
DECLINED = (
    *(Call(code, "no tensor in the index") for code in ("x[3]", "x[1:5]", "x[None]")),
    *(Call(code, "integers") for code in ("F.relu(i)", "torch.relu(i)", "i.relu()", "torch.exp(i)", "i ** 2")),
    *(
        Call(code, "below the threshold", NEVER)
        for code in ("F.relu(x)", "torch.relu(x)", "x.relu()", "F.gelu(x)", "F.softmax(x, -1)", "x.softmax(-1)")
    ),
    *(
        Call(code, "requires a gradient, small", NEVER)
        for code in ("F.relu(w)", "F.gelu(w)", "torch.sigmoid(w)", "F.softmax(w, -1)", "torch.softmax(w, -1)", "w ** 2")
    ),
)


def run(seconds: float, console: Console) -> list[dict[str, Any]]:
    """Every call, stock and patched in turn."""
    import torch

    torch.manual_seed(0)
    x = torch.randn(NUMEL)
    values = {"x": x, "i": torch.arange(NUMEL), "w": torch.randn(NUMEL, requires_grad=True)}
    share = seconds / (len(ACCELERATED) + len(DECLINED))
    rows = []
    with quiet():
        for call in track(ACCELERATED + DECLINED, "calls", console=console, disable=not console.is_terminal):
            scope: dict[str, Any] = {"torch": torch, "F": torch.nn.functional, **values}
            exec(LOOPS["forward"].format(call=call.code), scope)
            # All ops are patched, since one entrance may call another's.
            stock, ours = compare(Work(scope["run"]), (sides.stock, sides.kernels(None, call.min_numel)), share)
            extra = Spread.of([a - b for a, b in zip(ours, stock, strict=True)])
            ratio = ratios(ours, stock)
            rows.append(
                {
                    "call": call.code,
                    "why": call.why,
                    "threads": torch.get_num_threads(),
                    "stock": statistics.median(stock),
                    "ours": statistics.median(ours),
                    "extra": [extra.median, extra.low, extra.high],
                    "ratio": [ratio.median, ratio.low, ratio.high],
                }
            )
    return rows


def too_slow(row: dict[str, Any]) -> bool:
    """Whether the call costs more than it may, beyond noise."""
    return row["extra"][1] > (ALLOWED if row["why"] else 0)


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """Nanoseconds of each call."""
    result = Table(title=f"Calls with {NUMEL:,} elements, ns", caption=f"declined: at most {ALLOWED * 1e9:.0f} more")
    for heading in ("call", "goes to stock torch for"):
        result.add_column(heading)
    for heading in ("stock", "RustTorch", "more", "low", "high"):
        result.add_column(heading, justify="right")
    for row in rows:
        figures = [f"{seconds * 1e9:,.0f}" for seconds in (row["stock"], row["ours"], *row["extra"])]
        result.add_row(row["call"], row["why"], *figures, style="red" if too_slow(row) else "")
    return result
