"""How often each integer occurs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import both, calls, declined

import rusttorch
from rusttorch.catalog import SELECTS

DTYPES = SELECTS["bincount"].dtypes


@pytest.mark.parametrize("dtype", DTYPES)
def test_counts_are_stock_torchs(dtype: str) -> None:
    torch.manual_seed(0)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for size in (1, 2, 7, 100, 4099, 70_001):
                for greatest in (1, 2, 100, 127, 5000):
                    if greatest > torch.iinfo(getattr(torch, dtype)).max:
                        continue
                    x = torch.randint(0, greatest, (size,)).to(getattr(torch, dtype))
                    for minlength in (0, greatest + 3):
                        stock, done = torch.bincount(x, None, minlength), calls("bincount")
                        with rusttorch.patch("bincount", min_numel=0):
                            mine = x.bincount(minlength=minlength)
                        assert calls("bincount") == done + 1, declined("bincount")
                        assert mine.dtype == stock.dtype and torch.equal(mine, stock), (size, greatest, minlength)
    finally:
        torch.set_num_threads(before)


X, W = torch.tensor([3, 1, 0, 3]), torch.randn(4)

STOCKS: dict[str, Callable[[], Any]] = {
    "negative": lambda: torch.bincount(torch.tensor([3, -1])),
    "a matrix": lambda: torch.bincount(X.view(2, 2)),
    "no dimensions": lambda: torch.bincount(torch.tensor(3)),
    "empty": lambda: torch.bincount(X[:0], minlength=5),
    "bool": lambda: torch.bincount(X > 0),
    "floats": lambda: torch.bincount(W),
    "other sizes": lambda: torch.bincount(X, W[:3]),
    "weights": lambda: torch.bincount(X, W),
    "strides": lambda: torch.bincount(torch.arange(8)[::2], W),
    "negative minlength": lambda: torch.bincount(X, minlength=-1),
    "minlength is no number": lambda: torch.bincount(X, None, "a"),
    "many bins": lambda: torch.bincount(torch.tensor([5_000_000])),
    "meta": lambda: torch.bincount(X.to("meta")),
}


@pytest.mark.parametrize("name", STOCKS)
def test_others_are_stock_torchs(name: str) -> None:
    rusttorch.report(reset=True)
    stock, ours = both(STOCKS[name], warm=True)
    assert stock[:2] == ours[:2]
    if stock[0] == "raised":
        assert stock[2] == ours[2]
    assert calls("bincount") == 0


def test_explicit() -> None:
    x = rusttorch.Tensor.from_torch(X)
    assert rusttorch.bincount(x).tolist() == [1, 1, 0, 2]
    assert rusttorch.bincount(x, minlength=6).tolist() == [1, 1, 0, 2, 0, 0]
    assert rusttorch.bincount(x[:0], minlength=2).tolist() == [0, 0]
    for wrong, error in (
        (lambda: rusttorch.bincount(rusttorch.Tensor.ones(3)), TypeError),
        (lambda: rusttorch.bincount(x - 2), ValueError),
        (lambda: rusttorch.bincount(x, minlength=-1), ValueError),
    ):
        with pytest.raises(error, match="bincount"):
            wrong()
