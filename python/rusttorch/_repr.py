"""How explicit tensors are written: as torch writes its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

#: Digits after the point, elements up to which all are written, those at each end otherwise, and the width of a line.
PRECISION, THRESHOLD, EDGE, WIDTH = 4, 1000, 3, 80


class _Format:
    """How the numbers of a tensor are written: all alike."""

    def __init__(self, values: list[Any], is_float: bool) -> None:
        self.is_float = is_float
        self.kind = "whole"
        self.width = 1
        if not is_float:
            self.width = max((len(str(value)) for value in values), default=1)
            return
        finite = [value for value in values if math.isfinite(value) and value != 0]
        if not finite:
            return
        least, most = min(map(abs, finite)), max(map(abs, finite))
        wide = most / least > 1000.0 or most > 1.0e8
        if all(value == math.ceil(value) for value in finite):
            self.kind = "scientific" if wide else "whole"
        else:
            self.kind = "scientific" if wide or least < 1.0e-4 else "fixed"
        self.width = max(self.width, *(len(self._text(value)) for value in finite))

    def _text(self, value: Any) -> str:
        if not self.is_float:
            return str(value)
        if self.kind == "scientific":
            return f"{value:.{PRECISION}e}"
        if self.kind == "whole":
            return f"{value:.0f}" + ("." if math.isfinite(value) else "")
        return f"{value:.{PRECISION}f}"

    def __call__(self, value: Any) -> str:
        return self._text(value).rjust(self.width)


def _shown(tensor: Any, summarize: bool) -> Iterator[Any]:
    """The elements that are written."""
    if tensor.ndim == 0:
        yield tensor.item()
    elif summarize and len(tensor) > 2 * EDGE:
        for part in (tensor[:EDGE], tensor[-EDGE:]):
            for row in part:
                yield from _shown(row, summarize)
    elif tensor.ndim == 1:
        yield from tensor.tolist()
    else:
        for row in tensor:
            yield from _shown(row, summarize)


def _rows(tensor: Any, indent: int, summarize: bool, write: _Format) -> str:
    if tensor.ndim == 0:
        return write(tensor.item())
    short = summarize and len(tensor) > 2 * EDGE
    if tensor.ndim == 1:
        if short:
            cells = [*map(write, tensor[:EDGE].tolist()), " ...", *map(write, tensor[-EDGE:].tolist())]
        else:
            cells = [write(value) for value in tensor.tolist()]
        each = max(1, (WIDTH - indent) // (write.width + 2))
        lines = [cells[start : start + each] for start in range(0, len(cells), each)] or [[]]
        return "[" + (",\n" + " " * (indent + 1)).join(", ".join(line) for line in lines) + "]"
    if short:
        rows = [_rows(row, indent + 1, summarize, write) for row in tensor[:EDGE]]
        rows += ["...", *(_rows(row, indent + 1, summarize, write) for row in tensor[-EDGE:])]
    else:
        rows = [_rows(row, indent + 1, summarize, write) for row in tensor]
    return "[" + ("," + "\n" * (tensor.ndim - 1) + " " * (indent + 1)).join(rows) + "]"


def text(tensor: Any) -> str:
    """The tensor as ``tensor([...])``, with the dtype where it is not the one that such elements have."""
    prefix, dtype = "tensor(", tensor.dtype.name
    plain = dtype in ("float32", "int64", "bool")
    suffix = "" if plain and (tensor.numel() or dtype == "float32") else f", dtype=rusttorch.{dtype}"
    if tensor.numel() == 0:
        shape = "" if tensor.ndim == 1 else f", size={tensor.shape}"
        return f"{prefix}[]{shape}{suffix})"
    summarize = tensor.numel() > THRESHOLD
    write = _Format(list(_shown(tensor, summarize)), tensor.dtype.is_floating_point)
    written = _rows(tensor, len(prefix), summarize, write)
    last = len(written) - written.rfind("\n") if "\n" in written else len(prefix) + len(written) + 1
    if suffix and last + len(suffix) - 1 > WIDTH:
        suffix = ",\n" + " " * len(prefix) + suffix[2:]
    return f"{prefix}{written}{suffix})"
