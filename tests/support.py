"""What several test modules share: calls of the catalogue, comparison with stock torch, and child processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import rusttorch
from rusttorch.catalog import CATALOG, Along, Op

ROOT = Path(rusttorch.__file__).parents[1]

#: (op, call) for each call of the catalogue.
CALLS = [(name, text) for name, row in CATALOG.items() for text in row.calls]

#: Those of which kernels take inputs that require a gradient.
TRAINED = [(name, text) for name, text in CALLS if CATALOG[name].trains]

#: How calls with random numbers begin.
RANDOM = tuple(text.partition("(")[0] for name, text in CALLS if CATALOG[name].random)


def evaluate(text: str, x: Any) -> Any:
    """The value of a catalogue call over ``x``; names are looked up at each call, as in a program.

    Random numbers are the same ones each time.
    """
    if text.startswith(RANDOM):
        torch.manual_seed(0)
    return eval(text, {"F": F, "torch": torch, "x": x})


def sample(row: Op, *sizes: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Random values that the op is made for, away from the kinks of piecewise functions."""
    x = torch.randn(*sizes, dtype=torch.float64) * 1.3 + 0.0371
    if row.domain == "probability":
        return x.sigmoid().to(dtype)
    return (x.abs() + 0.3 if row.domain == "positive" else x).to(dtype)


def outcome(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """What a call did, in a form that compares: its value or its exception, and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = ("returned", comparable(function(*args, **kwargs)))
        except Exception as error:
            value = ("raised", type(error), str(error))
    return (*value, [(w.category, str(w.message), w.filename, w.lineno) for w in caught])


def comparable(value: Any) -> Any:
    """A value with tensors as type, metadata and bits."""
    if isinstance(value, torch.Tensor):
        plain = value.detach()
        if plain.is_mkldnn or plain.layout != torch.strided:
            plain = plain.to_dense()
        if plain.is_quantized:
            plain = plain.int_repr()
        bits = plain.resolve_neg().resolve_conj().contiguous().view(-1).view(torch.uint8).tolist()
        strides = value.stride() if value.layout == torch.strided else None
        return (type(value), value.dtype, value.layout, tuple(value.shape), strides, value.requires_grad, bits)
    if isinstance(value, (tuple, list)):
        return type(value), [comparable(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value


def without_bits(value: Any) -> Any:
    """An outcome without the values of tensors."""
    if isinstance(value, (tuple, list)):
        if len(value) == 7 and isinstance(value[0], type):
            return value[:6]
        return [without_bits(item) for item in value]
    return value


def both(function: Callable[[], Any], *, warm: bool = False) -> tuple[Any, Any]:
    """The outcome with stock torch, and with every op on at every size; the same random numbers for both.

    ``warm`` runs it once before, for what torch does or says only the first time.
    """
    if warm:
        outcome(function)
    torch.manual_seed(1)
    stock = outcome(function)
    torch.manual_seed(1)
    with rusttorch.patch(min_numel=0):
        return stock, outcome(function)


def calls(op: str) -> int:
    """How many calls of an op a kernel has taken since the last reset."""
    row = rusttorch.report().as_dict()["ops"].get(op)
    return row["calls"] if row else 0


def declined(op: str) -> dict[str, int]:
    """Why calls of an op went to stock torch since the last reset."""
    row = rusttorch.report().as_dict()["ops"].get(op)
    return row["declined"] if row else {}


def python(*arguments: str, timeout: float = 120, cwd: Path | None = None, **environment: str) -> Any:
    """Runs Python in a child process, without this process's own settings for RustTorch."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RUSTTORCH_")}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, *arguments],
        env={**inherited, "PYTHONPATH": path, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def output(code: str, *arguments: str, timeout: float = 120, cwd: Path | None = None, **environment: str) -> str:
    """What a program prints; it must succeed."""
    done = python("-c", textwrap.dedent(code), *arguments, timeout=timeout, cwd=cwd, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


#: Operations whose gradient is stock torch's formula alone.
BY_FORMULA = ("var", "std", *(name for name, row in CATALOG.items() if isinstance(row, Along)))


#: How often the formula of a gradient calls the operation itself.
AGAIN = {"cumsum": 1, "logcumsumexp": 2}


def trained_runs(name: str) -> int:
    """How often kernels run for a result and its gradient."""
    return 1 + AGAIN.get(name, 0) if name in BY_FORMULA else 2
