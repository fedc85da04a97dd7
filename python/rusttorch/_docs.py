"""The parts of the documentation that the catalogue generates.

``python -m rusttorch._docs README.md`` brings the table of a file up to date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from .catalog import EVERY, Entrance, Row, Step

BEGIN, END = "<!-- ops:begin -->", "<!-- ops:end -->"

_SHORT = {
    "float32": "f32", "float64": "f64", "bfloat16": "bf16", "float16": "f16",
    "int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8", "uint8": "u8",
}  # fmt: skip
_EXACTNESS = {"bits": "same bits", "ulp": "error <= stock's"}


def ops_table() -> str:
    """The catalogue as a Markdown table."""
    lines = ["| op | replaces | dtypes | result |", "| --- | --- | --- | --- |"]
    lines += [_line(row) for row in EVERY.values()]
    return "\n".join(lines)


def _line(row: Row) -> str:
    replaces = ", ".join(f"`{_written(row, entrance)}`" for entrance in row.parsed())
    dtypes = " ".join(_SHORT.get(dtype, dtype) for dtype in row.dtypes)
    return f"| {row.name} | {replaces} | {dtypes} | {_EXACTNESS[row.exactness]} |"


def _written(row: Row, entrance: Entrance) -> str:
    """As users write it: what optimizers call they need not write."""
    return f"{entrance.module}.{entrance.attribute}" if isinstance(row, Step) else entrance.path


def with_table(text: str) -> str:
    """A document with the table between its markers replaced."""
    pattern = re.compile(f"{BEGIN}.*?{END}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{ops_table()}\n{END}", text)


def main(paths: Sequence[str]) -> None:
    """Bring the files up to date."""
    for path in map(Path, paths):
        path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
