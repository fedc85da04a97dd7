"""Sorting and selecting, in all types: what the tests of floating-point numbers do not see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ops_cases as cases
import pytest
import torch
from support import both, calls, declined

import rusttorch
from rusttorch.catalog import CATALOG

DTYPES = CATALOG["sort"].dtypes

all_dtypes = pytest.mark.parametrize("dtype", [getattr(torch, name) for name in DTYPES], ids=DTYPES)
numbers = pytest.mark.parametrize(
    "dtype", [getattr(torch, name) for name in CATALOG["topk"].dtypes], ids=CATALOG["topk"].dtypes
)

SHAPES: tuple[tuple[int, ...], ...] = (
    (1,), (2,), (31,), (33,), (80,), (81,), (513,), (2049,), (1, 1), (5, 7), (64, 3), (3, 64), (17, 40, 5),
    (2, 3, 4, 5),
)  # fmt: skip
LARGE = ((70_001,), (2, 66_001), (66_001, 2), (150, 150))


def draws(shape: tuple[int, ...], dtype: torch.dtype) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors of many and of few different elements, with what is special of the type."""
    generator = torch.Generator().manual_seed(sum(shape))
    count = torch.Size(shape).numel()
    wide = torch.randint(-(1 << 62), 1 << 62, (count,), generator=generator)
    few = torch.randint(-3, 4, (count,), generator=generator)
    if dtype.is_floating_point:
        normal = torch.randn(count, generator=generator, dtype=torch.float64)
        yield "normal", normal.to(dtype).view(shape)
        # All of them, NaNs of both signs included, and not only normal ones.
        bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
        yield "any bits", wide.to(bits).view(dtype).view(shape)
        chance = torch.rand(count, generator=generator)
        special = torch.where(chance < 0.1, torch.nan, torch.where(chance < 0.3, -0.0, few.double()))
        yield "few", torch.where(chance > 0.95, torch.inf, special).to(dtype).view(shape)
    elif dtype == torch.bool:
        yield "any", (wide > 0).view(shape)
    else:
        yield "any", wide.to(dtype).view(shape)
        yield "few", few.abs().to(dtype).view(shape)
        # Close together, and far from 0.
        yield "close", (few.abs() + torch.iinfo(dtype).max - 4).to(dtype).view(shape)
    yield "equal", torch.zeros(shape, dtype=dtype)


def layouts(x: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensor, and its elements in other orders and with gaps."""
    yield x
    if x.dim() > 1:
        yield x.transpose(0, -1)
        yield x.transpose(0, -1).contiguous().transpose(0, -1)
        yield x.flip(0)[..., ::2]
        yield x[:1].expand_as(x)


@all_dtypes
@pytest.mark.parametrize("descending", [False, True])
def test_sorted_as_stock_torch_does_it_when_asked_for_stability(dtype: torch.dtype, descending: bool) -> None:
    for shape in (*SHAPES, *LARGE):
        for kind, made in draws(shape, dtype):
            for x in layouts(made) if shape in SHAPES else [made]:
                for dim in range(x.dim()):
                    given = {"dim": dim, "descending": descending, "stable": True}
                    stock = torch.sort(x, **given)
                    with rusttorch.patch(["sort", "argsort", "msort"], min_numel=0):
                        where = f"{tuple(x.shape)} {x.stride()}, {kind}, {given}"
                        assert cases.same_results(torch.sort(x, **given), stock), where
                        assert cases.same_results(torch.argsort(x, **given), stock[1]), where
                        if not dim and not descending:
                            values = torch.msort(x)
                            assert values.stride() == stock[0].stride()
                            assert torch.equal(values.nan_to_num(7.0), stock[0].nan_to_num(7.0)), where


def test_calls_are_taken() -> None:
    x = torch.randint(0, 9, (40, 50))
    rusttorch.report(reset=True)
    with rusttorch.patch(["sort", "argsort", "msort", "topk"], min_numel=0):
        torch.sort(x)
        torch.sort(x, 0, True)
        x.sort(descending=True, dim=0)
        torch.sort(x.t(), stable=False, dim=1)
        torch.argsort(x)
        x.argsort(0, descending=True)
        torch.msort(x)
        x.msort()
        torch.topk(x, 3)
        x.topk(3, 0, False, sorted=False)
        torch.topk(x.t(), k=2, dim=-1)
    assert [calls(name) for name in ("sort", "argsort", "msort", "topk")] == [4, 2, 2, 3]


@all_dtypes
def test_equal_elements_stay_in_their_order_without_being_asked(dtype: torch.dtype) -> None:
    for kind, x in draws((5, 613), dtype):
        stock = torch.sort(x, stable=True)
        with rusttorch.patch("sort", min_numel=0):
            assert cases.same_results(torch.sort(x), stock), kind
            assert cases.same_results(x.sort(-1), stock), kind


@numbers
@pytest.mark.parametrize("largest", [True, False])
def test_the_same_are_chosen_of_equals(dtype: torch.dtype, largest: bool) -> None:
    """Stock torch's choice and order, whichever of the algorithms finds them."""
    for shape in (*SHAPES, *LARGE):
        for kind, made in draws(shape, dtype):
            for x in layouts(made) if shape in SHAPES else [made]:
                for dim in range(x.dim()):
                    size = x.shape[dim]
                    counts = {1, 2, 5, size // 64, size // 64 + 1, size // 2, size - 1, size}
                    for k in counts if shape in SHAPES else {10, size // 64, size // 64 + 1}:
                        if not 0 < k <= size:
                            continue
                        for ordered in (True, False):
                            given = {"k": k, "dim": dim, "largest": largest, "sorted": ordered}
                            stock = torch.topk(x, **given)
                            with rusttorch.patch("topk", min_numel=0):
                                mine = torch.topk(x, **given)
                            assert cases.same_results(mine, stock), f"{tuple(x.shape)} {x.stride()}, {kind}, {given}"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", cases.SORTED)
def test_long_rows_by_any_number_of_threads(name: str, threads: int) -> None:
    given = {"topk": {"k": 300}}.get(name, {})
    before = torch.get_num_threads()
    try:
        for dtype in (torch.float32, torch.int64, torch.bfloat16, torch.uint8):
            for kind, x in draws((600_000,), dtype):
                torch.set_num_threads(threads)
                with rusttorch.patch(name, min_numel=0):
                    mine = getattr(torch, name)(x, **given)
                torch.set_num_threads(2 if threads == 1 else 1)
                with rusttorch.patch(name, min_numel=0):
                    assert cases.same_results(mine, getattr(torch, name)(x, **given)), (dtype, kind)
                if name == "topk":
                    assert cases.same_results(mine, torch.topk(x, **given)), (dtype, kind)
    finally:
        torch.set_num_threads(before)


def test_calls_that_stock_torch_refuses() -> None:
    x = torch.tensor([3.0, 1.0, 2.0])
    ways: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("sort", (x, 0), {"stable": True}), ("sort", (x, 0, False, True), {}), ("sort", (x, 0, 1), {}),
        ("sort", (x, 3), {}), ("sort", (x,), {"descending": 1}), ("sort", (x,), {"stable": 1}), ("sort", (x, "a"), {}),
        ("sort", (x,), {"stable": None}), ("argsort", (x, 0), {"stable": True}), ("argsort", (x,), {"stable": None}),
        ("argsort", (x, -2), {}), ("msort", (x, 0), {}), ("topk", (x, 4), {}), ("topk", (x, -1), {}),
        ("topk", (x, 0), {}), ("topk", (x, 2.0), {}), ("topk", (x, 2), {"largest": 1}), ("topk", (x,), {}),
        ("topk", (x, 1, 2), {}), ("topk", (x, True), {}), ("topk", (x, torch.tensor(2)), {}),
        ("topk", (x, 1 << 62), {}),
        ("sort", (x.to(torch.complex64),), {}), ("topk", (x > 2, 1), {}), ("sort", (torch.empty(0),), {}),
        ("sort", (torch.empty(2, 0), 0), {}), ("topk", (torch.empty(3, 0), 1, 0), {}),
        ("topk", (torch.empty(0), 0), {}),
        ("sort", (torch.tensor(5.0),), {}), ("topk", (torch.tensor(5), 1), {}), ("msort", (torch.tensor(5),), {}),
        ("sort", (x,), {"out": (torch.empty(3), torch.empty(3, dtype=torch.int64))}),
        ("sort", (x,), {"out": (torch.empty(3), torch.empty(3))}),
        ("topk", (x, 2), {"out": (torch.empty(0), torch.empty(0, dtype=torch.int64))}),
    ]  # fmt: skip
    for name, args, kwargs in ways:
        stock, ours = both(lambda name=name, args=args, kwargs=kwargs: getattr(torch, name)(*args, **kwargs))
        assert stock == ours, (name, args, kwargs)


@pytest.mark.parametrize("name", ["sort", "topk"])
def test_gradients(name: str) -> None:
    given = {"sort": {"descending": True}, "topk": {"k": 3, "largest": False}}[name]
    for dim in (0, 1):
        x = torch.randperm(60).double().view(6, 10).requires_grad_()
        stock = getattr(torch, name)(x, dim=dim, **given)
        weight = torch.randn_like(stock.values)
        (expected,) = torch.autograd.grad(stock.values, x, weight)
        rusttorch.report(reset=True)
        with rusttorch.patch(name, min_numel=0):
            mine = getattr(torch, name)(x, dim=dim, **given)
            assert calls(name) == 1 and type(mine) is type(stock)
            assert mine.values.grad_fn.name() == stock.values.grad_fn.name()
            assert not mine.indices.requires_grad
            (gradient,) = torch.autograd.grad(mine.values, x, weight, retain_graph=True)
            assert torch.equal(gradient, expected)
            assert torch.autograd.gradgradcheck(lambda x, dim=dim: getattr(torch, name)(x, dim=dim, **given)[0], x)


def test_what_is_declined_says_so() -> None:
    rusttorch.report(reset=True)
    with rusttorch.patch(["sort", "topk", "softmax"], min_numel=0):
        torch.sort(torch.zeros(3, dtype=torch.complex64).real)
        torch.topk(torch.tensor([3, 1]), 0)
        with pytest.raises(NotImplementedError):
            torch.softmax(torch.tensor([1, 2]), 0)
        assert rusttorch.explain(torch.softmax, torch.tensor([1, 2]), 0) == "dtype"
        assert rusttorch.explain(torch.sort, torch.tensor([2, 1])) == "accelerated"
    assert declined("softmax") == {"dtype": 1}
    assert declined("topk") == {"shape or parameters outside the kernel's limits": 1}
