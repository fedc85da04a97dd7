"""The different elements of a tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ops_cases as cases
import pytest
import torch
from support import both, calls, declined

import rusttorch
from rusttorch.catalog import SELECTS

DTYPES = SELECTS["unique"].dtypes
all_dtypes = pytest.mark.parametrize("dtype", [getattr(torch, name) for name in DTYPES], ids=DTYPES)

SHAPES = ((1,), (2,), (7,), (33, 3), (1000,), (5, 6, 7), (4097,), (300, 301))

WAYS: tuple[Callable[[torch.Tensor], Any], ...] = (
    lambda x: torch.unique(x),
    lambda x: x.unique(),
    lambda x: torch.unique(x, sorted=False),
    lambda x: torch.unique(x, return_inverse=True),
    lambda x: torch.unique(x, return_counts=True),
    lambda x: x.unique(return_inverse=True, return_counts=True),
)


def draws(shape: tuple[int, ...], dtype: torch.dtype) -> Iterator[torch.Tensor]:
    """Few and many different ones, and what is special of the type; zeros of one sign."""
    generator = torch.Generator().manual_seed(sum(shape))
    wide = torch.randint(-(1 << 62), 1 << 62, shape, generator=generator)
    yield (wide % 7 - 3).to(dtype)
    yield (wide % 5000).to(dtype)
    yield torch.full(shape, 3).to(dtype)
    if not dtype.is_floating_point:
        yield wide.to(dtype)
        info = torch.iinfo(dtype)
        yield torch.where(wide % 2 == 0, info.min, info.max).to(dtype)
        return
    yield torch.randn(shape, generator=generator).to(dtype)
    special = torch.tensor([float("inf"), -float("inf"), -0.0, torch.finfo(dtype).tiny, -2.0], dtype=torch.float64)
    special = special[wide % len(special)].to(dtype)
    special.view(-1)[0] = float("nan")
    yield special


@all_dtypes
def test_results_are_stock_torchs(dtype: torch.dtype) -> None:
    for shape in SHAPES:
        for x in draws(shape, dtype):
            for way in WAYS:
                stock, before = way(x), calls("unique")
                with rusttorch.patch("unique", min_numel=0):
                    mine = way(x)
                assert calls("unique") == before + 1, declined("unique")
                assert cases.same_results(mine, stock) if isinstance(mine, tuple) else same(mine, stock), shape


def same(mine: torch.Tensor, stock: torch.Tensor) -> bool:
    return cases.same_bits(mine, stock) and (mine.shape, mine.stride()) == (stock.shape, stock.stride())


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_large_ones_on_any_number_of_threads(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.uint8):
            for x in draws((700, 701), dtype):
                stock, ours = both(lambda x=x: x.unique(return_inverse=True, return_counts=True))
                assert stock == ours
    finally:
        torch.set_num_threads(before)


X = torch.tensor([3.0, 1.0, 3.0, 2.0])

STOCKS: dict[str, Callable[[], Any]] = {
    "dimension": lambda: torch.unique(X.view(2, 2), dim=0),
    "zeros of both signs": lambda: torch.unique(torch.tensor([0.0, -0.0, 1.0])),
    "places of several NaN": lambda: torch.unique(torch.tensor([float("nan"), 1.0, float("nan")]), return_inverse=True),
    "empty": lambda: torch.unique(X[:0], return_inverse=True),
    "bool": lambda: torch.unique(X > 1, return_counts=True),
    "complex": lambda: torch.unique(X + 0j),
    "transposed": lambda: torch.unique(torch.arange(12.0).view(3, 4).t(), return_inverse=True),
    "list": lambda: torch.unique([1, 2]),  # type: ignore[arg-type]
    "flag": lambda: torch._unique2(X, 1),
    "trained": lambda: torch.unique(X.clone().requires_grad_()).detach(),
}


@pytest.mark.parametrize("name", STOCKS)
def test_others_are_stock_torchs(name: str) -> None:
    rusttorch.report(reset=True)
    stock, ours = both(STOCKS[name], warm=True)
    assert stock[:2] == ours[:2]
    assert calls("unique") == 0


def test_of_no_dimension_and_compiled() -> None:
    stock, ours = both(lambda: torch.unique(torch.tensor(5.0), return_inverse=True, return_counts=True))
    assert stock == ours
    with rusttorch.patch(min_numel=0):
        compiled = torch.compile(lambda x: torch.unique(x), backend="eager")(X)
        batched = torch.func.vmap(lambda x: x * 2)(X)
    assert compiled.tolist() == [1.0, 2.0, 3.0] and torch.equal(batched, X * 2)


RUNS = SELECTS["unique_consecutive"].dtypes


@pytest.mark.parametrize("dtype", RUNS)
def test_runs_are_stock_torchs(dtype: str) -> None:
    torch.manual_seed(0)
    for size in (1, 2, 9, 1000, 16_385, 70_001):
        for length in (1, 3, 500):
            x = torch.randint(0, 5, (size // length + 1,)).repeat_interleave(length)[:size].to(getattr(torch, dtype))
            if x.is_floating_point():
                x = torch.where(x == 4, float("nan"), torch.where(x == 3, -0.0, x))
            for shaped in (x, x.view(-1, 1)):
                for flags in ({}, {"return_inverse": True}, {"return_counts": True},
                              {"return_inverse": True, "return_counts": True}):  # fmt: skip
                    stock, before = torch.unique_consecutive(shaped, **flags), calls("unique_consecutive")
                    with rusttorch.patch("unique_consecutive", min_numel=0):
                        mine = shaped.unique_consecutive(**flags)
                    assert calls("unique_consecutive") == before + 1, declined("unique_consecutive")
                    assert cases.same_results(mine, stock), (size, length, flags)


def test_other_runs_are_stock_torchs() -> None:
    x = torch.tensor([[1, 1, 2], [1, 1, 2], [3, 1, 1]])
    rusttorch.report(reset=True)
    for call in (
        lambda: torch.unique_consecutive(x, dim=0),
        lambda: torch.unique_consecutive(x.t()),
        lambda: torch.unique_consecutive(x > 1, return_counts=True),
        lambda: torch.unique_consecutive(x[:0], return_inverse=True),
        lambda: torch.unique_consecutive(x.to("meta")),
        lambda: torch.unique_consecutive(x, 1, 2, 3, 4),
    ):
        stock, ours = both(call, warm=True)
        assert stock[:2] == ours[:2]
    assert calls("unique_consecutive") == 0
    assert "unique_consecutive" not in vars(torch._VF)
    compiled = torch.compile(lambda x: torch.unique_consecutive(x), backend="eager")
    with rusttorch.patch(min_numel=0):
        assert torch.equal(compiled(x), torch.unique_consecutive(x))


def test_explicit_runs() -> None:
    for x in (torch.tensor([1.0, 1.0, 2.0, 1.0]), torch.tensor([True, True, False]), torch.empty(0)):
        values, inverse, counts = rusttorch.unique_consecutive(rusttorch.Tensor.from_torch(x), True, True)
        stock = torch.unique_consecutive(x, True, True)
        found = (values.to_torch(), inverse.to_torch(), counts.to_torch())
        assert all(torch.equal(a, b) for a, b in zip(found, stock, strict=True))
    assert rusttorch.unique_consecutive(rusttorch.Tensor.ones(3)).tolist() == [1.0]
