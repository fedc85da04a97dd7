"""The update rules of optimizers, on tensors that the caller keeps.

Each changes ``param`` and its state in place: explicit tensors, NumPy arrays, or torch tensors, which go to the
functions of ``torch.optim``. All have one shape and one floating-point dtype, and lie row by row in memory. Where they
do not, TypeError or ValueError, before anything is changed.
"""

from __future__ import annotations

import sys
from typing import Any

from . import _rusttorch

__all__ = ["adam_", "adamw_", "sgd_"]


def _is_torch(tensor: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(tensor, torch.Tensor)


def _check(name: str, step: float | None, **numbers: float) -> None:
    for what, number in numbers.items():
        if number < 0:
            raise ValueError(f"{name}: {what} must not be negative, and is {number}")
    if step is not None and step < 1:
        raise ValueError(f"{name}: step counts from 1, this one included, and is {step}")


def _adam(
    name: str, param: Any, grad: Any, exp_avg: Any, exp_avg_sq: Any, step: float, lr: float,
    betas: tuple[float, float], eps: float, weight_decay: float, maximize: bool,
) -> Any:
    _check(name, step, lr=lr, eps=eps, weight_decay=weight_decay)
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"{name}: betas must be from 0 to below 1, and are {betas}")
    if _is_torch(param):
        import torch

        with torch.no_grad():
            getattr(torch.optim._functional, name[:-1])(
                [param], [grad], [exp_avg], [exp_avg_sq], [], [torch.tensor(float(step - 1))], amsgrad=False,
                beta1=betas[0], beta2=betas[1], lr=lr, weight_decay=weight_decay, eps=eps, maximize=maximize,
            )  # fmt: skip
        return param
    _rusttorch.optimizer_step(
        "adam",
        [param, grad, exp_avg, exp_avg_sq],
        ["param", "grad", "exp_avg", "exp_avg_sq"],
        step,
        [*betas, lr, weight_decay, eps, float(maximize), float(name == "adamw_")],
    )
    return param


def adam_(
    param: Any, grad: Any, exp_avg: Any, exp_avg_sq: Any, *, step: float, lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0, maximize: bool = False,
) -> Any:
    """A step of ``torch.optim.Adam``, the ``step``-th counted from 1. Returns ``param``."""
    return _adam("adam_", param, grad, exp_avg, exp_avg_sq, step, lr, betas, eps, weight_decay, maximize)


def adamw_(
    param: Any, grad: Any, exp_avg: Any, exp_avg_sq: Any, *, step: float, lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 1e-2, maximize: bool = False,
) -> Any:
    """A step of ``torch.optim.AdamW``, the ``step``-th counted from 1. Returns ``param``."""
    return _adam("adamw_", param, grad, exp_avg, exp_avg_sq, step, lr, betas, eps, weight_decay, maximize)


def sgd_(
    param: Any, grad: Any, momentum_buffer: Any = None, *, lr: float = 1e-3, momentum: float = 0.0,
    dampening: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False, maximize: bool = False,
) -> Any:
    """A step of ``torch.optim.SGD``. With momentum, ``momentum_buffer`` is what it keeps: the first gradient, or zeros
    before a first step whose gradient then counts ``1 - dampening`` times. Returns ``param``."""
    _check("sgd_", None, lr=lr, momentum=momentum, weight_decay=weight_decay)
    if momentum and momentum_buffer is None:
        raise TypeError("sgd_: momentum needs a momentum_buffer, such as Tensor.zeros(param.shape)")
    if nesterov and (momentum <= 0 or dampening):
        raise ValueError("sgd_: nesterov needs a momentum, and no dampening")
    numbers = {"weight_decay": weight_decay, "momentum": momentum, "lr": lr, "dampening": dampening}
    if _is_torch(param):
        import torch

        with torch.no_grad():
            torch.optim._functional.sgd(
                [param], [grad], [momentum_buffer], **numbers, nesterov=nesterov, maximize=maximize
            )
        return param
    buffer = [momentum_buffer] if momentum else []
    _rusttorch.optimizer_step(
        "sgd",
        [param, grad, *buffer],
        ["param", "grad", "momentum_buffer"],
        1.0,
        [*numbers.values(), float(nesterov), float(maximize)],
    )
    return param
