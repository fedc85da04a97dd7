"""Errors against double precision, and of double precision against more digits: none larger than stock torch's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np
import ops_cases as cases
import pytest
import torch
from ops_cases import CALLS, Call

#: Of running sums tests/test_cumulative.py.
ROWS = [
    call
    for call in CALLS
    if call.op.shape != "pointwise" and call.op.exactness == "ulp" and call.op.name not in cases.CUMULATIVE
]
POINTWISE = [call for call in CALLS if call.op.shape == "pointwise" and call.op.exactness == "ulp"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def both(call: Call, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The kernel's result and stock torch's."""
    stock = call(x)
    with cases.accelerated(call.op) as runs:
        mine = call(x)
        assert runs() == 1
    return mine, stock


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("call", POINTWISE, ids=str)
def test_sweep(call: Call, dtype: torch.dtype) -> None:
    x = cases.sweep(dtype)
    mine, stock = both(call, x)
    faults = list(cases.value_faults(call, mine, stock, x, cases.FLOOR[dtype]))
    assert not faults, cases.report(faults)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("call", ROWS, ids=str)
def test_rows(call: Call, dtype: torch.dtype) -> None:
    """Rows of many lengths, and of small, ordinary and large numbers."""
    faults, worst = [], [0.0, 0.0]
    smallest = cases.DIFFERENCE_OF.get(call.op.name, 0.0)
    for length, scale in [(10, 1.0), (64, 0.1), (130, 1.0), (1000, 3.0), (1000, 30.0), (4100, 0.01), (70_000, 1.0)]:
        x = cases.values(call.op, 16 * length if length < 70_000 else length, torch.float64, length) * scale
        x = x.to(dtype).view(-1, length)
        x = x if call.dim == -1 else x.t().contiguous()
        stock = call(x)
        with cases.accelerated(call.op):
            mine = call(x)
        reference = call.reference(x)
        for index, result in enumerate((mine, stock)):
            worst[index] = max(worst[index], cases.worst(result, reference, smallest))
    if worst[0] > max(worst[1], cases.FLOOR[dtype]) * 1.001:
        faults.append(f"error {worst[0]:.3f} ulp, stock {worst[1]:.3f}")
    assert not faults, cases.report(faults)


# Double precision, with more digits.


def _softplus(x: Any) -> Any:
    return x + mpmath.log1p(mpmath.exp(-x)) if x > 0 else mpmath.log1p(mpmath.exp(x))


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-x))


def _gelu(x: Any, approximate: str = "none") -> Any:
    if approximate == "none":
        return x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2
    return x * _sigmoid(2 * mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3))


def _elu(x: Any, alpha: float = 1.0) -> Any:
    return x if x > 0 else alpha * mpmath.expm1(x)


SELU = mpmath.mpf("1.6732632423543772848170429916717"), mpmath.mpf("1.0507009873554804934193349852946")

EXACT: dict[str, Callable[..., Any]] = {
    "relu6": lambda x: min(max(x, 0), 6),
    "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "hardsigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "elu": _elu,
    "selu": lambda x: SELU[1] * _elu(x, SELU[0]),
    "celu": lambda x, alpha=1.0: x if x > 0 else alpha * mpmath.expm1(x / alpha),
    "gelu": _gelu,
    "silu": lambda x: x * _sigmoid(x),
    "mish": lambda x: x * mpmath.tanh(_softplus(x)),
    "sigmoid": _sigmoid,
    "tanh": mpmath.tanh,
    "softplus": lambda x, beta=1.0, threshold=20.0: x if x * beta > threshold else _softplus(x * beta) / beta,
    "softsign": lambda x: x / (1 + abs(x)),
    "logsigmoid": lambda x: -_softplus(-x),
    "exp": mpmath.exp,
    "log": mpmath.log,
    "erf": mpmath.erf,
    "pow": lambda x, exponent: x ** mpmath.mpf(exponent),
}


@pytest.mark.parametrize("call", POINTWISE, ids=str)
def test_double_precision(call: Call) -> None:
    """A few thousand numbers, of ordinary sizes and of all exponents, computed with 60 digits."""
    generator = torch.Generator().manual_seed(7)
    ordinary = torch.randn(1200, generator=generator, dtype=torch.float64) * 4
    exponents = torch.rand(600, generator=generator, dtype=torch.float64) * 60 - 50
    x = torch.cat([ordinary, ordinary * 8, torch.exp2(exponents) * torch.sign(ordinary[:600])])
    x = x.abs() if call.op.domain == "positive" else x
    mine, stock = both(call, x)
    errors: tuple[list[float], list[float]] = [], []
    with mpmath.workdps(60):
        for value, *results in zip(x.tolist(), mine.tolist(), stock.tolist(), strict=True):
            exact = EXACT[call.op.name](mpmath.mpf(value), **dict(call.arguments))
            unit = math.ulp(float(exact))
            for result, found in zip(results, errors, strict=True):
                if math.isfinite(result):
                    found.append(float(abs(result - exact) / unit))
    assert len(errors[0]) == len(errors[1])
    assert max(errors[0]) <= max(max(errors[1]), 1.0), f"error {max(errors[0]):.3f} ulp, stock {max(errors[1]):.3f}"


def _logsumexp(x: np.ndarray, axis: int) -> np.ndarray:
    largest = x.max(axis, keepdims=True)
    return np.log(np.exp(x - largest).sum(axis, keepdims=True)) + largest


#: As `EXACT`, with the 64 bits of NumPy's long double.
EXACT_ROWS: dict[str, Callable[..., Any]] = {
    "softmax": lambda x, dim: np.exp(x - _logsumexp(x, dim)),
    "log_softmax": lambda x, dim: x - _logsumexp(x, dim),
    "logsumexp": lambda x, dim, keepdim=False: _logsumexp(x, dim) if keepdim else _logsumexp(x, dim).squeeze(dim),
    "glu": lambda x, dim: np.multiply(*(f(half) for f, half in zip(GATE, np.split(x, 2, dim), strict=True))),
}
EXACT_ROWS |= {
    name: lambda x, dim, keepdim=False, root=root: np.power(np.var(x, axis=dim, ddof=1, keepdims=keepdim), root)
    for name, root in (("var", 1), ("std", np.longdouble(0.5)))
}
GATE = (lambda value: value, lambda gate: 1 / (1 + np.exp(-gate)))


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="no longer long double")
@pytest.mark.parametrize("call", ROWS, ids=str)
def test_rows_in_double_precision(call: Call) -> None:
    worst, smallest = [0.0, 0.0], cases.DIFFERENCE_OF.get(call.op.name, 0.0)
    for length, scale in [(10, 1.0), (64, 0.1), (1000, 3.0), (1000, 30.0), (70_000, 1.0)]:
        x = cases.values(call.op, 16 * length if length < 70_000 else length, torch.float64, length) * scale
        x = x.view(-1, length) if call.dim == -1 else x.view(-1, length).t().contiguous()
        stock = call(x)
        with cases.accelerated(call.op):
            mine = call(x)
        exact = EXACT_ROWS[call.op.name](x.numpy().astype(np.longdouble), **dict(call.arguments))
        unit = np.spacing(np.maximum(np.abs(exact), smallest).astype(np.float64))
        for index, result in enumerate((mine, stock)):
            worst[index] = max(worst[index], float((np.abs(result.numpy() - exact) / unit).max()))
    # Of so few numbers the largest error is a matter of luck, by a little.
    assert worst[0] <= max(1.05 * worst[1], 1.0), f"error {worst[0]:.3f} ulp, stock {worst[1]:.3f}"
