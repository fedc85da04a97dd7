"""What the environment says. A wrong value is one clear warning, and stock torch."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass

from .catalog import CATALOG


class SettingError(ValueError):
    """An environment variable has a value that it cannot have."""


@dataclass(frozen=True)
class Settings:
    """``RUSTTORCH_OPS``, ``_EXCLUDE``, ``_MIN_NUMEL`` and ``_MEMORY``."""

    ops: tuple[str, ...] | None
    exclude: tuple[str, ...]
    min_numel: int | None
    memory: bool | int

    @classmethod
    def from_environment(cls) -> Settings:
        """Reads the variables; raises `SettingError`, which names the variable."""
        ops = _names("RUSTTORCH_OPS")
        return cls(
            ops=ops or None,
            exclude=_names("RUSTTORCH_EXCLUDE"),
            min_numel=integer("RUSTTORCH_MIN_NUMEL", None),
            memory=_memory(),
        )


def integer(variable: str, default: int | None, choices: Iterable[int] | None = None) -> int | None:
    """A non-negative integer, one of ``choices`` if given."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise SettingError(f"{variable}={text!r} is not a whole number") from None
    if value < 0 or (choices is not None and value not in choices):
        raise SettingError(f"{variable}={text!r} is out of range")
    return value


def _memory() -> bool | int:
    value = integer("RUSTTORCH_MEMORY", 1)
    return bool(value) if value in (0, 1) else int(value or 0)


def _names(variable: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in os.environ.get(variable, "").split(",") if name.strip())
    try:
        check_names(names)
    except ValueError as error:
        raise SettingError(f"{variable}: {error}") from None
    return names


def check_names(names: Iterable[str]) -> None:
    """Raises ``ValueError`` for a name that is not in the catalogue, with the near ones."""
    for name in names:
        if name not in CATALOG:
            near = difflib.get_close_matches(str(name), CATALOG, n=3, cutoff=0.5)
            hint = f"; did you mean {', '.join(near)}?" if near else f"; known are {', '.join(CATALOG)}"
            raise ValueError(f"unknown op {name!r}{hint}")
