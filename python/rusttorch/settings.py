"""What the environment says. A wrong value is one clear warning, and stock torch."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from .catalog import EVERY

#: Where random numbers come from.
RNGS = ("torch", "fast")


class SettingError(ValueError):
    """An environment variable has a value that it cannot have."""


@dataclass(frozen=True)
class Settings:
    """``RUSTTORCH_AUTO``, ``_OPS``, ``_EXCLUDE``, ``_MIN_NUMEL``, ``_MEMORY``, ``_RNG``, ``_LOG``, ``_ISA`` and
    ``_DOOR``."""

    auto: bool
    ops: tuple[str, ...] | None
    exclude: tuple[str, ...]
    min_numel: int | None
    memory: bool | int
    rng: str
    log: str | None
    isa: str | None
    door: int

    @classmethod
    def from_environment(cls) -> Settings:
        """Reads the variables; raises `SettingError`, which names the variable."""
        ops = _names("RUSTTORCH_OPS")
        return cls(
            auto=bool(integer("RUSTTORCH_AUTO", 0, choices=(0, 1))),
            ops=ops or None,
            exclude=_names("RUSTTORCH_EXCLUDE"),
            min_numel=integer("RUSTTORCH_MIN_NUMEL", None),
            memory=_memory(),
            rng=_word("RUSTTORCH_RNG", RNGS) or "torch",
            log=_word("RUSTTORCH_LOG", ("off", "warn", "info", "debug")),
            isa=_word("RUSTTORCH_ISA", ("avx2", "avx512")),
            door=integer("RUSTTORCH_DOOR", 1, choices=(1, 2, 3)) or 1,
        )


def integer(variable: str, default: int | None, choices: tuple[int, ...] | None = None) -> int | None:
    """A non-negative integer that the native side can hold, one of ``choices`` if given."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        value = -1
    if choices is not None and value not in choices:
        raise _not_one_of(variable, text, tuple(map(str, choices)))
    if not 0 <= value <= sys.maxsize:
        raise SettingError(f"{variable}={text!r} is not a whole number from 0 to {sys.maxsize}")
    return value


def _word(variable: str, choices: tuple[str, ...]) -> str | None:
    text = os.environ.get(variable, "").strip()
    if text and text.lower() not in choices:
        raise _not_one_of(variable, text, choices)
    return text.lower() or None


def _not_one_of(variable: str, text: str, choices: tuple[str, ...]) -> SettingError:
    return SettingError(f"{variable}={text!r} is not {', '.join(choices[:-1])} or {choices[-1]}")


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
        if name not in EVERY:
            near = difflib.get_close_matches(str(name), EVERY, n=3, cutoff=0.5)
            hint = f"; did you mean {', '.join(near)}?" if near else f"; known are {', '.join(EVERY)}"
            raise ValueError(f"unknown op {name!r}{hint}")
