"""Functions on explicit tensors: one for each row of the catalogue that has a kernel for them, and those of `ROWS`.

They are made when they are first asked for, so that importing the package stays cheap.
"""

from __future__ import annotations

import functools
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

from . import _rusttorch
from .catalog import EVERY, Along, Clip, Entrance, Index, Nary, Op, Row, Sample, Step


@dataclass(frozen=True, kw_only=True)
class _Native(Row):
    """A function that has no row of the catalogue to be made of.

    ``absent``
        parameters that are for torch's tensors alone.
    """

    absent: tuple[str, ...] = ("out",)

    def _role(self, name: str) -> tuple[str, int]:
        return ("absent" if name in self.absent else "input"), 0


#: Signatures as of `catalog.Row`; the arguments go to the function as they are.
ROWS: dict[str, _Native] = {
    row.name: row
    for row in (
        _Native("add", ("torch.add(input, other, alpha=1, *, out=None)",)),
        _Native("sub", ("torch.sub(input, other, alpha=1, *, out=None)",)),
        _Native("mul", ("torch.mul(input, other, *, out=None)",)),
        _Native("div", ("torch.div(input, other, *, rounding_mode=None, out=None)",), absent=("rounding_mode", "out")),
        *(
            _Native(name, (f"torch.{name}(input, other, *, out=None)",))
            for name in ("eq", "ne", "lt", "le", "gt", "ge")
        ),
        _Native("sum", ("torch.sum(input, dim=None, keepdim=False, dtype=None, *, out=None)",)),
        _Native("mean", ("torch.mean(input, dim=None, keepdim=False, dtype=None, *, out=None)",)),
        _Native("matmul", ("torch.matmul(input, other, *, out=None)",)),
        _Native("transpose", ("torch.transpose(input, dim0, dim1)",)),
        _Native("reshape", ("torch.reshape(input, shape)",)),
        _Native(
            "unique",
            ("torch.unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None)",),
            absent=("dim",),
        ),
        _Native(
            "unique_consecutive",
            ("torch.unique_consecutive(input, return_inverse=False, return_counts=False, dim=None)",),
            absent=("dim",),
        ),
        _Native("bincount", ("torch.bincount(input, weights=None, minlength=0)",), absent=("weights",)),
        _Native(
            "multinomial",
            ("torch.multinomial(input, num_samples, replacement=False, *, generator=None, out=None)",),
            absent=("generator", "out"),
        ),
    )
}

#: Other names for the same.
ALIASES = {"swish": "silu"}


def _entrance(row: Row) -> Entrance | None:
    """The function that users call, if there is one that makes a new tensor."""
    if isinstance(row, (Clip, Sample, Step)):
        return None
    for entrance in row.parsed():
        if entrance.path.startswith(("F.", "torch.")) and not entrance.inplace and entrance.attribute == row.name:
            return entrance
    return None


def names() -> list[str]:
    """Every function's name."""
    return [*(name for name, row in {**EVERY, **ROWS}.items() if _entrance(row) is not None), *ALIASES]


@functools.cache
def find(name: str) -> Any | None:
    """The function of that name, if there is one."""
    if name in ALIASES:
        return find(ALIASES[name])
    row = {**EVERY, **ROWS}.get(name)
    entrance = None if row is None else _entrance(row)
    if row is None or entrance is None:
        return None
    choices = row.choices if isinstance(row, (Op, Nary, Index)) else {}
    parameters = [
        (p.name, p.role, p.index, p.required, p.keyword_only, list(choices.get(p.name, ())))
        for p in entrance.parameters
    ]
    dims = [p.default for p in entrance.parameters if p.role == "dim"]
    pack = None
    if isinstance(row, Along) and row.pack:
        pack = namedtuple(row.pack, row.names, module="rusttorch")
    function = _rusttorch.Function(
        row.name,
        row.kernel or row.name,
        parameters,
        [*row.numbers.values(), *(number() if callable(number) else number for number in row.fixed)],
        (entrance.module, entrance.attribute),
        dims[0] if dims else getattr(row, "dim", None),
        pack,
    )
    function.__doc__ = _document(row, entrance)
    return function


def _document(row: Row, entrance: Entrance) -> str:
    written = []
    starred = False
    for parameter in entrance.parameters:
        if parameter.keyword_only and not starred:
            written.append("*")
            starred = True
        written.append(parameter.name if parameter.required else f"{parameter.name}={parameter.default!r}")
    lines = [
        f"{row.name}({', '.join(written)})",
        "",
        f"``{entrance.path}`` on a `Tensor`, a NumPy array or a torch tensor: what goes in comes out, and a torch",
        "tensor goes to torch's own function. Parameters and shapes are torch's.",
    ]
    if isinstance(row, _Native):
        lines.append("Tensors are broadcast and their dtypes promoted as torch does." if "other" in written else "")
    else:
        lines.append(f"dtypes: {', '.join(row.dtypes)}.")
    lines += [
        "",
        "Raises TypeError for arguments of another type or dtype, ValueError for shapes and numbers that do not fit,",
        "IndexError for a dim or an index out of range.",
    ]
    return "\n".join(lines)
