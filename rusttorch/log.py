"""The log: standard logging under the name ``rusttorch``, switched on by ``RUSTTORCH_LOG``."""

from __future__ import annotations

import logging
import os
import warnings

logger = logging.getLogger("rusttorch")

LEVELS = {"off": logging.CRITICAL + 1, "warn": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}


def configure() -> None:
    """Sets the level that ``RUSTTORCH_LOG`` names; a wrong value is one warning."""
    value = os.environ.get("RUSTTORCH_LOG", "").strip().lower()
    if not value:
        return
    if value not in LEVELS:
        warn(f"RUSTTORCH_LOG={value!r} is not one of {', '.join(LEVELS)}")
        return
    logger.setLevel(LEVELS[value])
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("rusttorch: %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


def warn(message: str) -> None:
    """A warning to the user, shown once for each message."""
    if message not in _warned:
        _warned.add(message)
        warnings.warn(f"rusttorch: {message}", RuntimeWarning, stacklevel=3)


_warned: set[str] = set()
