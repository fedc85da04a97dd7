"""A drop-in accelerator for PyTorch on the CPU.

``with rusttorch.accelerate():`` around existing code, ``rusttorch.patch(ops=["relu", "softmax"])`` at start-up, or
``RUSTTORCH_AUTO=1`` in the environment. What a kernel was not written for goes to stock torch untouched.

Without patching: `Tensor`, and functions of torch's names, such as ``rusttorch.softmax(x, dim=-1)``.
"""

from __future__ import annotations

from typing import Any

from . import _functions, memory, optim
from ._rusttorch import Tensor, dtype, dtypes, manual_seed
from ._version import __version__
from .explain import explain
from .patching import Handle, accelerate, active_ops, is_patched, ops, patch
from .report import Report, report
from .runtime import system

__all__ = [
    "Handle",
    "Report",
    "Tensor",
    "__version__",
    "accelerate",
    "active_ops",
    "dtype",
    "explain",
    "is_patched",
    "manual_seed",
    "memory",
    "ops",
    "optim",
    "patch",
    "report",
    "system",
]

globals().update(dtypes())
from_numpy, from_torch, from_dlpack = Tensor.from_numpy, Tensor.from_torch, Tensor.from_dlpack


def __getattr__(name: str) -> Any:
    """Functions of torch's names, made when they are first asked for."""
    found = None if name.startswith("_") else _functions.find(name)
    if found is not None:
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_functions.names()})
