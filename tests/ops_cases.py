"""Inputs, references and expectations from which the operations' tests are generated."""

from __future__ import annotations

import ast
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from support import BY_FORMULA

import rusttorch
from rusttorch.catalog import CATALOG, Entrance, Op
from rusttorch.patching import built

DTYPES = ("float32", "float64", "bfloat16", "float16")
_INTEGERS = {
    torch.float32: torch.int32,
    torch.float64: torch.int64,
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
}

#: Operations that give elements, and where they are.
EXTREMES = ("argmax", "argmin", "max", "min")

#: Operations that put elements in order.
SORTED = ("sort", "argsort", "msort", "topk")

#: Operations whose results are what is so far.
CUMULATIVE = ("cumsum", "cumprod", "logcumsumexp", "cummax", "cummin")

#: The most dimensions that kernels take.
MAX_DIMS = 12

#: Errors, in units in the last place, that say nothing about an implementation: of double precision the reference
#: itself has some, the more in a long sum; `test_accuracy` has a better one.
FLOOR = {torch.float32: 1.0, torch.float64: 8.0, torch.bfloat16: 0.51, torch.float16: 0.51}
FLOOR_OF_SUMS = 64.0

#: References for what loses its digits to cancellation even in stock torch's double precision.
STABLE: dict[str, Callable[..., torch.Tensor]] = {
    "gelu": lambda x, approximate="none": (
        x * torch.special.erfc(-x / math.sqrt(2)) / 2
        if approximate == "none"
        else x * torch.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    ),
}

#: Below, stock torch's double precision, which is the reference for itself, flushes to zero.
UNDERFLOW = 1e-290

#: Results that are the difference of numbers of this size: their errors are measured against it, if they are smaller.
DIFFERENCE_OF = {"log_softmax": 1.0, "logsumexp": 4.0}


@dataclass(frozen=True, eq=False, repr=False)
class Call:
    """One of a row's representative calls."""

    op: Op
    text: str
    entrance: Entrance
    #: what the call gives besides the input, by parameter name
    arguments: tuple[tuple[str, Any], ...]

    def __repr__(self) -> str:
        return self.text

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self.op.random:
            torch.manual_seed(0)
        return eval(self.text, {"torch": torch, "F": F, "x": x})

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        """In double precision, with stock torch."""
        stable = STABLE.get(self.op.name)
        return stable(x.double(), **dict(self.arguments)) if stable else self(x.double())

    @property
    def dim(self) -> int:
        """The dimension that the call names."""
        return dict(self.arguments).get("dim", 0)


def shaped(x: torch.Tensor, entrance: Entrance) -> torch.Tensor:
    """With as many dimensions as the entrance's input must have, by such of size 1."""
    return x.view(*x.shape, *[1] * ((entrance.dims or x.dim()) - x.dim()))


def invoke(entrance: Entrance, x: torch.Tensor, arguments: dict[str, Any]) -> torch.Tensor:
    """Calls a stock function, whatever stands in its place now, with named arguments, the first ones by position."""
    function = getattr(entrance.holder(), entrance.attribute)
    torch.manual_seed(0)
    positional, rest = [x], dict(arguments)
    for parameter in entrance.parameters[1:]:
        if parameter.keyword_only or parameter.name not in rest:
            break
        positional.append(rest.pop(parameter.name))
    return function(*positional, **rest)


def _parse(op: Op, text: str) -> Call:
    call = ast.parse(text, mode="eval").body
    if isinstance(call, ast.Attribute):  # one of several results
        call = call.value
    if isinstance(call, ast.BinOp):
        path = f"Tensor.__{type(call.op).__name__.lower()}__"
        call = ast.Call(ast.parse(path, mode="eval").body, [call.left, call.right], [])
    assert isinstance(call, ast.Call)
    entrance = next(e for e in op.parsed() if e.path == ast.unparse(call.func))
    names = [parameter.name for parameter in entrance.parameters]
    assert ast.unparse(call.args[0]) == "x"
    arguments = {name: ast.literal_eval(node) for name, node in zip(names[1:], call.args[1:], strict=False)}
    arguments |= {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    return Call(op, text, entrance, tuple(arguments.items()))


def tensors(result: Any) -> tuple[torch.Tensor, ...]:
    """One result or several, as several."""
    return tuple(result) if isinstance(result, tuple) else (result,)



def is_undefined(call: Call, x: torch.Tensor) -> bool:
    """Whether stock torch's result is memory that it has not written: medians along an expanded dimension."""
    return call.op.name in ("median", "nanmedian") and x.dim() > 0 and x.stride(call.dim) == 0 and x.shape[call.dim] > 1


#: Stock torch changes the results of these in place, so that their versions differ: tests/test_order.py has them.
CHANGED = ("quantile", "nanquantile")

CALLS: tuple[Call, ...] = tuple(
    _parse(op, text) for op in CATALOG.values() if op.name not in CHANGED for text in op.calls
)


def entrances(op: Op) -> list[Entrance]:
    """Those that this torch has."""
    return [entrance for entrance in op.parsed() if hasattr(entrance.holder(), entrance.attribute)]


# Inputs.


@dataclass(frozen=True)
class View:
    """A view of a storage that holds more than the view."""

    name: str
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    def extent(self) -> int:
        """Elements up to the end of the view."""
        if 0 in self.sizes:
            return self.offset
        return self.offset + 1 + sum((size - 1) * stride for size, stride in zip(self.sizes, self.strides, strict=True))

    def make(self, op: Op, dtype: torch.dtype, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """The view, filled with the operation's values, and the storage as a tensor; the same ones for a seed."""
        storage = values(op, self.extent() + 5, dtype, seed)
        return storage.as_strided(self.sizes, self.strides, self.offset), storage


def _strides(sizes: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Of a dense tensor whose dimensions, outermost first, are ``order``."""
    strides, step = [0] * len(sizes), 1
    for d in reversed(order):
        strides[d] = step
        step *= max(sizes[d], 1)
    return tuple(strides)


def row_major(name: str, *sizes: int, offset: int = 0) -> View:
    """A contiguous view."""
    return View(name, sizes, _strides(sizes, range(len(sizes))), offset)


def permuted(name: str, sizes: Sequence[int], order: Sequence[int], offset: int = 0) -> View:
    """A dense view whose dimensions lie in memory in this order, outermost first."""
    return View(name, tuple(sizes), _strides(sizes, order), offset)


SMALL: tuple[View, ...] = (
    row_major("scalar"),
    row_major("one element", 1),
    *(row_major(f"{n} elements", n) for n in range(2, 41)),
    row_major("2-d", 4, 18),
    row_major("2-d, odd rows", 5, 17),
    row_major("few columns", 6, 4),
    row_major("one row", 1, 33),
    row_major("one column", 33, 1),
    row_major("3-d", 2, 6, 8),
    row_major("4-d", 2, 4, 3, 8),
    row_major("5-d", 2, 2, 2, 2, 8),
    row_major("12-d", *[2] * 4, *[1] * 7, 16),
    row_major("13-d", *[2] * 4, *[1] * 8, 16),
    row_major("unaligned", 4, 18, offset=1),
    row_major("at an offset", 37, offset=3),
    permuted("transposed", (18, 4), (1, 0)),
    permuted("transposed, unaligned", (16, 6), (1, 0), 3),
    permuted("channels last", (2, 4, 4, 8), (0, 2, 3, 1)),
    permuted("channels last, one channel", (2, 1, 4, 8), (0, 2, 3, 1)),
    permuted("channels last, one pixel", (2, 16, 1, 1), (0, 2, 3, 1)),
    permuted("channels last, one image", (1, 4, 4, 4), (0, 2, 3, 1)),
    permuted("channels last 3-d", (2, 4, 2, 2, 8), (0, 2, 3, 4, 1)),
    permuted("permuted", (4, 6, 8), (1, 2, 0)),
    permuted("permuted 4-d", (2, 4, 6, 4), (3, 0, 2, 1)),
    permuted("permuted 3-d, a size of one", (4, 1, 8), (2, 1, 0)),
    View("size one, odd stride", (4, 1, 8), (8, 77, 1)),
    View("sizes of one, odd strides", (1, 16, 1), (3, 1, 5)),
    View("size one, stride zero", (1, 16), (0, 1)),
    View("all sizes one, odd strides", (1, 1, 1), (7, 0, 3)),
    View("channels last, odd strides", (1, 4, 1, 8), (5, 1, 9, 4)),
)

#: What kernels decline: no elements, gaps, or overlap.
ODD: tuple[View, ...] = (
    row_major("empty", 0),
    row_major("empty rows", 3, 0),
    row_major("no rows", 0, 16),
    View("empty, strided", (4, 0, 2), (1, 4, 7)),
    View("every other column", (4, 16), (32, 2)),
    View("columns cut off", (4, 16), (20, 1), 2),
    View("every other element", (33,), (2,), 1),
    View("expanded rows", (4, 16), (0, 1)),
    View("expanded columns", (4, 16), (1, 0)),
    View("expanded scalar", (16,), (0,)),
    View("overlapping", (4, 16), (1, 1)),
    View("overlapping windows", (6, 16), (4, 1)),
    View("transposed with gaps", (16, 4), (2, 33)),
    View("channels last with gaps", (2, 4, 4, 8), (256, 1, 64, 8)),
)

#: Beyond the sizes at which threads join, of several rows and of one long row, which kernels treat apart.
LARGE: tuple[View, ...] = (
    row_major("long", 70_001),
    row_major("long, at an offset", 33_000, offset=1),
    row_major("long row", 1, 65_600),
    row_major("long columns", 4_200, 9),
    row_major("rows", 300, 130),
    row_major("wide columns", 18, 2_100),
    row_major("blocks", 6, 20, 300),
    row_major("images", 4, 16, 30, 21),
    permuted("images, channels last", (4, 16, 30, 21), (0, 2, 3, 1)),
    permuted("rows, transposed", (130, 256), (1, 0)),
)


def is_dense(x: torch.Tensor) -> bool:
    """Whether the elements fill a block of memory without gaps or overlap."""
    expected = 1
    for stride, size in sorted((stride, size) for size, stride in zip(x.shape, x.stride(), strict=True) if size != 1):
        if stride != expected:
            return False
        expected *= size
    return True


@functools.lru_cache
def _pool() -> torch.Tensor:
    return torch.randn(1 << 17, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def values(op: Op, count: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """Random numbers of the operation's domain, in memory of their own."""
    start = seed * 97 % (_pool().numel() - count + 1)
    drawn = _pool()[start : start + count]
    return (drawn.exp() if op.domain == "positive" else drawn * 3).to(dtype, copy=True)


@functools.lru_cache
def edges(dtype: torch.dtype) -> torch.Tensor:
    """Special values, of either sign."""
    info = torch.finfo(dtype)
    positive = [
        0.0,
        1.0,
        0.5,
        2.0,
        3.0,
        5.999,
        6.0,
        20.0,
        20.5,
        50.0,
        87.5,
        88.5,
        89.0,
        100.0,
        104.5,
        708.5,
        709.9,
        746.0,
    ]
    positive += [1.0 + info.eps, 1.0 - info.eps / 2, info.eps, 3.0 + 4 * info.eps, math.nan, math.inf]
    positive += [info.max, info.max / 2, info.tiny, info.tiny * 2, info.smallest_normal / 2, info.tiny * info.eps]
    wide = torch.tensor(positive, dtype=torch.float64)
    return torch.cat([wide, -wide]).to(dtype)


#: A prime, so that a sweep over bit patterns meets every exponent at other places of the mantissa.
_STRIDE = 4099
#: A denser sweep of the exponents that programs use: 2^-24 to 2^8.
_DENSE_STRIDE, _DENSE = 521, (103 << 23, 135 << 23)


@functools.lru_cache
def sweep(dtype: torch.dtype) -> torch.Tensor:
    """Numbers from all over the type: every one of the halves."""
    if torch.finfo(dtype).bits == 16:
        return torch.arange(-(1 << 15), 1 << 15, dtype=torch.int16).view(dtype)
    dense = np.arange(*_DENSE, _DENSE_STRIDE, dtype=np.uint32)
    bits = np.concatenate([np.arange(0, 1 << 32, _STRIDE, dtype=np.uint32), dense, dense | (1 << 31)])
    return torch.from_numpy(bits.view(np.float32))


# Expectations.


def kernel_runs(call: Call, x: torch.Tensor, mode: str) -> bool:
    """Whether the kernel, and not stock torch, must have done this call: dense tensors of its own shapes.

    ``mode`` is "forward", "inplace" or "training".
    """
    op = call.op
    if str(x.dtype).removeprefix("torch.") not in op.dtypes:
        return False
    if x.numel() == 0 or x.dim() > MAX_DIMS or not is_dense(x):
        return False
    if mode == "training" and not op.trains:
        return False
    if op.shape == "glu":
        return _glu_runs(x, call.dim)
    if op.shape == "features":
        return x.dim() >= 2 and x.stride() == torch.empty(x.shape).stride()
    copied = not x.is_contiguous() and (op.shape != "pointwise" or op.strides == "contiguous")
    if mode == "inplace" and copied:
        return False
    if mode == "training" and copied and op.saves == "input" and op.shape != "reduce":
        return False
    if op.name == "pow" and dict(call.arguments)["exponent"] == 0:
        return False
    if op.shape == "pointwise":
        return True
    sizes = list(x.shape) or [1]
    if not -len(sizes) <= call.dim < len(sizes):
        return False
    return sizes[call.dim] > 1 or op.name not in ("var", "std")


def _glu_runs(x: torch.Tensor, dim: int) -> bool:
    """In the order of memory: an even number of blocks."""
    if not -x.dim() <= dim < x.dim() or x.shape[dim] % 2:
        return False
    # The strides of the result follow from more than the order.
    return x.stride() == torch.empty(x.shape).stride() or not (1 in x.shape or x.shape[dim] == 2)


def backward_kernel_runs(call: Call, grad: torch.Tensor, saved: torch.Tensor, result: torch.Tensor) -> bool:
    """Whether the backward kernel, and not stock torch's formula, must have served this gradient."""
    if not kernel_runs(call, saved, "training") or call.op.name in BY_FORMULA:
        return False
    if call.op.shape in ("reduce", "glu") and not saved.is_contiguous():
        return False
    model = result if call.op.shape in ("reduce", "glu") or call.op.saves == "result" else saved
    return grad.stride() == model.stride() or (grad.is_contiguous() and model.is_contiguous())


@contextmanager
def accelerated(op: Op) -> Iterator[Callable[[], int]]:
    """The operation's kernel at every size; gives a function that counts its runs since it was last asked."""
    with rusttorch.patch(op.name, min_numel=0):
        native = built()[op.name].native
        last = native.counters()["calls"]

        def runs() -> int:
            nonlocal last
            before, last = last, native.counters()["calls"]
            return last - before

        yield runs


def row_length(op: Op) -> int:
    """The shortest of many rows that the kernel takes."""
    return 512 if op.name in EXTREMES else 32


# Comparisons.


@dataclass
class Outcome:
    """What a call gave: a value, or an error."""

    value: Any = None
    error: Exception | None = None


def outcome(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Outcome:
    """Calls it, with the same random numbers each time."""
    torch.manual_seed(0)
    try:
        return Outcome(value=function(*args, **kwargs))
    except Exception as error:
        return Outcome(error=error)


def same_results(mine: Any, stock: Any) -> bool:
    """Whether results are of one type, and have the same numbers to the bit, and strides."""
    pairs = list(zip(tensors(mine), tensors(stock), strict=True))
    return type(mine) is type(stock) and all(
        same_bits(a, b) and a.stride() == b.stride() and a.dtype == b.dtype for a, b in pairs
    )


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors are equal bit for bit, NaNs being equal to each other."""
    if a.dtype not in _INTEGERS:
        return torch.equal(a, b)
    a, b = a.detach().contiguous(), b.detach().contiguous()
    kind = _INTEGERS[a.dtype]
    return bool(((a.view(kind) == b.view(kind)) | (a.isnan() & b.isnan())).all())


def ulps(x: torch.Tensor, reference: torch.Tensor, smallest: torch.Tensor | float = 0.0) -> torch.Tensor:
    """Errors in units in the last place of the reference, or of ``smallest`` where the reference is smaller; 0 where
    either is not finite or beyond the type's largest number.
    """
    info = torch.finfo(x.dtype)
    scale = reference.abs().clamp(min=info.tiny).maximum(torch.as_tensor(smallest, dtype=torch.float64))
    unit = torch.from_numpy(np.asarray(np.ldexp(info.eps, np.frexp(scale.numpy())[1] - 1)))
    counts = x.isfinite() & reference.isfinite() & (reference.abs() <= info.max)
    return torch.where(counts, (x.double() - reference).abs() / unit, 0.0)


def worst(x: torch.Tensor, reference: torch.Tensor, smallest: torch.Tensor | float = 0.0) -> float:
    """The largest of the errors."""
    return float(ulps(x, reference, smallest).max()) if x.numel() else 0.0


@functools.lru_cache
def bound(call: Call, dtype: torch.dtype) -> float:
    """The error that a kernel may have: twice stock torch's over numbers as those drawn. Over all numbers, most of
    which no program meets, stock's is often larger; `test_accuracy` compares those.
    """
    if call.op.exactness == "bits":
        return 0.0
    if dtype == torch.float64:
        # The reference is stock torch itself, which sums up one after the other.
        sums = FLOOR_OF_SUMS * (8 if call.op.name in BY_FORMULA else 1)
        return FLOOR[dtype] if call.op.shape in ("pointwise", "glu") else sums
    x = sweep(dtype)
    x = x[x.abs() < float(_pool().abs().max()) * 3]
    if call.op.domain == "positive":
        x = x.abs()
    if call.op.shape == "glu":
        x = torch.stack([values(call.op, 1 << 17, dtype).repeat(16)[: x.numel()], x])
        x = x if call.dim == 0 else x.t().contiguous()
    elif call.op.shape != "pointwise":
        x = values(call.op, 1 << 16, dtype, seed=99).view(256, 256)
    return max(FLOOR[dtype], 2 * worst(call(x), call.reference(x), DIFFERENCE_OF.get(call.op.name, 0.0)))


def value_faults(call: Call, mine: torch.Tensor, stock: torch.Tensor, x: torch.Tensor, bound: float) -> Iterator[str]:
    """What is wrong with a result's numbers, ``bound`` being the error that is allowed in any case."""
    if call.op.exactness == "bits":
        if call.op.name == "msort":  # which stock torch does not make stable: zeros of both signs come in any order
            mine, stock = mine + 0.0, stock + 0.0
        if not same_bits(mine, stock):
            yield f"bits differ: {differences(mine, stock, x)}"
        return
    reference = call.reference(x)
    # A NaN that double precision knows to be stock's error need not be followed.
    nans = (mine.isnan() != stock.isnan()) & (mine.isnan() | reference.isnan())
    if nans.any():
        yield f"NaNs differ: {differences(mine, stock, x, nans)}"
    limit = torch.finfo(mine.dtype).max
    # At the edge of overflow one rounding decides.
    infinite = (
        (mine.isinf() != stock.isinf())
        & ~stock.isnan()
        & ~((reference.abs() / limit - 1).abs() < 4 * torch.finfo(mine.dtype).eps)
    )
    infinite |= mine.isinf() & stock.isinf() & (mine != stock)
    # As with NaNs.
    infinite &= ~(stock.isinf() & mine.isfinite() & (reference.abs() <= limit))
    if infinite.any():
        yield f"infinities differ: {differences(mine, stock, x, infinite)}"
    # An underflowed result may keep the sign that it has in double precision.
    zeros = (mine == 0) & (stock == 0) & (mine.signbit() != stock.signbit())
    zeros &= mine.signbit() != reference.signbit()
    if zeros.any():
        yield f"signs of zero differ: {differences(mine, stock, x, zeros)}"
    smallest = DIFFERENCE_OF.get(call.op.name, UNDERFLOW if mine.dtype == torch.float64 else 0.0)
    allowed = max(bound, worst(stock, reference, smallest)) * 1.001
    errors = ulps(mine, reference, smallest)
    if mine.numel() and float(errors.max()) > allowed:
        where = differences(mine, stock, x, errors > allowed)
        yield f"error {float(errors.max()):.3f} ulp, allowed {allowed:.3f}: {where}"


def differences(mine: torch.Tensor, stock: torch.Tensor, x: torch.Tensor, where: torch.Tensor | None = None) -> str:
    if where is None:
        where = ~((mine == stock) & (mine.signbit() == stock.signbit()) | (mine.isnan() & stock.isnan()))
    places = where.nonzero().tolist()
    shown = []
    for place in map(tuple, places[:3]):
        source = f"x {x[place].item()!r}: " if x.shape == mine.shape else ""
        shown.append(f"{source}{mine[place].item()!r}, stock {stock[place].item()!r}")
    return f"{len(places)} of {mine.numel()}, such as {'; '.join(shown)}"


def form_faults(mine: Any, stock: Any, gradient: bool = False) -> Iterator[str]:
    """What is wrong with a result besides its numbers. A gradient's version, and what the stride of a dimension of size
    1 is, depend on the path it took in stock torch as well.
    """
    for attribute in ("dtype", "shape", "requires_grad", "is_leaf", "layout", "device"):
        if getattr(mine, attribute) != getattr(stock, attribute):
            yield f"{attribute} {getattr(mine, attribute)}, stock {getattr(stock, attribute)}"
    if type(mine) is not type(stock):
        yield f"type {type(mine).__name__}, stock {type(stock).__name__}"
    elif any(
        a != b
        for a, b, size in zip(mine.stride(), stock.stride(), mine.shape, strict=False)
        if not (gradient and size == 1)
    ):
        yield f"strides {mine.stride()}, stock {stock.stride()}"
    for memory_format in (torch.contiguous_format, torch.channels_last, torch.channels_last_3d):
        if mine.is_contiguous(memory_format=memory_format) != stock.is_contiguous(memory_format=memory_format):
            yield f"is_contiguous({memory_format}) differs"
    if mine.is_inference() != stock.is_inference():
        yield "is_inference differs"
    elif not gradient and not mine.is_inference() and mine._version != stock._version:
        yield f"_version {mine._version}, stock {stock._version}"


def error_faults(mine: Outcome, stock: Outcome) -> Iterator[str]:
    """Where at least one of two calls failed: whether both did alike."""
    if type(mine.error) is not type(stock.error) or str(mine.error) != str(stock.error):
        yield f"raises {mine.error!r}, stock {stock.error!r}"


def report(faults: Sequence[str]) -> str:
    """Many faults, in few lines."""
    return "\n".join(itertools.chain([f"{len(faults)} faults"], faults[:15]))


__all__ = ["CALLS", "DTYPES", "LARGE", "ODD", "SMALL", "Call", "F", "View"]
