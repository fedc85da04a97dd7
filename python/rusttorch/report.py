"""What was accelerated, what went to stock torch, and why."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from . import memory
from .patching import built, stale_references
from .runtime import system


@dataclass(frozen=True)
class Report:
    """Counts since the start or the last reset; seconds are those inside kernels, ``rng`` is what holds now."""

    ops: dict[str, dict[str, Any]]
    stale: list[str]
    system: dict[str, Any]
    memory: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return {"ops": self.ops, "stale": self.stale, "system": self.system, "memory": self.memory}

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        facts = self.system
        title = f"RustTorch {facts['version']}, torch {facts['torch']}, door {facts['door']}, {facts['isa']}"
        table = Table(title=title)
        for heading in ("op", "calls", "elements", "ms", "to stock torch"):
            table.add_column(heading, justify="left" if heading in ("op", "to stock torch") else "right")
        for name, row in sorted(self.ops.items(), key=lambda item: -item[1]["seconds"]):
            reasons = sorted(row["declined"].items(), key=lambda item: -item[1])
            table.add_row(
                f"{name}, fast rng" if row.get("rng") == "fast" else name,
                f"{row['calls']:,}",
                f"{row['elements']:,}",
                f"{row['seconds'] * 1e3:,.1f}",
                ", ".join(f"{count:,} {reason}" for reason, count in reasons),
            )
        lines = [Text("Nothing was called.")] if not self.ops else []
        lines += [Text(f"imported before the patch: {line}") for line in self.stale]
        return Group(table, *lines)

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(file=io.StringIO(), width=120)
        console.print(self)
        return console.file.getvalue()  # type: ignore[attr-defined]


def report(reset: bool = False) -> Report:
    """The counts so far; ``reset`` sets them to zero."""
    ops = {}
    for name, operation in built().items():
        counters = operation.native.counters()
        if counters["calls"] or counters["declined"]:
            ops[name] = counters
            if operation.row.random:
                counters["rng"] = operation.rng
        if reset:
            operation.native.reset()
    kept = {"available": memory.available(), "kept_bytes": memory.kept()}
    return Report(ops, stale_references(), system(), kept)
