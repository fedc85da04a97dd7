"""What is so far along a dimension: cumsum, cummax and cummin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ops_cases as cases
import pytest
import torch
from support import both, calls, declined

import rusttorch
from rusttorch.catalog import CATALOG

EXTREMES = ("cummax", "cummin")
SUMMED = CATALOG["cumsum"].dtypes
SHAPES = (
    *((size,) for size in (1, 2, 7, 8, 9, 31, 32, 33, 64, 70, 1000, 70_001)),
    (1, 1), (5, 7), (3, 64), (64, 3), (40, 33), (2, 3, 4, 5), (9, 40, 65), (700, 16),
)  # fmt: skip


def drawn(shape: tuple[int, ...], dtype: torch.dtype, kind: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    wide = torch.randint(-(1 << 62), 1 << 62, shape, generator=generator)
    if kind == "ties":
        return (wide % 5).to(dtype)
    if dtype == torch.bool:
        return wide % 2 == 0
    if not dtype.is_floating_point:
        return wide.to(dtype)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    if kind == "special":
        special = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 0.0], dtype=torch.float64)
        x = torch.where(wide % 29 == 0, special[wide % 5], x)
    return x.to(dtype)


def dims(x: torch.Tensor) -> range:
    return range(-1, x.dim() - 1) if x.dim() > 1 else range(-1, 1)


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("dtype", CATALOG["cummax"].dtypes)
def test_extremes_are_stock_torchs(name: str, dtype: str) -> None:
    for shape in SHAPES:
        for kind in ("any", "ties", "special"):
            x = drawn(shape, getattr(torch, dtype), kind)
            for dim in dims(x):
                stock, before = getattr(torch, name)(x, dim), calls(name)
                with rusttorch.patch(name, min_numel=0):
                    mine = getattr(x, name)(dim=dim)
                assert calls(name) == before + 1, (shape, dim, declined(name))
                assert cases.same_results(mine, stock), (shape, kind, dim)


@pytest.mark.parametrize("dtype", SUMMED)
def test_sums_are_as_exact_as_stock_torchs(dtype: str) -> None:
    kind = getattr(torch, dtype)
    for shape in SHAPES:
        for way in ("any", "ties", "special"):
            x = drawn(shape, kind, way)
            for dim in dims(x):
                stock, before = torch.cumsum(x, dim), calls("cumsum")
                with rusttorch.patch("cumsum", min_numel=0):
                    mine = x.cumsum(dim)
                assert calls("cumsum") == before + 1, declined("cumsum")
                assert (mine.dtype, mine.shape, mine.stride()) == (stock.dtype, stock.shape, stock.stride())
                if not kind.is_floating_point:
                    assert torch.equal(mine, stock)
                    continue
                truth = torch.cumsum(x.double(), dim)
                for is_kind in (torch.isnan, torch.isposinf, torch.isneginf):
                    assert torch.equal(is_kind(mine), is_kind(stock)), (shape, way, dim)
                finite = truth.isfinite() & stock.isfinite()
                error, allowed = ((value.double() - truth)[finite].abs().max() for value in (mine, stock)) if (
                    finite.any()
                ) else (torch.tensor(0.0), torch.tensor(0.0))
                # float64's reference is stock torch's own sum.
                unit = torch.finfo(kind).eps * float(truth[finite].abs().max()) if finite.any() else 0.0
                assert error <= allowed + (64 if kind == torch.float64 else 1e-3) * unit, (shape, way, dim)


@pytest.mark.parametrize("name", ("cumsum", *EXTREMES))
def test_any_order_of_memory_and_number_of_threads(name: str) -> None:
    base = drawn((30, 40, 50), torch.float32, "any")
    before = torch.get_num_threads()
    try:
        for x in (base.transpose(0, 2), base.permute(1, 0, 2), base[1:], base[:, ::2], base[:, :1].expand(30, 9, 50)):
            for dim in dims(x):
                found = []
                for threads in (1, 2, 3):
                    torch.set_num_threads(threads)
                    stock, ours = both(lambda x=x, dim=dim: getattr(torch, name)(x, dim))
                    found.append(ours)
                    if name != "cumsum":
                        assert stock == ours, (x.stride(), dim)
                assert found[0] == found[1] == found[2]
        x = drawn((300_000,), torch.float32, "any")
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with rusttorch.patch(name, min_numel=0):
                results.append(cases.tensors(getattr(torch, name)(x, 0)))
        assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ("cumsum", *EXTREMES))
def test_training_is_stock_torchs(name: str) -> None:
    x = drawn((7, 9), torch.float32, "any")

    def run() -> list[Any]:
        leaf = x.clone().requires_grad_()
        result = getattr(torch, name)(leaf, 1)
        values = result if isinstance(result, torch.Tensor) else result.values
        (grad,) = torch.autograd.grad((values * values).sum(), leaf)
        return [values, grad, type(values.grad_fn).__name__]

    before = calls(name)
    stock, ours = both(run)
    assert stock == ours and calls(name) == before


X = torch.randn(3, 4)

STOCKS: dict[str, Callable[[], Any]] = {
    "dimension": lambda: torch.cumsum(X, 2),
    "no dimension given": lambda: torch.cumsum(X),  # type: ignore[call-overload]
    "None": lambda: torch.cummax(X, None),  # type: ignore[call-overload]
    "name": lambda: torch.cumsum(X, "a"),
    "another type": lambda: torch.cumsum(X, 0, dtype=torch.float64),
    "integers become others": lambda: torch.cumsum(X.int(), 0),
    "bool": lambda: torch.cumsum(X > 0, 0),
    "empty": lambda: (torch.cumsum(X[:0], 0), torch.cummax(X[:0], 0)),
    "out": lambda: torch.cumsum(X, 0, out=torch.empty(0)),
    "wrong out": lambda: torch.cummax(X, 0, out=(torch.empty(0), torch.empty(0))),
    "complex": lambda: torch.cumsum(X + 1j, 0),
    "no complex": lambda: torch.cummax(X + 1j, 0),
    "meta": lambda: torch.cumsum(X.to("meta"), 0),
}


@pytest.mark.parametrize("name", STOCKS)
def test_others_are_stock_torchs(name: str) -> None:
    rusttorch.report(reset=True)
    stock, ours = both(STOCKS[name], warm=True)
    assert stock[:2] == ours[:2]
    if stock[0] == "raised":
        assert stock[2] == ours[2]
    assert calls("cumsum") == calls("cummax") == 0


def test_of_no_dimension_and_its_own_type() -> None:
    for call in (
        lambda: torch.cumsum(torch.tensor(3.0), 0),
        lambda: torch.cummax(torch.tensor(3.0), -1),
        lambda: torch.cumsum(X, 1, dtype=torch.float32),
        lambda: torch.cumsum(X, dim=1, dtype=None),
    ):
        stock, ours = both(call)
        assert stock == ours
