"""A drop-in accelerator for PyTorch on the CPU.

``with rusttorch.accelerate():`` around existing code, ``rusttorch.patch(ops=["relu", "softmax"])`` at start-up, or
``RUSTTORCH_AUTO=1`` in the environment. What a kernel was not written for goes to stock torch untouched.
"""

from __future__ import annotations

from . import memory
from ._version import __version__
from .explain import explain
from .patching import Handle, accelerate, active_ops, is_patched, ops, patch
from .report import Report, report
from .runtime import system

__all__ = [
    "Handle",
    "Report",
    "__version__",
    "accelerate",
    "active_ops",
    "explain",
    "is_patched",
    "memory",
    "ops",
    "patch",
    "report",
    "system",
]
