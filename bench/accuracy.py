"""The largest error of stock torch and of RustTorch, in units in the last place, against references in wider floats.

The references are written here, in numpy: for float32 and the halves in float64, for float64 in the 80-bit floats that
numpy calls longdouble on x86. They avoid the cancellations that torch's own formulas have in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from rusttorch.catalog import CATALOG, Along, Op

from . import sides

Array = Any

#: Bits of the significand, and the exponents of the smallest normal and of the largest finite number.
FORMATS = {
    "float32": (24, -126, 127),
    "float64": (53, -1022, 1023),
    "bfloat16": (8, -126, 127),
    "float16": (11, -14, 15),
}

#: Values that one call takes: enough for several threads.
CHUNK = 2**22
#: Every how manyth float32 pattern is tried by default; odd, so that all low bits occur.
STRIDE = 509
#: Of the rows, how many, how long, and how widely spread their values are.
ROWS, LENGTHS, SCALES = 512, (7, 64, 1000), (0.1, 1.0, 10.0)

#: Inputs up to this are ordinary: many functions over- or underflow early beyond, and all errors there are large.
ORDINARY = 10
#: The reference's own error, in units.
TOLERANCE = 1e-3

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def wide_enough() -> bool:
    """Whether numpy's longdouble is wider than float64 here."""
    return np.finfo(np.longdouble).nmant >= 63


# The references. Each has its stock function's signature; `x` is a float64 or longdouble array.


def _erfcx(z: Array) -> Array:
    """``exp(z * z) * erfc(z)`` for ``z >= 1``: Legendre's continued fraction, from the far end."""
    fraction = np.zeros_like(z)
    for k in range(400, 0, -1):
        fraction = (k / z.dtype.type(2)) / (z + fraction)
    return 1 / ((z + fraction) * np.sqrt(z.dtype.type(math.pi) + z.dtype.type(1.2246467991473532e-16)))


def _erf_series(z: Array) -> Array:
    """``erf(z)`` for ``|z| < 2``: the series whose terms all have one sign."""
    square, term, total = z * z, z.copy(), z.copy()
    for k in range(1, 90):
        term = term * (2 * square / (2 * k + 1))
        total = total + term
    return 2 * np.exp(-square) * total / np.sqrt(z.dtype.type(math.pi) + z.dtype.type(1.2246467991473532e-16))


def _exp_minus_half_square(x: Array) -> Array:
    """``exp(-x * x / 2)``; the square is split, since its rounding would be magnified."""
    head = x.astype(np.float32).astype(x.dtype)
    return np.exp(-head * head / 2) * np.exp(-(x - head) * (x + head) / 2)


def _normal_cdf(x: Array) -> Array:
    """The normal distribution's cumulative function, exact in its tail."""
    if x.dtype == np.float64:
        z = torch.from_numpy(-x * math.sqrt(0.5))
        return torch.special.erfc(z).numpy() / 2
    root = np.sqrt(x.dtype.type(2))
    z = np.minimum(np.abs(x), 60) / root
    tail = _exp_minus_half_square(np.minimum(np.abs(x), 60)) * _erfcx(np.maximum(z, 1)) / 2
    middle = _erf_series(np.minimum(z, 1)) / 2
    half = x.dtype.type(0.5)
    lower = np.where(z < 1, half - middle, tail)
    return np.where(x < 0, lower, np.where(z < 1, half + middle, 1 - tail))


def _log1p_exp(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


class Reference:
    """Stands in for ``torch`` and ``torch.nn.functional`` in a call of the catalogue.

    ``single`` rounds the call's numbers to float32: that is what both kernels are given for float32 and the halves.
    """

    def __init__(self, single: bool) -> None:
        self._single = single

    def _number(self, value: float) -> float:
        return float(np.float32(value)) if self._single else value

    def relu(self, x: Array) -> Array:  # noqa: D102
        return np.where(x < 0, 0, x)

    def relu6(self, x: Array) -> Array:  # noqa: D102
        return np.clip(x, 0, 6)

    def hardtanh(self, x: Array, min_val: float = -1.0, max_val: float = 1.0) -> Array:  # noqa: D102
        return np.clip(x, min_val, max_val)

    def leaky_relu(self, x: Array, negative_slope: float = 0.01) -> Array:  # noqa: D102
        return np.where(x > 0, x, x * self._number(negative_slope))

    def hardswish(self, x: Array) -> Array:  # noqa: D102
        return x * (np.clip(x + 3, 0, 6) / 6)

    def hardsigmoid(self, x: Array) -> Array:  # noqa: D102
        return np.clip(x + 3, 0, 6) / 6

    def elu(self, x: Array, alpha: float = 1.0) -> Array:  # noqa: D102
        return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))

    def selu(self, x: Array) -> Array:  # noqa: D102
        return _SELU_SCALE * self.elu(x, _SELU_ALPHA)

    def celu(self, x: Array, alpha: float = 1.0) -> Array:  # noqa: D102
        return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))

    def gelu(self, x: Array, approximate: str = "none") -> Array:  # noqa: D102
        if approximate == "tanh":
            inner = np.sqrt(2 / x.dtype.type(math.pi)) * (x + x.dtype.type(0.044715) * x**3)
            return x / (1 + np.exp(-2 * inner))
        return x * _normal_cdf(x)

    def silu(self, x: Array) -> Array:  # noqa: D102
        return x / (1 + np.exp(-x))

    def mish(self, x: Array) -> Array:  # noqa: D102
        power = np.exp(np.minimum(x, 30))
        return x * (power * (power + 2) / (power * (power + 2) + 2))

    def sigmoid(self, x: Array) -> Array:  # noqa: D102
        return 1 / (1 + np.exp(-x))

    def tanh(self, x: Array) -> Array:  # noqa: D102
        return np.tanh(x)

    def softplus(self, x: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:  # noqa: D102
        return np.where(x * beta > threshold, x, _log1p_exp(x * beta) / beta)

    def softsign(self, x: Array) -> Array:  # noqa: D102
        return x / (1 + np.abs(x))

    def logsigmoid(self, x: Array) -> Array:  # noqa: D102
        return -_log1p_exp(-x)

    def exp(self, x: Array) -> Array:  # noqa: D102
        return np.exp(x)

    def log(self, x: Array) -> Array:  # noqa: D102
        return np.log(x)

    def erf(self, x: Array) -> Array:  # noqa: D102
        if x.dtype == np.float64:
            return torch.erf(torch.from_numpy(x)).numpy()
        z = np.minimum(np.abs(x), 60)
        tail = 1 - np.exp(-z * z) * _erfcx(np.maximum(z, 1))
        return np.copysign(np.where(z < 1, _erf_series(np.minimum(z, 1)), tail), x)

    def pow(self, x: Array, exponent: float) -> Array:  # noqa: D102
        return np.power(x, x.dtype.type(self._number(exponent)))

    def cumsum(self, x: Array, dim: int) -> Array:  # noqa: D102
        return np.cumsum(x, axis=dim)

    def logcumsumexp(self, x: Array, dim: int) -> Array:  # noqa: D102
        return np.logaddexp.accumulate(x, axis=dim)

    def logsumexp(self, x: Array, dim: int, keepdim: bool = False) -> Array:  # noqa: D102
        return _sum_exp(x, dim, keepdim)[1]

    def var(self, x: Array, dim: int, keepdim: bool = False) -> Array:  # noqa: D102
        return np.var(x, axis=dim, ddof=1, keepdims=keepdim)

    def std(self, x: Array, dim: int, keepdim: bool = False) -> Array:  # noqa: D102
        return np.sqrt(self.var(x, dim, keepdim))

    def log_softmax(self, x: Array, dim: int) -> Array:  # noqa: D102
        rest, _ = _sum_exp(x, dim, True)
        return (x - np.max(x, axis=dim, keepdims=True)) - rest

    def softmax(self, x: Array, dim: int) -> Array:  # noqa: D102
        powers = np.exp(x - np.max(x, axis=dim, keepdims=True))
        return powers / np.sum(powers, axis=dim, keepdims=True)

    def glu(self, x: Array, dim: int) -> Array:  # noqa: D102
        value, gate = np.split(x, 2, axis=dim)
        return value * self.sigmoid(gate)


def _sum_exp(x: Array, dim: int, keepdim: bool) -> tuple[Array, Array]:
    """The logarithm of the sum of exponentials above the maximum, and in full; the maximum's own 1 is left to log1p."""
    top = np.max(x, axis=dim, keepdims=True)
    powers = np.exp(x - top)
    first = np.expand_dims(np.argmax(x, axis=dim), dim)
    np.put_along_axis(powers, first, 0, axis=dim)
    rest = np.log1p(np.sum(powers, axis=dim, keepdims=True))
    full = top + rest
    return rest, full if keepdim else np.squeeze(full, axis=dim)


# Errors.


def ulps(actual: Array, expected: Array, dtype: str, at_least: float = 0.0) -> Array:
    """Errors in units of the last place of the expected value, or of ``at_least`` where that is larger.

    An infinity stands for the power of two after the largest finite number, as in rounding. Not a number where a
    number is expected, or the other way round, is an infinite error.
    """
    bits, low, high = FORMATS[dtype]
    kind = expected.dtype.type
    beyond = np.ldexp(kind(1), high + 1)
    expected_clipped, actual_clipped = np.clip(expected, -beyond, beyond), np.clip(actual, -beyond, beyond)
    size = np.maximum(np.abs(expected_clipped), max(kind(at_least), np.ldexp(kind(1), low)))
    exponents = np.minimum(np.frexp(size)[1] - 1, high)
    errors = np.abs(actual_clipped - expected_clipped) / np.ldexp(kind(1), exponents - bits + 1)
    unknown = np.isnan(actual) | np.isnan(expected)
    return np.where(unknown, np.where(np.isnan(actual) & np.isnan(expected), 0, np.inf), errors)


@dataclass
class Worst:
    """The largest error so far, where it was, and the largest among ordinary inputs."""

    error: float = 0.0
    at: float = math.nan
    ordinary: float = 0.0

    def take(self, errors: Array, inputs: Array) -> None:
        """Looks at more errors; ``inputs`` of another shape than the errors do not tell where."""
        index = int(np.argmax(errors))
        pointwise = errors.shape == inputs.shape
        if errors.flat[index] > self.error:
            self.error = float(errors.flat[index])
            self.at = float(inputs.flat[index]) if pointwise else math.nan
        inside = errors[np.abs(inputs) <= ORDINARY] if pointwise else errors
        self.ordinary = max(self.ordinary, float(inside.max(initial=0)))


# Values to try.


def _from_bits(bits: Array, dtype: str) -> torch.Tensor:
    signed = bits.view({2: np.int16, 4: np.int32, 8: np.int64}[bits.dtype.itemsize])
    return torch.from_numpy(signed.copy()).view(getattr(torch, dtype))


def patterns(dtype: str, stride: int) -> Iterator[torch.Tensor]:
    """All numbers of a half, every ``stride``-th float32, or a sample of float64; special values always."""
    if dtype in ("float16", "bfloat16"):
        yield _from_bits(np.arange(2**16, dtype=np.uint16), dtype)
        return
    width = 32 if dtype == "float32" else 64
    bits, low, _ = FORMATS[dtype]
    tiny = np.ldexp(1.0, low)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, tiny, -tiny, tiny / 2, -tiny / 2, 1.0, -1.0])
    near = np.array([0.0, 0.5, 0.75, 1.0, 2.0, 3.0, 6.0, 10.0, 20.0, 88.7, 103.9, 709.7, 745.1])
    steps = 1 + np.arange(-64, 65) * 2.0 ** (1 - bits)
    yield torch.from_numpy(np.concatenate([special, np.outer(near, steps).ravel(), -np.outer(near, steps).ravel()])).to(
        getattr(torch, dtype)
    )
    if width == 32:
        for start in range(0, 2**32, CHUNK * stride):
            found = np.arange(start, min(start + CHUNK * stride, 2**32), stride, dtype=np.uint64)
            yield _from_bits(found.astype(np.uint32), dtype)
        return
    # Of 2^64 numbers only a sample can be tried: all magnitudes, and more of those where functions bend.
    random = np.random.default_rng(0)
    yield _from_bits(random.integers(0, 2**64, 2**15, dtype=np.uint64, endpoint=False), dtype)
    for width in (1.0, 8.0, 40.0, 760.0):
        yield torch.from_numpy(random.uniform(-width, width, 2**14))


def rows(op: Op, dtype: str) -> Iterator[torch.Tensor]:
    """Random 2-d inputs."""
    generator = torch.Generator().manual_seed(0)
    for length in LENGTHS:
        for scale in SCALES:
            count = ROWS // 4 if dtype == "float64" else ROWS
            even = length + length % 2 if op.shape == "glu" else length
            drawn = torch.randn(count, even, generator=generator, dtype=torch.float64) * scale
            yield drawn.to(getattr(torch, dtype))


def measure(op: Op, call: str, dtype: str, stride: int) -> dict[str, Any]:
    """One call's largest errors."""
    wide = np.longdouble if dtype == "float64" else np.float64
    reference = Reference(single=dtype != "float64")
    scope: dict[str, Any] = {"torch": torch, "F": torch.nn.functional}
    code = compile(call, call, "eval")
    ways = {"stock": Worst(), "ours": Worst()}
    differing_zeros = tried = 0
    # A logarithm of a sum near 1 has no digits left in any implementation.
    at_least = 1.0 if op.name in ("logsumexp", "log_softmax") else 0.0
    for x in patterns(dtype, stride) if op.shape == "pointwise" else rows(op, dtype):
        results = {}
        for name in ways:
            with sides.kernels(op.name, 0)() if name == "ours" else nullcontext(), torch.no_grad():
                results[name] = eval(code, {**scope, "x": x})
        with np.errstate(all="ignore"):
            values = x.double().numpy().astype(wide)
            found = {name: result.double().numpy().astype(wide) for name, result in results.items()}
            expected = np.asarray(eval(code, {"torch": reference, "F": reference, "x": values}), dtype=wide)
            errors = {name: ulps(found[name], expected, dtype, at_least) for name in ways}
            if expected.shape == values.shape:
                # gelu of infinity is a number in some of stock torch's versions and not in others: either will do.
                known = np.isfinite(values)
                errors["stock"] = np.where(known, errors["stock"], 0)
                either = np.minimum(errors["ours"], ulps(found["ours"], found["stock"], dtype))
                errors["ours"] = np.where(known, errors["ours"], either)
            for name, worst in ways.items():
                worst.take(errors[name], values)
        zero = (results["stock"] == 0) & (results["ours"] == 0)
        differing_zeros += int((zero & (results["stock"].signbit() != results["ours"].signbit())).sum())
        tried += x.numel()
    row = {"op": op.name, "call": call, "dtype": dtype, "values": tried, "zeros": differing_zeros}
    for name, worst in ways.items():
        where = None if math.isnan(worst.at) else worst.at
        row.update({name: worst.error, f"{name}_at": where, f"{name}_ordinary": worst.ordinary})
    return row


def has_error(row: Op) -> bool:
    """Whether results may be rounded: of random numbers, elements and indices the tests compare the bits."""
    return not row.random and not (isinstance(row, Along) and row.exactness == "bits")


def run(
    ops: Sequence[str], dtypes: Sequence[str], stride: int, console: Console, then: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """Measures every call of the ops; ``then`` sees each row as it comes."""
    if "float64" in dtypes and not wide_enough():
        console.print("numpy has no floats wider than float64 here: float64 is left out.")
        dtypes = [dtype for dtype in dtypes if dtype != "float64"]
    rows = [CATALOG[name] for name in ops if name in CATALOG and has_error(CATALOG[name])]
    todo = [(row, call, dtype) for row in rows for call in row.calls for dtype in dtypes]
    found = []
    with Progress(console=console, disable=not console.is_terminal) as progress:
        for op, call, dtype in progress.track(todo, description="accuracy"):
            if dtype in op.dtypes:
                found.append(measure(op, call, dtype, stride))
                then(found[-1])
    return found


def is_worse(row: dict[str, Any], tolerance: float = TOLERANCE) -> bool:
    """Whether RustTorch's error is larger than stock's; the last rounding's half is everybody's."""
    return not (row["ours"] <= max(row["stock"], 0.5) + tolerance)


def table(found: Sequence[dict[str, Any]]) -> Table:
    """The errors side by side."""
    result = Table(
        title="Largest error, in units in the last place",
        caption=f"ordinary: inputs from -{ORDINARY} to {ORDINARY}; zeros: results 0 whose sign is not stock's",
    )
    for heading in ("call", "dtype"):
        result.add_column(heading)
    for heading in ("values", "stock", "at", "ordinary", "RustTorch", "at", "ordinary", "zeros"):
        result.add_column(heading, justify="right")
    for row in found:
        cells = [row["call"], row["dtype"], f"{row['values']:,}"]
        for name in ("stock", "ours"):
            at = row[f"{name}_at"]
            cells += [f"{row[name]:.3g}", "" if at is None else f"{at:.6g}", f"{row[f'{name}_ordinary']:.3g}"]
        style = "red" if is_worse(row) else "green" if row["ours"] < row["stock"] else ""
        result.add_row(*cells, str(row["zeros"] or ""), style=style)
    return result
