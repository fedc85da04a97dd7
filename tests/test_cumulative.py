"""What is so far along a dimension: sums, products, logarithms of sums, and extremes."""

from __future__ import annotations

import math
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


@pytest.mark.parametrize("name", cases.CUMULATIVE)
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
                    if CATALOG[name].exactness == "bits":
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


@pytest.mark.parametrize("dtype", ("float32", "float64", "bfloat16"))
@pytest.mark.parametrize("name", cases.CUMULATIVE)
def test_gradients(name: str, dtype: str) -> None:
    """Of the first and second order, the nodes, and what they save."""
    if dtype not in CATALOG[name].dtypes:
        pytest.skip("stock torch's")
    # Ties have zeros, of which the gradient is another formula.
    kinds = ("any", "ties") if name == "cumprod" else ("any",)
    for shape in ((9, 12), (40,), (3, 10, 4), (1, 9), ()):
        for kind in kinds:
            x = drawn(shape, getattr(torch, dtype), kind)
            weight = drawn((*shape, 1), x.dtype, "any").squeeze(-1)
            for dim in dims(x):

                def run(x: torch.Tensor = x, dim: int = dim, weight: torch.Tensor = weight) -> list[Any]:
                    leaf = x.clone().requires_grad_()
                    result = getattr(torch, name)(leaf, dim)
                    values = result if isinstance(result, torch.Tensor) else result.values
                    node = values.grad_fn
                    saved = [attribute for attribute in ("_saved_self", "_saved_result", "_saved_indices")
                             if hasattr(node, attribute)]  # fmt: skip
                    (grad,) = torch.autograd.grad((values * weight).sum(), leaf, create_graph=True)
                    second = None
                    if grad.requires_grad:
                        (second,) = torch.autograd.grad((grad * weight.cos()).sum(), leaf, allow_unused=True)
                    return [type(node).__name__, saved, values.detach(), grad.detach(), second]

                before = calls(name)
                stock = run()
                with rusttorch.patch(min_numel=0):
                    ours = run()
                assert calls(name) > before, declined(name)
                assert stock[:2] == ours[:2]
                for mine, theirs in zip(ours[2:], stock[2:], strict=True):
                    tolerance = 0.03 if dtype == "bfloat16" else 1e-4
                    if theirs is None:
                        assert mine is None
                    else:
                        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", CATALOG["cumprod"].dtypes)
def test_products_are_stock_torchs(dtype: str) -> None:
    """The same bits, of what overflows and vanishes as well: factors are not grouped."""
    kind = getattr(torch, dtype)
    rows = [[0.0, *[2.0] * 40], [0.0, *[1e38] * 40], [*[1e38] * 25, *[1e-38] * 16], [*[1e-38] * 25, *[1e38] * 16]]
    given = [torch.tensor(rows * 4).to(kind)]
    given += [drawn(shape, kind, way) for shape in SHAPES for way in ("any", "ties", "special")]
    for x in given:
        for dim in dims(x):
            stock, before = torch.cumprod(x, dim), calls("cumprod")
            with rusttorch.patch("cumprod", min_numel=0):
                mine = x.cumprod(dim=dim)
            assert calls("cumprod") == before + 1, declined("cumprod")
            assert cases.same_results(mine, stock), (x.shape, dim)


def units_off(value: torch.Tensor, truth: torch.Tensor) -> float:
    """The largest error, in the distance between numbers of the size of the true one."""
    kind = torch.finfo(value.dtype)
    off = (value.double() - truth).abs() / (kind.eps * truth.abs().clamp_min(kind.tiny))
    return float(torch.where(value.double() == truth, 0.0, off).max())


@pytest.mark.parametrize("dtype", CATALOG["logcumsumexp"].dtypes)
def test_logarithms_of_sums_are_as_exact_as_stock_torchs(dtype: str) -> None:
    kind = getattr(torch, dtype)
    ways = {
        "any": lambda x: x, "wide": lambda x: x * 1e3, "growing": lambda x: x.abs().cumsum(-1) if x.dim() else x,
        "near zero": lambda x: torch.where(torch.arange(x.numel()).view_as(x) % 5 == 0, 0.0, x - 40),
        "small": lambda x: x * 1e-6, "masked": lambda x: x.masked_fill(x > 0, -math.inf),
    }  # fmt: skip
    for shape in SHAPES:
        for way, make in ways.items():
            x = make(drawn(shape, torch.float32, "any")).to(kind)
            for dim in dims(x):
                stock, before = torch.logcumsumexp(x, dim), calls("logcumsumexp")
                with rusttorch.patch("logcumsumexp", min_numel=0):
                    mine = x.logcumsumexp(dim=dim)
                assert calls("logcumsumexp") == before + 1, declined("logcumsumexp")
                assert (mine.dtype, mine.shape, mine.stride()) == (stock.dtype, stock.shape, stock.stride())
                truth = torch.logcumsumexp(x.double(), dim)
                mine_off, stock_off = (units_off(value, truth) for value in (mine, stock))
                assert mine_off <= max(stock_off, 0.501), (shape, way, dim, mine_off, stock_off)
        special = drawn(shape, kind, "special")
        for dim in dims(special):
            stock, ours = torch.logcumsumexp(special, dim), rusttorch.patch("logcumsumexp", min_numel=0)
            with ours:
                mine = torch.logcumsumexp(special, dim)
            for is_kind in (torch.isnan, torch.isposinf, torch.isneginf):
                assert torch.equal(is_kind(mine), is_kind(stock)), (shape, dim)


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
