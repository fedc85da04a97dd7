"""Operations whose result is as long as what they count: nonzero, argwhere and masked_select."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ops_cases as cases
import pytest
import torch
from support import both, calls, outcome
from torch._subclasses.fake_tensor import FakeTensorMode

import rusttorch
from rusttorch.catalog import SELECTS, Select

DTYPES = SELECTS["nonzero"].dtypes

all_dtypes = pytest.mark.parametrize("dtype", [getattr(torch, name) for name in DTYPES], ids=DTYPES)
CHOOSING = [SELECTS[name] for name in ("nonzero", "masked_select")]
all_rows = pytest.mark.parametrize("row", CHOOSING, ids=lambda row: row.name)

SHAPES: tuple[tuple[int, ...], ...] = (
    *((size,) for size in (1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 1000, 1023, 1024, 1025, 2049, 4100)),
    (1, 1), (5, 7), (3, 1024), (3, 1025), (1500, 2), (2, 1500), (1, 4097, 1), (17, 40, 5), (2, 3, 4, 5, 6, 7),
    (2,) * 12,
)  # fmt: skip
LARGE = ((300_001,), (700, 501), (60, 70, 80))

PLACES: tuple[Callable[[torch.Tensor], Any], ...] = (
    lambda x: torch.nonzero(x),
    lambda x: torch.nonzero(input=x, as_tuple=False),
    lambda x: x.nonzero(),
    lambda x: torch.argwhere(x),
    lambda x: x.argwhere(),
)


def draws(shape: tuple[int, ...], dtype: torch.dtype) -> Iterator[torch.Tensor]:
    """Tensors with few and many zeros, of both signs where there are, and with what is special of the type."""
    generator = torch.Generator().manual_seed(sum(shape))
    wide = torch.randint(-(1 << 62), 1 << 62, shape, generator=generator)
    if dtype.is_floating_point:
        bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
        true = wide.to(bits).view(dtype)  # NaNs and the smallest numbers included
    else:
        true = wide.to(dtype) if dtype != torch.bool else torch.ones(shape, dtype=dtype)
    chance = torch.rand(shape, generator=generator)
    for share in (0.0, 0.01, 0.5, 0.99, 1.0):
        zero = torch.tensor(0.0).to(dtype)
        if dtype.is_floating_point:
            zero = torch.where(torch.rand(shape, generator=generator) < 0.5, -zero, zero)
        yield torch.where(chance < share, true, zero)


def same(mine: Any, stock: Any) -> bool:
    """Whether results are of one type, and have the same numbers to the bit, sizes and strides."""
    pairs = list(zip(cases.tensors(mine), cases.tensors(stock), strict=True))
    return type(mine) is type(stock) and all(
        cases.same_bits(a, b)
        and (a.shape, a.stride(), a.dtype, a.storage_offset()) == (b.shape, b.stride(), b.dtype, b.storage_offset())
        and (a._base is None) == (b._base is None)
        for a, b in pairs
    )


def checked(op: str, functions: list[Callable[[], Any]], where: object) -> None:
    """Calls, each by a run of the kernel, compared with stock torch."""
    stocks = [function() for function in functions]
    before = calls(op)
    with rusttorch.patch(op, min_numel=0):
        results = [function() for function in functions]
    assert calls(op) == before + len(functions), where
    for mine, stock in zip(results, stocks, strict=True):
        assert same(mine, stock), where


@all_dtypes
def test_places_are_stock_torchs(dtype: torch.dtype) -> None:
    for shape in SHAPES:
        drawn = draws(shape, dtype)
        checked("nonzero", [lambda x=x, way=way: way(x) for x in drawn for way in PLACES], (shape, dtype))


def test_a_tensor_for_each_dimension() -> None:
    """Of many elements; of few, stock torch is as fast, and gets them unless sizes are given."""
    for shape in ((16_384,), (128, 129), (30, 40, 50)):
        functions = [lambda x=x: x.nonzero(as_tuple=True) for x in draws(shape, torch.float32)]
        functions += [lambda x=x: torch.nonzero(x, as_tuple=True) for x in draws(shape, torch.bool)]
        checked("nonzero", functions, shape)
    before = calls("nonzero")
    x = torch.tensor([0, 3, 5])
    stock, ours = both(lambda: torch.nonzero(x, as_tuple=True))
    assert stock == ours and calls("nonzero") == before + 1
    with rusttorch.patch("nonzero"):
        torch.nonzero(torch.ones(8192), as_tuple=True)
    assert calls("nonzero") == before + 1


@all_dtypes
def test_chosen_elements_are_stock_torchs(dtype: torch.dtype) -> None:
    for shape in SHAPES:
        x, masks = [*draws(shape, dtype)][2], [*draws(shape, torch.bool)]
        functions = [lambda x=x, mask=mask: torch.masked_select(x, mask) for mask in masks]
        functions += [lambda x=x, mask=mask: x.masked_select(mask=mask) for mask in masks]
        checked("masked_select", functions, (shape, dtype))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_large_ones_on_any_number_of_threads(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for shape in LARGE:
            for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.bool):
                drawn = [*zip(draws(shape, dtype), draws(shape, torch.bool), strict=True)]
                checked("nonzero", [lambda x=x: torch.nonzero(x) for x, _ in drawn], (shape, dtype))
                functions = [lambda x=x, mask=mask: torch.masked_select(x, mask) for x, mask in drawn]
                checked("masked_select", functions, (shape, dtype))
    finally:
        torch.set_num_threads(before)


def test_other_orders_of_memory() -> None:
    """Places are those in the order of the dimensions, in whatever order they lie."""
    base = torch.randint(0, 2, (12, 10, 8)).float()
    for x in (
        base.transpose(0, 2), base[1:], base.permute(1, 0, 2), base[:, ::2], base[..., 0], base[:, :1].expand(12, 9, 8),
        base.view(3, 4, 10, 8).contiguous(memory_format=torch.channels_last),
    ):  # fmt: skip
        mask = torch.rand(x.shape) > 0.5
        for call in (
            lambda x=x: torch.nonzero(x),
            lambda x=x: x.nonzero(as_tuple=True),
            lambda x=x, mask=mask: torch.masked_select(x, mask),
            lambda x=x, mask=mask: torch.masked_select(mask.float(), x > 0),
        ):
            stock, ours = both(call)
            assert stock == ours, x.stride()


X, M = torch.randn(3, 4), torch.randn(3, 4) > 0

STOCKS: dict[str, Callable[[], Any]] = {
    "no dimension": lambda: torch.nonzero(torch.tensor(3.0)),
    "argwhere of no dimension": lambda: torch.argwhere(torch.tensor(3.0)),
    "no elements": lambda: torch.nonzero(torch.zeros(3, 0)),
    "no elements as tuple": lambda: torch.zeros(3, 0).nonzero(as_tuple=True),
    "complex": lambda: torch.nonzero(torch.tensor([1j, 0])),
    "out": lambda: torch.nonzero(X, out=torch.empty(0, dtype=torch.int64)),
    "wrong out": lambda: torch.nonzero(X, out=torch.empty(0)),
    "meta": lambda: torch.nonzero(X.to("meta")),
    "positional": lambda: torch.nonzero(X, True),  # type: ignore[call-overload]
    "no bool": lambda: torch.nonzero(X, as_tuple=1),  # type: ignore[call-overload]
    "no input": lambda: torch.nonzero(),  # type: ignore[call-overload]
    "no tensor": lambda: torch.nonzero([1, 0]),  # type: ignore[call-overload]
    "as_tuple of argwhere": lambda: torch.argwhere(X, as_tuple=True),  # type: ignore[call-arg]
    "sparse": lambda: torch.nonzero(X.to_sparse()),
    "column as mask": lambda: torch.masked_select(X, M[:, :1]),
    "row as input": lambda: torch.masked_select(X[0], M),
    "other sizes": lambda: torch.masked_select(X, M.t()),
    "bytes as mask": lambda: torch.masked_select(X, M.byte()),
    "numbers as mask": lambda: torch.masked_select(X, X),
    "mask of no dimension": lambda: torch.masked_select(torch.tensor(3.0), torch.tensor(True)),
    "no elements to mask": lambda: torch.masked_select(torch.zeros(0), torch.zeros(0, dtype=torch.bool)),
    "no mask": lambda: torch.masked_select(X),  # type: ignore[call-overload]
    "None as mask": lambda: torch.masked_select(X, None),  # type: ignore[call-overload]
    "list as mask": lambda: torch.masked_select(X, [True]),  # type: ignore[call-overload]
    "masked out": lambda: torch.masked_select(X, M, out=torch.empty(0)),
    "negative view": lambda: torch.nonzero(torch.view_as_complex(torch.randn(3, 2)).conj().imag),
}


@pytest.mark.parametrize("name", STOCKS)
def test_others_are_stock_torchs(name: str) -> None:
    rusttorch.report(reset=True)
    stock, ours = both(STOCKS[name], warm=True)
    # Another line of the same file: warnings and errors are stock torch's own.
    assert stock == ours
    assert calls("nonzero") == calls("masked_select") == 0


def test_gradients_are_stock_torchs() -> None:
    x, mask = torch.randn(40, 50), torch.randn(40, 50) > 0

    def run() -> list[Any]:
        leaf = x.clone().requires_grad_()
        chosen = torch.masked_select(leaf, mask)
        assert chosen.grad_fn.name() == "MaskedSelectBackward0"
        chosen.pow(2).sum().backward()
        places = torch.nonzero(leaf)
        return [chosen, leaf.grad, places, places.requires_grad]

    rusttorch.report(reset=True)
    stock, ours = both(run)
    assert stock == ours
    assert calls("nonzero") == calls("masked_select") == 1  # integers are never recorded

    def twice() -> list[Any]:
        leaf = x.clone().requires_grad_()
        chosen = torch.masked_select(leaf, mask)
        assert torch.equal(chosen.grad_fn._saved_mask, mask) and torch.equal(chosen.grad_fn._saved_self, leaf)
        (grad,) = torch.autograd.grad(chosen.pow(3).sum(), leaf, create_graph=True)
        (second,) = torch.autograd.grad(grad.pow(2).sum(), leaf)
        return [grad, second]

    stock, ours = both(twice)
    assert stock == ours
    with torch.no_grad(), rusttorch.patch(min_numel=0):
        torch.masked_select(x.clone().requires_grad_(), mask)
    assert calls("masked_select") == 3


def test_subclasses_and_modes_are_stock_torchs() -> None:
    class Sub(torch.Tensor):
        pass

    x, mask = torch.randn(5, 6), torch.randn(5, 6) > 0
    for call in (
        lambda: torch.nonzero(x.as_subclass(Sub)),
        lambda: torch.masked_select(x.as_subclass(Sub), mask),
        lambda: torch.masked_select(x, mask.as_subclass(Sub)),
        lambda: torch.func.vmap(lambda row: torch.nonzero(row))(x),
    ):
        stock, ours = both(call)
        assert stock[:2] == ours[:2]
    with rusttorch.patch(min_numel=0), FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = mode.from_tensor(x)
        with pytest.raises(torch._subclasses.fake_tensor.DynamicOutputShapeException):
            torch.nonzero(fake)
    with rusttorch.patch(min_numel=0), torch.inference_mode():
        assert torch.nonzero(x).is_inference() and x.masked_select(mask).is_inference()


def test_compiles_and_traces_as_stock() -> None:
    x = torch.randn(6, 7)

    def function(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.nonzero(x > 0), torch.masked_select(x, x > 0)

    expected = function(x)
    with rusttorch.patch(min_numel=0):
        compiled = torch.compile(function, backend="eager")(x)
        traced = torch.jit.trace(function, x, check_trace=False)(x)
        graph = torch.fx.symbolic_trace(function)
    for results in (compiled, traced, graph(x)):
        assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))


@all_rows
def test_explain_and_counters(row: Select) -> None:
    x = torch.randn(128, 129)
    for call in row.calls:
        rusttorch.report(reset=True)
        with rusttorch.patch(row.name, min_numel=0):
            eval(call, row.scope(x))
        assert calls(row.name) == 1
    function = getattr(torch, row.name)
    args = (x, x > 0) if row.mask else (x,)
    with rusttorch.patch(row.name, min_numel=0):
        function = getattr(torch, row.name)
        assert rusttorch.explain(function, *args) == "accelerated"
        assert rusttorch.explain(function, x.t(), *args[1:]) != "accelerated" or not row.mask
        assert "empty" in rusttorch.explain(function, x[:0], *args[1:])
        rusttorch.report(reset=True)
        assert rusttorch.explain(function, *args) == "accelerated"
        assert calls(row.name) == 0
    assert outcome(function, *args) == outcome(getattr(torch, row.name), *args)


@all_rows
def test_rows_are_complete(row: Select) -> None:
    assert (row.kernel or row.name) == row.name and row.calls and row.exactness == "bits"
    for entrance in row.parsed():
        assert callable(getattr(entrance.holder(), entrance.attribute))
        assert entrance.parameters[0].name == ("self" if entrance.owner else "input")
        assert [p.name for p in entrance.parameters if p.role == "operand"] == ([row.mask] if row.mask else [])
