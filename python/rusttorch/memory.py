"""The allocator policy: large freed blocks are kept and used again.

glibc gives blocks above 32 MiB back to the system when they are freed, and the next one is paged in anew; a program
that makes large tensors spends much of its time there. While the policy is on, blocks come from the heap, and up to
``limit`` bytes of free memory stay at its top. Results do not change. When the last user is done, free memory goes back
to the system and glibc's usual thresholds apply. On other systems, and under another malloc, it does nothing.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from . import _rusttorch

_lock = threading.Lock()
_limits: list[int] = []


def available() -> bool:
    """Whether malloc is glibc's, so that the policy can act."""
    return _rusttorch.memory_available()


def default_limit() -> int:
    """The most free bytes kept at the top of the heap unless said otherwise: a quarter of the machine's memory."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        total = 4 << 30
    return max(total // 4, 64 << 20)


def kept() -> int:
    """Bytes that the allocator holds now and nobody uses."""
    return _rusttorch.memory_kept()


def trim() -> None:
    """Gives free memory back to the system now."""
    _rusttorch.memory_trim()


class policy:
    """Keeps up to ``limit`` free bytes (``True``: `default_limit`) while inside; nests, the largest limit holding."""

    def __init__(self, limit: bool | int = True) -> None:
        self.limit = default_limit() if limit is True else int(limit)
        self._entered: list[int] = []

    def __enter__(self) -> policy:
        with _lock:
            _limits.append(self.limit)
            self._entered.append(self.limit)
            _apply()
        return self

    def __exit__(self, *_: Any) -> None:
        with _lock:
            _limits.remove(self._entered.pop())
            _apply()


def _apply() -> None:
    if max(_limits, default=0) > 0:
        _rusttorch.memory_keep(max(_limits))
    else:
        _rusttorch.memory_restore()
