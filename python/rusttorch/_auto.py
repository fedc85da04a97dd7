"""``RUSTTORCH_AUTO=1``: switches on when the program imports torch. Nothing here can break that import."""

from __future__ import annotations

import sys
import warnings
from typing import Any

_installed = False


def install() -> None:
    """Waits for torch; called at the start of the interpreter, by ``rusttorch_auto.pth``.

    Once: the interpreter of a virtual environment reads such files twice.
    """
    global _installed
    if _installed:
        return
    _installed = True
    try:
        if "torch" in sys.modules:
            _start(sys.modules["torch"])
            return
        import wrapt

        wrapt.when_imported("torch")(_start)
    except Exception as error:  # an accelerator must not keep a program from starting
        _complain(error)


def _start(torch: Any) -> None:
    try:
        from . import logs
        from .patching import patch
        from .settings import SettingError, Settings

        try:
            settings = Settings.from_environment()
        except SettingError as error:
            logs.warn(f"{error}; stock torch is used")
            return
        patch(
            settings.ops,
            exclude=settings.exclude,
            min_numel=settings.min_numel,
            memory=settings.memory,
            rng=settings.rng,
        )
    except Exception as error:
        _complain(error)


def _complain(error: Exception) -> None:
    if isinstance(error, Warning):  # where warnings are errors, ours too must not break the import
        print(error, file=sys.stderr)
        return
    message = f"rusttorch: not switched on, stock torch is used: {error!r}"
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    except RuntimeWarning:
        print(message, file=sys.stderr)
