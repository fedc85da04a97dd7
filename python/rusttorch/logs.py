"""The log: standard logging under the name ``rusttorch``, switched on by ``RUSTTORCH_LOG``."""

from __future__ import annotations

import logging
import sys
import warnings

logger = logging.getLogger("rusttorch")

LEVELS = {"off": logging.CRITICAL + 1, "warn": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}


def configure(level: str | None) -> None:
    """Sets the level that ``RUSTTORCH_LOG`` names; without one, logging is the program's."""
    if level is None:
        return
    logger.setLevel(LEVELS[level])
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("rusttorch: %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


def warn(message: str) -> None:
    """A warning to the user, shown once for each message, at the program's own line."""
    if message not in _warned:
        _warned.add(message)
        warnings.warn(f"rusttorch: {message}", RuntimeWarning, stacklevel=_stacklevel())


def _stacklevel() -> int:
    """How far up the program is, for the caller: above this package, and what runs it at the import of torch."""
    frame, level = sys._getframe(2), 2
    while frame.f_back is not None and _is_machinery(frame.f_globals.get("__name__") or ""):
        frame = frame.f_back
        # Python does not count the frames of its import system.
        level += "importlib._bootstrap" not in frame.f_code.co_filename
    return level


def _is_machinery(module: str) -> bool:
    return module.split(".")[0] in ("rusttorch", "wrapt", "importlib")


_warned: set[str] = set()
