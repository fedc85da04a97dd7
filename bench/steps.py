"""Optimizers' steps: of few large parameters and many small ones, against stock torch's own and its fused ones."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from . import sides
from .cases import Work
from .roof import Roof
from .stats import Spread, ratios
from .timing import compare, quiet


@dataclass(frozen=True)
class Kind:
    """An optimizer: a class of ``torch.optim``, its settings, and how many tensors it keeps of a parameter."""

    name: str
    state: int
    settings: dict[str, Any] = field(default_factory=dict)
    fused: bool = True

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{self.name}({settings})"

    @property
    def moved(self) -> int:
        """How often a step reads or writes an element at least: the gradient is only read."""
        return 3 + 2 * self.state


KINDS = (
    Kind("AdamW", 2),
    Kind("Adam", 2, {"weight_decay": 0.01}),
    Kind("SGD", 0),
    Kind("SGD", 1, {"momentum": 0.9}),
    Kind("RMSprop", 1, fused=False),
    Kind("Adagrad", 1),
)
#: How many parameters of how many elements.
LAYOUTS = ((1, 1), (4, 64 * 64), (200, 1000), (20, 2**16), (10, 10**6), (1, 10**8))
DTYPES = ("float32", "bfloat16")


def build(kind: Kind, count: int, numel: int, dtype: str) -> Any:
    """An optimizer after its first step, with gradients."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def tensor() -> torch.Tensor:
        return torch.randn(numel, generator=generator).to(getattr(torch, dtype))

    params = [torch.nn.Parameter(tensor()) for _ in range(count)]
    for param in params:
        param.grad = tensor()
    optimizer = getattr(torch.optim, kind.name)(params, **kind.settings)
    optimizer.step()
    return optimizer


def run(seconds: float, layouts: Sequence[tuple[int, int]], roof: Roof, console: Console) -> Iterator[dict[str, Any]]:
    """Each optimizer's step by dtype and layout: stock torch's, its fused one, and the kernel's, in turn."""
    import torch

    planned = [(kind, dtype, layout) for kind in KINDS for dtype in DTYPES for layout in layouts]
    for kind, dtype, (count, numel) in track(planned, "steps", console=console, disable=not console.is_terminal):
        optimizer = build(kind, count, numel, dtype)

        def steps(times: int, step: Any = optimizer.step) -> None:
            for _ in range(times):
                step()

        @contextmanager
        def fused(group: dict[str, Any] = optimizer.param_groups[0]) -> Iterator[None]:
            group["fused"] = True
            yield
            group["fused"] = None

        ways = [sides.stock, sides.kernels(None, None), *([fused] if kind.fused else [])]
        with quiet():
            stock, ours, *others = compare(Work(steps), ways, seconds / len(planned))
        traffic = count * numel * kind.moved * getattr(torch, dtype).itemsize
        ratio = ratios(ours, stock)
        against = ratios(ours, others[0]) if others else None
        yield {
            "optimizer": str(kind),
            "dtype": dtype,
            "parameters": count,
            "elements": numel,
            "threads": torch.get_num_threads(),
            "stock": statistics.median(stock),
            "ours": statistics.median(ours),
            "ratio": [ratio.median, ratio.low, ratio.high, ratio.rounds],
            "fused": against and [against.median, against.low, against.high, against.rounds],
            "floor": roof.floor("inplace", traffic, 0, dtype)[1],
        }


def is_loss(row: dict[str, Any]) -> bool:
    """Whether the step is slower than stock torch's default beyond noise."""
    return Spread(*row["ratio"]).loss


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row of the tables."""
    fused = Spread(*row["fused"]).inverse().show() if row["fused"] else ""
    return (
        row["optimizer"],
        row["dtype"],
        f"{row['parameters']:,} x {row['elements']:,}",
        f"{row['stock'] * 1e6:,.0f}",
        Spread(*row["ratio"]).inverse().show(),
        fused,
        f"{row['floor'] / row['ours']:.0%}",
    )


HEADINGS = ("optimizer", "dtype", "parameters", "stock, us", "times faster", "times faster than fused", "of the roof")


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """Times faster than stock torch."""
    result = Table(title="Optimizers' steps")
    for index, heading in enumerate(HEADINGS):
        result.add_column(heading, justify="left" if index < 3 else "right")
    for row in rows:
        result.add_row(*cells(row), style="red" if is_loss(row) else "")
    return result
