"""Operations along a dimension that have several results, or indices: what tests of single results do not see."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import ops_cases as cases
import pytest
import torch
from support import both, calls, declined

import rusttorch
from rusttorch.catalog import CATALOG, Along

ROWS = [row for row in CATALOG.values() if isinstance(row, Along)]

all_rows = pytest.mark.parametrize("row", [row for row in ROWS if row.shape == "reduce"], ids=lambda row: row.name)
all_dtypes = pytest.mark.parametrize("dtype", [getattr(torch, name) for name in cases.DTYPES], ids=cases.DTYPES)
extremes = pytest.mark.parametrize("name", cases.EXTREMES)

#: What calls give before the dimension.
GIVEN: dict[str, tuple[Any, ...]] = {"kthvalue": (1,), "quantile": (0.3,), "nanquantile": (0.3,)}


def ties(view: cases.View, dtype: torch.dtype, seed: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors in which many elements are equal: numbers, zeros of both signs, infinities, NaNs."""
    generator = torch.Generator().manual_seed(seed)
    count = view.extent() + 5

    def place(storage: torch.Tensor) -> torch.Tensor:
        return storage.to(dtype).as_strided(view.sizes, view.strides, view.offset)

    small = torch.randint(-3, 3, (count,), generator=generator).double()
    chance = torch.rand(count, generator=generator)
    yield "few numbers", place(small)
    yield "zeros", place(torch.where(chance < 0.5, 0.0, -0.0))
    yield "NaNs", place(torch.where(chance < 0.02, torch.nan, small))
    yield "NaNs of either sign", place(torch.where(chance < 0.5, torch.nan, -torch.nan))
    yield "infinities", place(torch.where(chance < 0.3, torch.inf, torch.where(chance > 0.7, -torch.inf, small)))
    yield "all lowest", place(torch.full((count,), -torch.inf))
    yield "all highest", place(torch.full((count,), torch.inf))


@extremes
@all_dtypes
def test_the_first_of_equals(name: str, dtype: torch.dtype) -> None:
    """Stock torch's choice, in every layout, along every dimension, and of all elements."""
    for seed, view in enumerate((*cases.SMALL[::3], *cases.SMALL[-14:], *cases.ODD[::2], *cases.LARGE)):
        for kind, x in ties(view, dtype, seed):
            ways = [{"dim": dim, "keepdim": not dim} for dim in range(-1, x.dim())]
            stock = [cases.outcome(getattr(torch, name), x, **given) for given in [{}, *ways]]
            with rusttorch.patch(name, min_numel=0):
                mine = [cases.outcome(getattr(torch, name), x, **given) for given in [{}, *ways]]
            for a, b, given in zip(mine, stock, [{}, *ways], strict=True):
                where = f"{view.name}, {kind}, {given}"
                if a.error or b.error:
                    assert not list(cases.error_faults(a, b)), where
                else:
                    assert cases.same_results(a.value, b.value), f"{where}: {a.value}, stock {b.value}"


@pytest.mark.parametrize("name", ["max", "min"])
def test_of_all_elements(name: str) -> None:
    """The call of the input alone has a single result, by the kernel, unless zeros of both signs meet or it trains."""
    x = torch.tensor([[3.0, -2.0], [0.5, 7.0]])
    function = getattr(torch, name)
    stock = function(x)
    rusttorch.report(reset=True)
    with rusttorch.patch(name, min_numel=0):
        for result in (getattr(torch, name)(x), getattr(x, name)(), getattr(torch, name)(input=x)):
            assert type(result) is torch.Tensor and torch.equal(result, stock)
        assert calls(name) == 3
        leaf = x.clone().requires_grad_()
        assert getattr(leaf, name)().grad_fn.name() == f"{name.capitalize()}Backward1"
        assert declined(name) == {"requires grad: outside the size window": 1}
        zeros = torch.tensor([0.0, -0.0])
        assert cases.same_results(getattr(torch, name)(zeros), function(zeros))
        assert declined(name)["elements outside the kernel's limits"] == 1


@pytest.mark.parametrize("name", ["max", "min"])
def test_other_overloads_are_stock_torchs(name: str) -> None:
    x, y = torch.randn(3, 4), torch.randn(3, 4)
    ways: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((x, y), {}), ((x,), {"other": y}), ((x, None), {}), ((x,), {"dim": None}), ((x,), {"keepdim": True}),
        ((x, (0, 1)), {}), ((x,), {"axis": 0}), ((x, 0), {"keepdims": True}), ((x, True), {}), ((), {"dim": 0}),
        ((x, 0), {"out": (torch.empty(4), torch.empty(4, dtype=torch.int64))}), ((x,), {"out": torch.empty(())}),
    ]  # fmt: skip
    for args, kwargs in ways:
        stock, ours = both(lambda args=args, kwargs=kwargs: getattr(torch, name)(*args, **kwargs))
        assert stock == ours, (args, kwargs)


@extremes
def test_argument_of_a_tensor_that_requires_a_gradient(name: str) -> None:
    """Indices are never recorded, so that the kernel gives them in training as well."""
    x = torch.randn(16, 32, requires_grad=True)
    stock = getattr(torch, name)(x, -1)
    rusttorch.report(reset=True)
    with rusttorch.patch(name, min_numel=0):
        mine = getattr(torch, name)(x, -1)
    assert calls(name) == 1
    assert cases.same_results(mine, stock)

    def facts(result: Any) -> list[Any]:
        return [(x.requires_grad, x.is_leaf, type(x.grad_fn).__name__) for x in cases.tensors(result)]

    assert facts(mine) == facts(stock)


@all_rows
def test_results_unpack_and_have_names(row: Along) -> None:
    x = torch.randn(16, 32)
    kept = {"keepdim": True} if "keepdim" in row.numbers else {}
    for given, gradient in itertools.product([{"dim": -1}, {"dim": 0, **kept}], [False, True]):
        leaf = x.clone().requires_grad_(gradient and row.trains)
        more = GIVEN.get(row.name, ())
        stock = getattr(torch, row.name)(leaf, *more, **given)
        with rusttorch.patch(row.name, min_numel=0):
            mine = getattr(torch, row.name)(leaf, *more, **given)
        assert type(mine) is type(stock)
        if row.name in cases.CHANGED:
            continue
        for a, b in zip(cases.tensors(mine), cases.tensors(stock), strict=True):
            assert not list(cases.form_faults(a, b))


@all_rows
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_any_result(row: Along, threads: int) -> None:
    before = torch.get_num_threads()
    try:
        for view in cases.LARGE:
            x, _ = view.make(row, torch.float32)
            torch.set_num_threads(1)
            with rusttorch.patch(row.name, min_numel=0):
                one = getattr(torch, row.name)(x, *GIVEN.get(row.name, ()), dim=0)
                torch.set_num_threads(threads)
                assert cases.same_results(getattr(torch, row.name)(x, *GIVEN.get(row.name, ()), dim=0), one), view.name
    finally:
        torch.set_num_threads(before)
