"""Elements of a rank, and what is made of them, in all types: what the tests of floating-point numbers do not see."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import ops_cases as cases
import pytest
import torch
from support import both, calls, declined
from test_sorting import LARGE, SHAPES, draws, layouts

import rusttorch
from rusttorch.catalog import CATALOG

DTYPES = CATALOG["kthvalue"].dtypes
MEDIANS = ("median", "nanmedian")

all_dtypes = pytest.mark.parametrize("dtype", [getattr(torch, name) for name in DTYPES], ids=DTYPES)

#: Every short row, and rows on both sides of where kernels change their ways.
SIZES = (*((size,) for size in range(1, 71)), *((size, 3) for size in (4, 8, 16, 32, 63)), (3, 8193), (2, 20_000))


def inputs(dtype: torch.dtype) -> Iterator[tuple[str, torch.Tensor]]:
    for shape in (*SHAPES, *SIZES, *LARGE):
        for kind, made in draws(shape, dtype):
            for x in layouts(made) if shape in SHAPES else [made]:
                yield f"{tuple(x.shape)} {x.stride()}, {kind}", x


def compare(name: str, x: torch.Tensor, given: dict[str, Any], where: str) -> None:
    stock = getattr(torch, name)(x, **given)
    with rusttorch.patch(name, min_numel=0):
        mine = getattr(torch, name)(x, **given)
    assert cases.same_results(mine, stock), f"{name} of {where}, {given}: {mine}, stock {stock}"


@all_dtypes
def test_kthvalue(dtype: torch.dtype) -> None:
    for where, x in inputs(dtype):
        for dim in range(x.dim()):
            size = x.shape[dim]
            for k in {1, 2, size // 3, size // 2, size - 1, size}:
                if 0 < k <= size:
                    compare("kthvalue", x, {"k": k, "dim": dim, "keepdim": bool(k % 2)}, where)


@all_dtypes
@pytest.mark.parametrize("name", MEDIANS)
def test_medians(name: str, dtype: torch.dtype) -> None:
    for where, x in inputs(dtype):
        compare(name, x, {}, where)
        for dim in range(x.dim()):
            compare(name, x, {"dim": dim, "keepdim": not dim}, where)


@pytest.mark.parametrize("name", ["kthvalue", *MEDIANS])
def test_rows_of_nan_alone(name: str) -> None:
    given = {"kthvalue": {"k": 2}}.get(name, {})
    for size in (2, 3, 17, 40, 1000, 9000):
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            x = torch.full((3, size), torch.nan, dtype=dtype)
            compare(name, x, {"dim": 1, **given}, f"{size} NaN")
            if not given:
                compare(name, x, {}, f"{size} NaN")
            x[1, size // 2] = 1
            compare(name, x, {"dim": 1, **given}, f"{size}, all NaN but one")


def test_calls_are_taken() -> None:
    x = torch.randint(0, 9, (140, 150))
    rusttorch.report(reset=True)
    with rusttorch.patch(["kthvalue", *MEDIANS], min_numel=0):
        torch.kthvalue(x, 3)
        torch.kthvalue(x, 3, 0, True)
        x.kthvalue(k=3, dim=-2)
        torch.kthvalue(x.t(), 7)
        for name in MEDIANS:
            getattr(torch, name)(x)
            getattr(torch, name)(x, 0)
            getattr(x, name)()
            getattr(x, name)(1, True)
            getattr(torch, name)(x.t(), dim=1, keepdim=True)
    assert [calls(name) for name in ("kthvalue", *MEDIANS)] == [4, 5, 5]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["kthvalue", *MEDIANS])
def test_long_rows_by_any_number_of_threads(name: str, threads: int) -> None:
    given = {"kthvalue": {"k": 200_000}}.get(name, {})
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for dtype in (torch.float32, torch.float64, torch.int64, torch.bfloat16, torch.uint8):
            for kind, x in draws((600_000,), dtype):
                compare(name, x, {"dim": 0, **given}, kind)
                if not given:
                    compare(name, x, {}, kind)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", MEDIANS)
def test_zeros_of_both_signs_are_stock_torchs(name: str) -> None:
    x = torch.tensor([0.0, -0.0, 1.0])
    rusttorch.report(reset=True)
    compare(name, x, {}, "zeros")
    assert declined(name) == {"elements outside the kernel's limits": 1}
    compare(name, x, {"dim": 0}, "zeros")
    compare(name, torch.tensor([-0.0, -0.0, 1.0, 2.0]), {}, "zeros")
    assert calls(name) == 3


def test_calls_that_stock_torch_refuses() -> None:
    x = torch.tensor([[3.0, 1.0, 2.0]])
    indices = torch.empty(1, dtype=torch.int64)
    ways: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("kthvalue", (x, 0), {}), ("kthvalue", (x, 4), {}), ("kthvalue", (x, -1), {}), ("kthvalue", (x, 1.0), {}),
        ("kthvalue", (x,), {}), ("kthvalue", (x, 1, 2), {}), ("kthvalue", (x, 1, None), {}),
        ("kthvalue", (x, True), {}),
        ("kthvalue", (x, 1 << 62), {}), ("kthvalue", (x > 2, 1), {}), ("kthvalue", (torch.empty(0), 1), {}),
        ("kthvalue", (torch.empty(2, 0), 1, 0), {}), ("kthvalue", (torch.tensor(5.0), 1), {}),
        ("kthvalue", (x, 2), {"out": (torch.empty(1), indices)}), ("kthvalue", (x.to(torch.complex64), 1), {}),
    ]  # fmt: skip
    for name in MEDIANS:
        ways += [
            (name, (x, 2), {}), (name, (x > 2,), {}), (name, (torch.empty(0),), {}), (name, (torch.empty(2, 0), 1), {}),
            (name, (torch.empty(2, 0), 0), {}), (name, (torch.tensor(5.0),), {}), (name, (torch.tensor(5), 0), {}),
            (name, (x, 1), {"out": (torch.empty(1), indices)}), (name, (x, None), {}), (name, (x,), {"keepdim": True}),
        ]  # fmt: skip
    for name, args, kwargs in ways:
        stock, ours = both(lambda name=name, args=args, kwargs=kwargs: getattr(torch, name)(*args, **kwargs))
        assert stock == ours, (name, args, kwargs)


@pytest.mark.parametrize("name", ["kthvalue", *MEDIANS, "mode"])
def test_gradients(name: str) -> None:
    given = {"kthvalue": {"k": 3}}.get(name, {})
    for dim, keepdim in itertools.product((0, 1), (False, True)):
        x = torch.randperm(60).double().view(6, 10).requires_grad_()
        ways = {"dim": dim, "keepdim": keepdim, **given}
        stock = getattr(torch, name)(x, **ways)
        weight = torch.randn_like(stock.values)
        (expected,) = torch.autograd.grad(stock.values, x, weight)
        rusttorch.report(reset=True)
        with rusttorch.patch(name, min_numel=0):
            mine = getattr(torch, name)(x, **ways)
            assert calls(name) == 1 and type(mine) is type(stock)
            assert mine.values.grad_fn.name() == stock.values.grad_fn.name()
            assert not mine.indices.requires_grad
            (gradient,) = torch.autograd.grad(mine.values, x, weight, retain_graph=True)
            assert torch.equal(gradient, expected)
            assert torch.autograd.gradgradcheck(lambda x, ways=ways: getattr(torch, name)(x, **ways)[0], x)


@pytest.mark.parametrize("name", MEDIANS)
def test_of_all_elements_in_training(name: str) -> None:
    x = torch.randn(5, 7, requires_grad=True)
    rusttorch.report(reset=True)
    with rusttorch.patch(name, min_numel=0):
        assert getattr(x, name)().grad_fn.name() == f"{name.capitalize()}Backward0"
    assert declined(name) == {"requires grad: outside the size window": 1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", ["quantile", "nanquantile"])
def test_quantiles(name: str, dtype: torch.dtype) -> None:
    modes = ("linear", "lower", "higher", "midpoint", "nearest")
    for index, (where, x) in enumerate(inputs(dtype)):
        q = [0.3, 0.5, 0.97, 0.0, 1.0, 1, 1 / 3][index % 7]
        given: dict[str, Any] = {"q": q, "interpolation": modes[index % 5]}
        compare(name, x, given, where)
        for dim in range(x.dim()):
            compare(name, x, {"dim": dim, "keepdim": not dim, **given}, where)


def test_what_is_no_part_goes_to_stock_torch() -> None:
    x = torch.tensor([[3.0, 1.0, 2.0]])
    for name in ("quantile", "nanquantile"):
        ways: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
            ((x, -0.1), {}), ((x, 1.5), {}), ((x, torch.tensor(0.5)), {}), ((x, torch.tensor([0.1, 0.5])), {}),
            ((x, 0.5), {"interpolation": "cubic"}), ((x, 0.5, 2), {}), ((x, 0.5), {"dim": None}),
            ((x.half(), 0.5), {}), ((x.long(), 0.5), {}), ((torch.empty(0), 0.5), {}),
            ((torch.empty(2, 0), 0.5, 1), {}),
            ((torch.tensor(5.0), 0.5), {}), ((torch.tensor(5.0), 0.5, 0), {}), ((x, 0.5), {"out": torch.empty(())}),
            ((x, "a"), {}), ((x,), {}), ((x, 0.5, None, True), {}), ((x, True), {}), ((x, float("nan")), {}),
        ]  # fmt: skip
        for args, kwargs in ways:
            stock, ours = both(lambda name=name, args=args, kwargs=kwargs: getattr(torch, name)(*args, **kwargs))
            assert stock == ours, (name, args, kwargs)


def test_quantiles_in_training_are_stock_torchs() -> None:
    x = torch.randn(5, 7, requires_grad=True)
    stock = x.quantile(0.3, dim=1)
    rusttorch.report(reset=True)
    with rusttorch.patch("quantile", min_numel=0):
        mine = x.quantile(0.3, dim=1)
        assert mine.requires_grad and type(mine.grad_fn) is type(stock.grad_fn)
        assert declined("quantile") == {"requires grad: outside the size window": 1}
        x.detach().quantile(0.3)
        torch.quantile(x.detach(), 0.3, 0, interpolation="nearest")
    assert calls("quantile") == 2


@pytest.mark.parametrize(
    "dtype", [getattr(torch, name) for name in CATALOG["mode"].dtypes], ids=CATALOG["mode"].dtypes
)
def test_mode(dtype: torch.dtype) -> None:
    for where, x in inputs(dtype):
        for dim in range(x.dim()):
            compare("mode", x, {"dim": dim, "keepdim": not dim}, where)


def test_rows_with_nan_have_stock_torchs_mode() -> None:
    x = torch.tensor([[1.0, torch.nan, 1.0, 2.0], [2.0, 2.0, 1.0, 0.0]])
    rusttorch.report(reset=True)
    compare("mode", x, {}, "NaN")
    assert declined("mode") == {"elements outside the kernel's limits": 1}
    compare("mode", x[1:], {}, "none")
    assert calls("mode") == 2
