"""The native side: opened once, checked against stock torch, and described."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from typing import Any

from . import _rusttorch
from ._version import __version__
from .logs import configure, logger, warn
from .settings import SettingError, Settings

#: torch versions that the tests run on; others warn once, and run if the self-check passes.
OLDEST, NEWEST_TESTED = (2, 0), (2, 15)

#: From here on, stock torch has the dtypes of the catalogue on the CPU; before, each is tried.
ALL_DTYPES = (2, 13)

#: From here on, one set of functions switches autocast for every device; before, calls under it go to stock torch.
AUTOCAST = (2, 4)

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

    Raises `SettingError` for a wrong environment, `UnavailableError` where this torch or machine is not for RustTorch.
    """
    global _found
    import torch

    with _lock:
        if _found is not None:
            return _found
        settings = Settings.from_environment()
        configure(settings.log)
        available = _rusttorch.available_isas()
        if settings.isa is not None and settings.isa not in available:
            raise SettingError(f"RUSTTORCH_ISA={settings.isa!r}: this machine has {', '.join(available)}")
        version = torch_version()
        if version < OLDEST:
            warn(f"torch {torch.__version__} is older than tested ({OLDEST[0]}.{OLDEST[1]})")
        if version > NEWEST_TESTED:
            warn(f"torch {torch.__version__} is newer than tested ({NEWEST_TESTED[0]}.{NEWEST_TESTED[1]})")
        try:
            found = dict(without_modes(_rusttorch.open, torch, settings.door, settings.isa))
        except Exception as error:
            raise UnavailableError(f"torch {torch.__version__} has no door that fits ({error})") from error
        if not found["fma"]:
            raise UnavailableError("this CPU lacks AVX2 and FMA")
        _found = found
        return found


def without_modes(function: Callable[..., Any], *args: Any) -> Any:
    """Calls where no mode of the caller's holds, such as autocast, inference or a trace: on a new thread."""
    import torch

    if getattr(torch.__spec__, "_initializing", False):
        return function(*args)  # no mode can be on yet, and another thread would wait for the lock of torch's import
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.extend((function(*args), None))
        except Exception as error:
            outcome.extend((None, error))

    thread = threading.Thread(target=run, name="rusttorch")
    thread.start()
    thread.join()
    value, error = outcome
    if error is not None:
        raise error
    return value


def system() -> dict[str, Any]:
    """What runs: version, torch version, door tier, instruction set, threads, active ops."""
    import torch

    from .patching import active_ops

    try:
        found = open_runtime()
    except (UnavailableError, SettingError) as error:
        found = {"door": None, "isa": None, "vendor": None, "unavailable": str(error)}
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
