"""The native side: opened once, checked against stock torch, and described."""

from __future__ import annotations

import functools
import os
import re
import threading
from typing import Any

from . import _rusttorch, settings
from ._version import __version__
from .log import logger, warn

#: torch versions that the tests run on; others warn once, and run if the self-check passes.
OLDEST, NEWEST_TESTED = (2, 0), (2, 15)

_lock = threading.Lock()
_found: dict[str, Any] | None = None


class UnavailableError(RuntimeError):
    """Nothing can be accelerated here; the message says why."""


def torch_version() -> tuple[int, int]:
    """Major and minor version of torch."""
    import torch

    match = re.match(r"(\d+)\.(\d+)", torch.__version__)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def open_runtime() -> dict[str, Any]:
    """Opens the doors into torch, once: ``door``, ``isa``, ``fma``, ``native_state``.

    Raises `UnavailableError` where this torch or this machine is not for RustTorch.
    """
    global _found
    import torch

    with _lock:
        if _found is not None:
            return _found
        version = torch_version()
        if version < OLDEST:
            raise UnavailableError(f"torch {torch.__version__} is older than {OLDEST[0]}.{OLDEST[1]}")
        if version > NEWEST_TESTED:
            warn(f"torch {torch.__version__} is newer than tested ({NEWEST_TESTED[0]}.{NEWEST_TESTED[1]})")
        isa = os.environ.get("RUSTTORCH_ISA", "").strip().lower() or None
        available = _rusttorch.available_isas()
        if isa is not None and isa not in available:
            known = isa in ("avx512", "avx2", "baseline")
            detail = "this machine does not have it" if known else f"this machine has {', '.join(available)}"
            raise settings.SettingError(f"RUSTTORCH_ISA={isa!r}: {detail}")
        tier = settings.integer("RUSTTORCH_DOOR", 1, choices=(1, 2, 3)) or 1
        found = dict(_rusttorch.open(torch, tier, isa))
        if not found["fma"]:
            raise UnavailableError("this CPU lacks AVX2 and FMA")
        _found = found
        return found


def system() -> dict[str, Any]:
    """What runs: version, torch version, door tier, instruction set, threads, active ops."""
    import torch

    from .patching import active_ops

    try:
        found = open_runtime()
    except (UnavailableError, settings.SettingError) as error:
        found = {"door": None, "isa": None, "unavailable": str(error)}
    return {
        "version": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "ops": active_ops(),
        **found,
    }


@functools.lru_cache(maxsize=1)
def announce() -> None:
    """One line that says that it is on, under ``RUSTTORCH_LOG=info``."""
    facts = system()
    logger.info(
        "%s on, torch %s, door %s, %s, %d threads, %d ops",
        facts["version"], facts["torch"], facts["door"], facts["isa"], facts["threads"], len(facts["ops"]),
    )
