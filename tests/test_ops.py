"""Every operation against stock torch, generated from the catalogue.

Each case also asserts that the kernel ran exactly where it should, so that none passes by falling back.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import ops_cases as cases
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ops_cases import CALLS, DTYPES, LARGE, ODD, SMALL, Call, bound
from support import BY_FORMULA, trained_runs

import rusttorch
from rusttorch.catalog import CATALOG, Entrance, Op

all_calls = pytest.mark.parametrize("call", CALLS, ids=str)
trained_calls = pytest.mark.parametrize("call", [call for call in CALLS if call.op.trains], ids=str)
all_ops = pytest.mark.parametrize("op", CATALOG.values(), ids=lambda op: op.name)
all_dtypes = pytest.mark.parametrize("dtype", [getattr(torch, name) for name in DTYPES], ids=DTYPES)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def forward_faults(call: Call, x: torch.Tensor, storage: torch.Tensor, limit: float, name: str) -> Iterator[str]:
    if cases.is_undefined(call, x):
        return
    before = storage.clone()
    stock = cases.outcome(call, x)
    with cases.accelerated(call.op) as runs:
        mine = cases.outcome(call, x)
        ran = runs()
    if not cases.same_bits(storage, before):
        yield f"{name}: the input changed"
    if mine.error or stock.error:
        yield from (f"{name}: {fault}" for fault in cases.error_faults(mine, stock))
        return
    expected = cases.kernel_runs(call, x, "forward")
    if ran != expected:
        yield f"{name}: {ran} runs of the kernel, expected {expected}"
    yield from (f"{name}: {fault}" for fault in cases.form_faults(mine.value, stock.value))
    yield from (f"{name}: {fault}" for fault in cases.value_faults(call, mine.value, stock.value, x, limit))


@all_dtypes
@all_calls
def test_forward(call: Call, dtype: torch.dtype) -> None:
    limit, faults = bound(call, dtype), []
    for seed, view in enumerate((*SMALL, *ODD, *LARGE)):
        x, storage = view.make(call.op, dtype, seed)
        faults += forward_faults(call, x, storage, limit, view.name)
    assert not faults, cases.report(faults)


@all_dtypes
@all_calls
def test_edge_values(call: Call, dtype: torch.dtype) -> None:
    limit, special = bound(call, dtype), cases.edges(dtype)
    shapes = {"edges": special}
    if call.op.shape != "pointwise":
        # Every special value among ordinary ones, and rows of one value alone.
        length = cases.row_length(call.op)
        rows = cases.values(call.op, len(special) * length, dtype).view(-1, length)
        among = rows.clone()
        among[:, 7] = special
        shapes = {"among others": among, "alone": special[:, None].expand(-1, length).contiguous()}
        shapes |= {f"{name}, transposed": x.t().contiguous() for name, x in shapes.items()}
    faults = []
    for name, x in shapes.items():
        faults += forward_faults(call, x, x, limit, name)
    assert not faults, cases.report(faults)


@all_dtypes
@all_calls
def test_threads_do_not_change_results(call: Call, dtype: torch.dtype) -> None:
    for view in LARGE:
        x, _ = view.make(call.op, dtype)
        if not cases.kernel_runs(call, x, "training"):
            continue  # stock torch's own may
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            leaf = x.clone().requires_grad_()
            with cases.accelerated(call.op):
                result = call(leaf)
                (gradient,) = torch.autograd.grad(
                    result, leaf, cases.values(call.op, result.numel(), dtype).view_as(result)
                )
                own = () if call.op.name in BY_FORMULA else (gradient,)
                results.append((call(x), result, *own))
        for one, two in zip(*results, strict=True):
            assert cases.same_bits(one, two), view.name


# Arguments.


def forms(call: Call, entrance: Entrance) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """The ways to give an entrance this call's arguments, besides the input."""
    parameters = entrance.parameters[1:]
    known = {p.name for p in parameters if p.role in ("number", "flag", "dim")}
    given = {name: value for name, value in call.arguments if name in known}
    if any(p.required and p.name not in given for p in parameters):
        return
    full = {p.name: given.get(p.name, p.default) for p in parameters if p.role != "inplace"}
    if any(value is None for name, value in full.items() if name == "dim"):
        return
    positional = []
    for p in parameters:
        if p.keyword_only or p.name not in full:
            break
        positional.append(full[p.name])
    rest = {p.name: full[p.name] for p in parameters[len(positional) :] if p.name in given}
    yield "by keyword", (), dict(given)
    yield "by position", tuple(positional), rest
    yield "all by keyword", (), {name: value for name, value in full.items() if name != "_stacklevel"}
    for name, value in given.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value):
            other = int(value) if isinstance(value, float) else float(value)
            yield f"{name}={other!r}", (), {**given, name: other}


def entrance_cases(inplace: bool) -> list[Any]:
    return [
        pytest.param(call, entrance, id=f"{entrance.path}-{call}")
        for call in CALLS
        for entrance in cases.entrances(call.op)
        if (
            entrance.inplace or (any(p.role == "inplace" for p in entrance.parameters) and not entrance.dims)
            if inplace
            else not entrance.inplace
        )
    ]


@pytest.mark.parametrize(("call", "entrance"), entrance_cases(inplace=False))
def test_entrances(call: Call, entrance: Entrance) -> None:
    """All ways to write a call give its result, by the kernel, and report errors as stock torch does."""
    faults = []
    dtype = torch.float32 if "float32" in call.op.dtypes else torch.bool
    x = cases.shaped(cases.row_major("32 x 32", 32, 32).make(call.op, dtype)[0], entrance)

    def as_method(*positional: Any, **keywords: Any) -> Any:
        return getattr(x, entrance.attribute)(*positional, **keywords)

    def by_name(**keywords: Any) -> Any:
        return stock_function(entrance)(**{entrance.parameters[0].name: x}, **keywords)

    def by_place(*positional: Any, **keywords: Any) -> Any:
        return stock_function(entrance)(x, *positional, **keywords)

    for form, positional, keywords in forms(call, entrance):
        for way in [by_place, *([as_method] if entrance.owner else [by_name] if not positional else [])]:
            name = f"{form}, {way.__name__}"
            stock = cases.outcome(way, *positional, **keywords)
            with cases.accelerated(call.op) as runs:
                mine = cases.outcome(way, *positional, **keywords)
                ran = runs()
            if mine.error or stock.error:
                faults += [f"{name}: {fault}" for fault in cases.error_faults(mine, stock)]
                continue
            if not ran:
                faults.append(f"{name}: the kernel did not run")
            faults += [f"{name}: {fault}" for fault in result_faults(mine.value, stock.value)]
    assert not faults, cases.report(faults)


def result_faults(mine: Any, stock: Any) -> Iterator[str]:
    """What is wrong with results, one or several."""
    if type(mine) is not type(stock):
        yield f"type {type(mine)}, stock {type(stock)}"
    for one, other in zip(cases.tensors(mine), cases.tensors(stock), strict=True):
        yield from cases.form_faults(one, other)
        if not torch.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True):
            yield f"{one}, stock {other}"


def stock_function(entrance: Entrance) -> Callable[..., Any]:
    return getattr(entrance.holder(), entrance.attribute)


WRONG: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {"nonsense": 1}),
    ((), {"input": 1}),
    ((1, 2, 3, 4, 5, 6, 7, 8, 9), {}),
    (("text",), {}),
    ((), {"dim": 7}),
    ((-9,), {}),
    ((), {"dim": (0, 1)}),
    ((), {"axis": 0}),
    ((), {"dim": 0, "keepdims": True}),
    ((), {"dim": 0, "keepdim": 1}),
    ((0, 1), {}),
    ((), {"dim": True}),
    ((), {"dim": 0, "dtype": torch.float64}),
    ((), {"dim": 0, "dtype": torch.float32}),
    ((), {"dtype": "float64"}),
    ((), {"inplace": None}),
    ((), {"alpha": torch.tensor(2.0)}),
    ((), {"alpha": "1"}),
    ((), {"approximate": "none"}),
    ((), {"approximate": "other"}),
    ((), {"exponent": torch.tensor(2.0)}),
    ((2 + 1j,), {}),
    ((10**30,), {}),
]


@pytest.mark.parametrize("entrance", [e for op in CATALOG.values() for e in cases.entrances(op)], ids=lambda e: e.path)
def test_unusual_arguments(entrance: Entrance) -> None:
    """What does not fit the signature has stock torch's result or stock torch's error."""
    op = next(op for op in CATALOG.values() if entrance in op.parsed())
    faults = []
    for positional, keywords in [((), {}), *WRONG]:
        tensors = [cases.row_major("4 x 32", 4, 32).make(op, torch.float32)[0] for _ in range(2)]
        x, other = (cases.shaped(tensor, entrance) for tensor in tensors)
        stock = cases.outcome(stock_function(entrance), x, *positional, **keywords)
        with cases.accelerated(op):
            mine = cases.outcome(stock_function(entrance), other, *positional, **keywords)
        name = f"{entrance.path}{positional}{keywords}"
        if mine.error or stock.error:
            faults += [f"{name}: {fault}" for fault in cases.error_faults(mine, stock)]
        elif isinstance(stock.value, (torch.Tensor, tuple)):
            found = list(result_faults(mine.value, stock.value))
            if op.name in cases.CHANGED:
                found = [fault for fault in found if not fault.startswith("_version")]
            faults += [f"{name}: {fault}" for fault in found]
    for wrong in ((), ([1.0],), (None,)):
        stock = cases.outcome(stock_function(entrance), *wrong)
        with cases.accelerated(op):
            mine = cases.outcome(stock_function(entrance), *wrong)
        faults += [f"{wrong}: {fault}" for fault in cases.error_faults(mine, stock)]
    assert not faults, cases.report(faults)


@pytest.mark.parametrize("op", dict.fromkeys(call.op.name for call in CALLS))
def test_out(op: str) -> None:
    """With ``out=``, stock torch fills the tensor that is given."""
    call = next(call for call in CALLS if call.op.name == op)
    x, _ = cases.row_major("32 x 32", 32, 32).make(call.op, torch.float32)
    for entrance in cases.entrances(call.op):
        if any(p.name == "out" for p in entrance.parameters):
            arguments = {
                p.name: dict(call.arguments)[p.name] for p in entrance.parameters if p.required and p.role != "input"
            }
            stock = cases.tensors(stock_function(entrance)(x, **arguments))
            out = tuple(torch.empty(0, dtype=result.dtype) for result in stock)
            with cases.accelerated(call.op) as runs:
                filled = stock_function(entrance)(x, **arguments, out=out if len(out) > 1 else out[0])
                assert all(one is other for one, other in zip(cases.tensors(filled), out, strict=True))
                assert runs() == 0
            assert all(map(torch.equal, out, stock))


OTHER_DTYPES = [torch.int32, torch.int64, torch.uint8, torch.bool, torch.complex64, torch.complex128]


@all_calls
def test_other_tensors(call: Call) -> None:
    """Tensors of other types and kinds have stock torch's result or error."""
    base, _ = cases.row_major("4 x 32", 4, 32).make(call.op, torch.float32)
    complex_base = torch.complex(base, base.flip(0))
    tensors: dict[str, Callable[[], Any]] = {str(dtype): lambda dtype=dtype: base.to(dtype) for dtype in OTHER_DTYPES}
    tensors |= {
        "negative view": lambda: complex_base.conj().imag,
        "real part": lambda: complex_base.real,
        "sparse": lambda: base.to_sparse(),
        "meta": lambda: base.to("meta"),
        "a number": lambda: 1.0,
        "a list": lambda: [1.0],
        "none": lambda: None,
        "array": lambda: base.numpy(),
    }
    faults = []
    for name, make in tensors.items():
        stock = cases.outcome(call, make())
        with cases.accelerated(call.op) as runs:
            mine = cases.outcome(call, make())
            ran = runs()
        if ran != (name.removeprefix("torch.") in call.op.dtypes):
            faults.append(f"{name}: {ran} runs of the kernel")
        if mine.error or stock.error:
            faults += [f"{name}: {fault}" for fault in cases.error_faults(mine, stock)]
        elif isinstance(stock.value, torch.Tensor):
            faults += (
                [f"{name}: {fault}" for fault in cases.form_faults(mine.value, stock.value)] if name != "sparse" else []
            )
            if name not in ("meta", "sparse") and not cases.same_bits(mine.value, stock.value):
                faults.append(f"{name}: {mine.value}, stock {stock.value}")
    assert not faults, cases.report(faults)


@all_calls
def test_kinds_of_plain_tensors(call: Call) -> None:
    """Parameters, detached and inference tensors, with and without gradients."""
    if "float32" not in call.op.dtypes:
        return  # parameters are numbers
    base, _ = cases.row_major("32 x 32", 32, 32).make(call.op, torch.float32)
    kinds: dict[str, tuple[Callable[[], torch.Tensor], Any]] = {
        "parameter": (lambda: torch.nn.Parameter(base), torch.enable_grad),
        "parameter, no_grad": (lambda: torch.nn.Parameter(base), torch.no_grad),
        "parameter, inference mode": (lambda: torch.nn.Parameter(base), torch.inference_mode),
        "frozen parameter": (lambda: torch.nn.Parameter(base, requires_grad=False), torch.enable_grad),
        "detached": (lambda: torch.nn.Parameter(base).detach(), torch.enable_grad),
        "inference mode": (lambda: base + 0, torch.inference_mode),
    }
    faults = []
    for name, (make, mode) in kinds.items():
        with mode():
            x = make()
            stock = call(x)
            with cases.accelerated(call.op) as runs:
                mine = call(x)
                if runs() != (call.op.trains or not stock.requires_grad):
                    faults.append(f"{name}: the kernel did not run")
            faults += [f"{name}: {fault}" for fault in cases.form_faults(mine, stock)]
            if not torch.allclose(mine, stock, rtol=1e-4, atol=1e-6):
                faults.append(f"{name}: {mine}, stock {stock}")
    assert not faults, cases.report(faults)


# In place.


@all_dtypes
@pytest.mark.parametrize(("call", "entrance"), entrance_cases(inplace=True))
def test_inplace(call: Call, entrance: Entrance, dtype: torch.dtype) -> None:
    limit, faults = bound(call, dtype), []
    arguments = {p.name: dict(call.arguments)[p.name] for p in entrance.parameters if p.name in dict(call.arguments)}
    if not entrance.inplace:
        arguments["inplace"] = True
    for seed, view in enumerate((*SMALL, *ODD, *LARGE[:2], LARGE[-2])):
        original, _ = view.make(call.op, dtype, seed)
        (x, storage), (stock_x, stock_storage) = (view.make(call.op, dtype, seed) for _ in range(2))
        stock = cases.outcome(cases.invoke, entrance, stock_x, arguments)
        with cases.accelerated(call.op) as runs:
            mine = cases.outcome(cases.invoke, entrance, x, arguments)
            ran = runs()
        if mine.error or stock.error:
            faults += [f"{view.name}: {fault}" for fault in cases.error_faults(mine, stock)]
            continue
        if mine.value is not x:
            faults.append(f"{view.name}: another object is returned")
        expected = cases.kernel_runs(call, original, "inplace")
        if ran != expected:
            faults.append(f"{view.name}: {ran} runs of the kernel, expected {expected}")
        if storage._version != stock_storage._version:
            faults.append(f"{view.name}: the storage's _version {storage._version}, stock {stock_storage._version}")
        faults += [f"{view.name}: {fault}" for fault in cases.form_faults(mine.value, stock.value)]
        found = cases.value_faults(call, mine.value, stock.value, original, limit)
        faults += [f"{view.name}: {fault}" for fault in found]
        outside = torch.ones_like(storage, dtype=torch.bool)
        outside.as_strided(view.sizes, view.strides, view.offset).fill_(False)
        if not cases.same_bits(storage[outside], stock_storage[outside]):
            faults.append(f"{view.name}: memory around the view changed")
    assert not faults, cases.report(faults)


@pytest.mark.parametrize(("call", "entrance"), entrance_cases(inplace=True))
def test_inplace_with_gradients(call: Call, entrance: Entrance) -> None:
    """On a leaf it raises, on a result it is differentiable, and a saved tensor that it changes is noticed."""
    arguments = {p.name: dict(call.arguments)[p.name] for p in entrance.parameters if p.name in dict(call.arguments)}
    if not entrance.inplace:
        arguments["inplace"] = True

    def on_leaf(x: torch.Tensor) -> torch.Tensor:
        return cases.invoke(entrance, x.requires_grad_(), arguments)

    def on_result(x: torch.Tensor) -> torch.Tensor:
        leaf = x.requires_grad_()
        result = cases.invoke(entrance, leaf * 1, arguments)
        return torch.autograd.grad(result.sum(), leaf)[0]

    def on_view(x: torch.Tensor) -> torch.Tensor:
        leaf = x.requires_grad_()
        base = leaf * 1
        cases.invoke(entrance, base[1:3], arguments)
        return torch.autograd.grad(base.square().sum(), leaf)[0]

    def on_saved(x: torch.Tensor) -> torch.Tensor:
        leaf = x.clone().requires_grad_()
        product = leaf * x
        cases.invoke(entrance, x, arguments)
        return torch.autograd.grad(product.sum(), leaf)[0]

    def without_grad(x: torch.Tensor) -> torch.Tensor:
        x.requires_grad_()
        with torch.no_grad():
            return cases.invoke(entrance, x, arguments).detach()

    def inference_outside(x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            made = x * 1
        return cases.invoke(entrance, made, arguments)

    faults = []
    for program in (on_leaf, on_result, on_view, on_saved, without_grad, inference_outside):
        x, _ = cases.row_major("4 x 18", 4, 18).make(call.op, torch.float64)
        stock = cases.outcome(program, x.clone())
        with cases.accelerated(call.op):
            mine = cases.outcome(program, x.clone())
        if mine.error or stock.error:
            faults += [f"{program.__name__}: {fault}" for fault in cases.error_faults(mine, stock)]
        elif not torch.allclose(mine.value, stock.value, rtol=1e-12, atol=1e-14):
            faults.append(f"{program.__name__}: {mine.value}, stock {stock.value}")
    assert not faults, cases.report(faults)


# Gradients.

TRAINING = tuple(view for view in (*SMALL, *ODD) if len(view.sizes) != 1 or view.sizes[0] in (0, 1, 7, 32, 33, 37))


def gradients_for(result: torch.Tensor, op: Op) -> Iterator[tuple[str, torch.Tensor]]:
    """Gradients of a result, in all the layouts that autograd hands over."""
    drawn = cases.values(op, result.numel(), result.dtype, 5).view(result.shape)
    drawn = drawn * torch.where(torch.arange(result.numel()).view(result.shape) % 3 == 0, -1, 1)
    own = torch.empty_strided(result.shape, result.stride(), dtype=result.dtype).copy_(drawn)
    yield "as the result", own
    yield "contiguous", drawn.contiguous()
    yield "expanded", torch.ones((), dtype=result.dtype).expand(result.shape)
    if result.dim() >= 2:
        yield "transposed", drawn.transpose(0, -1).contiguous().transpose(0, -1)
        yield "every other", drawn.repeat_interleave(2, -1)[..., ::2]
    if result.dim() == 4:
        yield "channels last", drawn.contiguous(memory_format=torch.channels_last)


def gradient_faults(call: Call, x: torch.Tensor, name: str) -> Iterator[str]:
    op = call.op
    if cases.is_undefined(call, x):
        return
    leaves = [
        torch.empty_strided(x.shape, x.stride(), dtype=x.dtype).copy_(x) if cases.is_dense(x) else x.detach()
        for _ in range(2)
    ]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    stock_result = cases.outcome(call, leaves[1])
    with cases.accelerated(op) as runs:
        result = cases.outcome(call, leaves[0])
        ran = runs()
    if result.error or stock_result.error:
        yield from (f"{name}: {fault}" for fault in cases.error_faults(result, stock_result))
        return
    mine, stock = result.value, stock_result.value
    trains = cases.kernel_runs(call, leaves[0], "training")
    if ran != trains:
        yield f"{name}: {ran} runs of the kernel in training, expected {trains}"
    yield from (f"{name}: training: {fault}" for fault in cases.form_faults(mine, stock))
    yield from (
        f"{name}: training: {fault}"
        for fault in cases.value_faults(call, mine.detach(), stock.detach(), x.detach(), bound(call, x.dtype))
    )
    if stock.grad_fn is None or mine.grad_fn is None:
        # The input itself.
        if stock.grad_fn is not mine.grad_fn:
            yield f"{name}: recorded {mine.grad_fn}, expected {stock.grad_fn}"
        return
    if mine.grad_fn.name() != stock.grad_fn.name() or type(mine.grad_fn).__name__ != type(stock.grad_fn).__name__:
        yield f"{name}: grad_fn {mine.grad_fn}, stock {stock.grad_fn}"
    wide = x.detach().double().requires_grad_()
    reference_result = call.reference(wide)
    for kind, grad in gradients_for(stock.detach(), op):
        (stock_gradient,) = torch.autograd.grad(stock, leaves[1], grad, retain_graph=True)
        with cases.accelerated(op) as runs:
            (gradient,) = torch.autograd.grad(mine, leaves[0], grad, retain_graph=True)
            ran = runs()
        where = f"{name}, gradient {kind}"
        if trains and cases.backward_kernel_runs(call, grad, leaves[0], mine) and ran != 1:
            yield f"{where}: {ran} runs of the backward kernel"
        yield from (f"{where}: {fault}" for fault in cases.form_faults(gradient, stock_gradient, gradient=True))
        if op.exactness == "bits":
            if not cases.same_bits(gradient, stock_gradient):
                yield f"{where}: bits differ"
            continue
        (reference,) = torch.autograd.grad(reference_result, wide, grad.double(), retain_graph=True)
        largest = float(stock.detach().abs().max()) if stock.numel() else 0.0
        found = derivative_faults(call, gradient, stock_gradient, reference, grad, largest)
        yield from (f"{where}: {fault}" for fault in found)


def derivative_faults(
    call: Call, mine: torch.Tensor, stock: torch.Tensor, reference: torch.Tensor, grad: torch.Tensor, largest: float
) -> Iterator[str]:
    """``largest`` is the magnitude of the result."""
    if not torch.equal(mine.isnan(), stock.isnan()):
        yield f"NaNs differ: {cases.differences(mine, stock, reference)}"
    smallest = gradient_unit(grad)
    errors, allowed = cases.ulps(mine, reference, smallest), cases.worst(stock, reference, smallest)
    allowed = max(allowed * 1.001, gradient_bound(call, mine.dtype))
    if call.op.shape == "reduce":
        # The formula exponentiates the result, whose rounding alone makes about as many ulps as its magnitude.
        allowed = max(allowed, largest)
    if mine.numel() and float(errors.max()) > allowed:
        where = cases.differences(mine, stock, reference, errors > allowed)
        yield f"error {float(errors.max()):.3f} ulp, allowed {allowed:.3f}: {where}"


def gradient_unit(grad: torch.Tensor) -> torch.Tensor | float:
    """Derivatives cross zero, where units in the last place mean nothing: below this size, its units count."""
    return grad.double().abs().max() if grad.numel() else 0.0


@functools.lru_cache
def gradient_bound(call: Call, dtype: torch.dtype) -> float:
    """As `bound`; with several gradients, since the worst of the rows' errors grows with their number."""
    x = cases.values(call.op, 1 << 16, dtype, 98).view(256, 256).requires_grad_()
    wide = x.detach().double().requires_grad_()
    result, reference_result = call(x), call.reference(wide)
    found = [cases.FLOOR[dtype]]
    if dtype == torch.float64 and call.op.name in BY_FORMULA:
        found = [cases.FLOOR_OF_SUMS]
    for seed in range(82, 98):
        grad = cases.values(call.op, result.numel(), dtype, seed).view(result.shape)
        (gradient,) = torch.autograd.grad(result, x, grad, retain_graph=True)
        (reference,) = torch.autograd.grad(reference_result, wide, grad.double(), retain_graph=True)
        found.append(2 * cases.worst(gradient, reference, gradient_unit(grad)))
    return max(found)


@all_dtypes
@trained_calls
def test_gradients(call: Call, dtype: torch.dtype) -> None:
    faults = []
    for seed, view in enumerate(TRAINING):
        x, _ = view.make(call.op, dtype, seed)
        faults += gradient_faults(call, x, view.name)
    assert not faults, cases.report(faults)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@trained_calls
def test_large_gradients(call: Call, dtype: torch.dtype) -> None:
    faults = []
    for seed, view in enumerate(LARGE):
        x, _ = view.make(call.op, dtype, seed)
        faults += gradient_faults(call, x, view.name)
    assert not faults, cases.report(faults)


def gradient(call: Call, x: torch.Tensor) -> torch.Tensor:
    leaf = x.clone().requires_grad_()
    result = call(leaf)
    return torch.autograd.grad(result, leaf, torch.ones_like(result))[0]


@all_dtypes
@trained_calls
def test_gradients_at_edge_values(call: Call, dtype: torch.dtype) -> None:
    x = cases.edges(dtype)
    if call.op.shape != "pointwise":
        length = cases.row_length(call.op)
        rows = cases.values(call.op, len(x) * length, dtype).view(-1, length)
        rows[:, 7] = x
        x = rows if call.dim == -1 else rows.t().contiguous()
    with cases.accelerated(call.op) as runs:
        mine = gradient(call, x)
        assert runs() == trained_runs(call.op.name) * cases.kernel_runs(call, x, "training")
    allowed = [gradient(call, x)]
    if call.op.shape == "pointwise":
        # Stock torch's vectors and the elements that are left over do not always agree, nor do its types.
        allowed.append(torch.cat([gradient(call, value) for value in x.split(1)]))
        allowed.append(gradient(call, x.repeat_interleave(64))[::64])
        allowed.append(gradient(call, x.double()).to(dtype))
    if call.op.exactness == "bits":
        same = [
            (mine == stock) & (mine.signbit() == stock.signbit()) | mine.isnan() & stock.isnan() for stock in allowed
        ]
    else:
        same = [(mine.isnan() == stock.isnan()) & (mine.isinf() == stock.isinf()) for stock in allowed]
    wrong = ~torch.stack(same).any(0)
    assert not wrong.any(), cases.differences(mine, allowed[0], x, wrong)


@trained_calls
def test_gradcheck(call: Call) -> None:
    x, _ = cases.row_major("2 x 32", 2, 32).make(call.op, torch.float64)
    x.requires_grad_()
    with cases.accelerated(call.op) as runs:
        assert torch.autograd.gradcheck(call, (x,), fast_mode=True)
        assert runs() > 2 or "float64" not in call.op.dtypes
    stock = cases.outcome(torch.autograd.gradgradcheck, call, (x,), fast_mode=True)
    with cases.accelerated(call.op):
        mine = cases.outcome(torch.autograd.gradgradcheck, call, (x,), fast_mode=True)
    # Where stock torch has no second derivative, there is none.
    assert (mine.value, type(mine.error)) == (stock.value, type(stock.error)), mine.error


@trained_calls
def test_higher_derivatives(call: Call) -> None:
    """Recorded by ``create_graph``, to the third order, as in stock torch."""

    def derivatives(x: torch.Tensor) -> list[torch.Tensor]:
        leaf, found = x.clone().requires_grad_(), []
        result = call(leaf)
        for _ in range(3):
            (result,) = torch.autograd.grad((result * result).sum(), leaf, create_graph=True)
            found.append(result.detach())
            if not result.requires_grad:
                break
        return found

    x, _ = cases.row_major("4 x 32", 4, 32).make(call.op, torch.float64)
    stock = cases.outcome(derivatives, x)
    with cases.accelerated(call.op):
        mine = cases.outcome(derivatives, x)
    if mine.error or stock.error:
        assert not list(cases.error_faults(mine, stock))
        return
    assert len(mine.value) == len(stock.value)
    no_number = call.op.name == "logcumsumexp"  # the logarithm of a gradient of 0 has no derivative
    for order, (a, b) in enumerate(zip(mine.value, stock.value, strict=True), 1):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-11, equal_nan=no_number), order


@trained_calls
def test_autograd_rules(call: Call) -> None:
    """Accumulation, second backward passes, changed saved tensors, hooks and deep copies."""

    def twice(x: torch.Tensor) -> Any:
        result = call(x.requires_grad_()).sum()
        result.backward()
        result.backward()

    def retained(x: torch.Tensor) -> Any:
        result = call(x.requires_grad_()).sum()
        result.backward(retain_graph=True)
        result.backward()
        return x.grad

    def changed_input(x: torch.Tensor) -> Any:
        leaf = x.requires_grad_()
        product = leaf * 1
        result = call(product)
        product.add_(1)
        result.sum().backward()
        return leaf.grad

    def changed_result(x: torch.Tensor) -> Any:
        leaf = x.requires_grad_()
        result = call(leaf)
        result.add_(1)
        result.sum().backward()
        return leaf.grad

    def hooked(x: torch.Tensor) -> Any:
        leaf = x.requires_grad_()
        result = call(leaf)
        result.register_hook(lambda grad: grad * 2)
        result.retain_grad()
        result.sum().backward()
        return torch.stack([leaf.grad.sum(), result.grad.sum()])

    def saved_hooks(x: torch.Tensor) -> Any:
        with torch.autograd.graph.saved_tensors_hooks(lambda saved: saved.clone(), lambda saved: saved):
            result = call(x.requires_grad_())
        result.sum().backward()
        return x.grad

    def deep_copy(x: torch.Tensor) -> Any:
        return copy.deepcopy(call(x.requires_grad_()))

    def detached(x: torch.Tensor) -> Any:
        return call(x.requires_grad_()).detach()

    def numpy(x: torch.Tensor) -> Any:
        return call(x.requires_grad_()).numpy()

    def checkpointed(x: torch.Tensor) -> Any:
        from torch.utils.checkpoint import checkpoint

        checkpoint(call, x.requires_grad_(), use_reentrant=False).sum().backward()
        return x.grad

    faults = []
    programs = (
        twice,
        retained,
        changed_input,
        changed_result,
        hooked,
        saved_hooks,
        deep_copy,
        detached,
        numpy,
        checkpointed,
    )
    for program in programs:
        x, _ = cases.row_major("4 x 32", 4, 32).make(call.op, torch.float64)
        stock = cases.outcome(program, x.clone())
        with cases.accelerated(call.op):
            mine = cases.outcome(program, x.clone())
        if mine.error or stock.error:
            if type(mine.error) is not type(stock.error) or str(mine.error)[:60] != str(stock.error)[:60]:
                faults += [f"{program.__name__}: {fault}" for fault in cases.error_faults(mine, stock)]
        elif stock.value is not None and not torch.allclose(mine.value, stock.value, rtol=1e-9, atol=1e-11):
            faults.append(f"{program.__name__}: {mine.value}, stock {stock.value}")
    assert not faults, cases.report(faults)


# Shapes and strides at random.


@st.composite
def views(draw: st.DrawFn) -> tuple[list[int], Callable[[torch.Tensor], torch.Tensor]]:
    """Sizes, and steps from a contiguous tensor of those to a view."""
    sizes = draw(st.lists(st.integers(0, 9), min_size=1, max_size=5))
    order = draw(st.permutations(range(len(sizes))))
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 2, 3]), min_size=len(sizes), max_size=len(sizes)))
    starts = draw(st.lists(st.sampled_from([0, 0, 0, 1]), min_size=len(sizes), max_size=len(sizes)))
    expand = draw(st.sampled_from([None, None, None, 0, -1]))

    def view(x: torch.Tensor) -> torch.Tensor:
        x = x.permute(order)[tuple(slice(start, None, step) for start, step in zip(starts, steps, strict=True))]
        if expand is None or not x.shape[expand]:
            return x
        expanded = list(x.shape)
        expanded[expand] = 3
        return x.narrow(expand, 0, 1).expand(expanded)

    return sizes, view


SAMPLE = [
    call
    for call in CALLS
    if call is next(other for other in CALLS if other.op.shape == call.op.shape and other.dim == call.dim)
]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(drawn=views(), call=st.sampled_from(SAMPLE), dtype=st.sampled_from(DTYPES))
def test_random_views(drawn: tuple[list[int], Callable[[torch.Tensor], torch.Tensor]], call: Call, dtype: str) -> None:
    sizes, view = drawn
    kind = getattr(torch, dtype)
    base = cases.values(call.op, torch.Size(sizes).numel(), kind).view(sizes)
    x = view(base)
    faults = list(forward_faults(call, x, base, bound(call, kind), f"{tuple(x.shape)}, {x.stride()}"))
    faults += gradient_faults(call, x, f"{tuple(x.shape)}, {x.stride()}")
    assert not faults, cases.report(faults)


def test_the_operations_are_stock_torch_again() -> None:
    assert not rusttorch.is_patched()
