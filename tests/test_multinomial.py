"""Samples of rows of probabilities: for a seed stock torch's, and so is the generator afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import both, calls, declined

import rusttorch

both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def drawn(call: Callable[[], Any]) -> tuple[Any, list[int]]:
    """What a call gives after a seed and an odd number of words, and the generator's state."""
    torch.manual_seed(11)
    torch.rand(3)
    return call(), torch.default_generator.get_state().tolist()


def probabilities(shape: tuple[int, ...], dtype: torch.dtype, few: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    p = torch.rand(shape, generator=generator, dtype=torch.float64)
    if few:
        p = torch.where(torch.rand(shape, generator=generator) < 0.01, p, 0.0)
        p[..., shape[-1] // 2] = 0.25
    return p.to(dtype)


@both_dtypes
def test_samples_are_stock_torchs(dtype: torch.dtype) -> None:
    rows = ((1,), (2,), (255,), (256,), (257,), (1000,), (50_257,))
    for shape in (*rows, (1, 1), (5, 7), (3, 256), (64, 1001), (900, 3)):
        for few in (False, True):
            x = probabilities(shape, dtype, few)
            for way in (
                lambda x=x: torch.multinomial(x, 1),
                lambda x=x: x.multinomial(num_samples=1, replacement=True),
                lambda x=x: torch.multinomial(x * 3, 1, False),
                lambda x=x: torch.multinomial(x, x.shape[-1] // 2 + 1),
                lambda x=x: torch.multinomial(x, 300, replacement=True),
            ):
                (stock, state), before = drawn(way), calls("multinomial")
                with rusttorch.patch("multinomial", min_numel=0):
                    mine, after = drawn(way)
                assert calls("multinomial") == before + 1, declined("multinomial")
                assert torch.equal(mine, stock) and mine.shape == stock.shape and after == state, shape


def test_every_place_has_its_share() -> None:
    """Of fast random numbers as well, which are not stock torch's."""
    p = torch.tensor([0.1, 0.0, 0.4, 0.5]).expand(20_000, 4).contiguous()
    for rng in ("torch", "fast"):
        torch.manual_seed(1)
        with rusttorch.patch("multinomial", rng=rng):
            shares = torch.multinomial(p, 1).view(-1).bincount(minlength=4) / len(p)
        assert (shares - p[0]).abs().max() < 0.02 and shares[1] == 0


P = torch.tensor([[0.2, 0.8], [0.5, 0.5]])

STOCKS: dict[str, Callable[[], Any]] = {
    "more samples than places": lambda: torch.multinomial(P, 3),
    "less than none": lambda: torch.multinomial(P, -1),
    "an infinite sum": lambda: torch.multinomial(torch.full((4,), 3e38), 2, True),
    "nothing to put back": lambda: torch.multinomial(torch.zeros(4), 2, True),
    "negative": lambda: torch.multinomial(torch.tensor([0.5, -0.1]), 1),
    "infinite": lambda: torch.multinomial(torch.tensor([0.5, float("inf")]), 1),
    "no number": lambda: torch.multinomial(torch.tensor([0.5, float("nan")]), 1),
    "no probability": lambda: torch.multinomial(torch.tensor([[0.5, 0.5], [0.0, 0.0]]), 1),
    "half": lambda: torch.multinomial(P.half(), 1),
    "bfloat16": lambda: torch.multinomial(P.bfloat16(), 1),
    "integers": lambda: torch.multinomial(torch.ones(3, dtype=torch.int64), 1),
    "three dimensions": lambda: torch.multinomial(P[None], 1),
    "no dimension": lambda: torch.multinomial(P[0, 0], 1),
    "empty": lambda: torch.multinomial(P[:0], 1),
    "no samples": lambda: torch.multinomial(P, 0),
    "a fraction": lambda: torch.multinomial(P, 1.0),
    "own generator": lambda: torch.multinomial(P, 1, generator=torch.Generator().manual_seed(3)),
    "out": lambda: torch.multinomial(P, 1, out=torch.empty(0, dtype=torch.int64)),
    "transposed": lambda: torch.multinomial(torch.rand(4, 6).t(), 1),
}


@pytest.mark.parametrize("name", STOCKS)
def test_others_are_stock_torchs(name: str) -> None:
    rusttorch.report(reset=True)
    stock, ours = both(lambda: drawn(STOCKS[name]), warm=True)
    assert stock[:2] == ours[:2]
    if stock[0] == "raised":
        assert stock[2] == ours[2]
    assert calls("multinomial") == 0


def test_gradients_and_modes_are_no_matter() -> None:
    with rusttorch.patch("multinomial", min_numel=0):
        leaf = P.clone().requires_grad_()
        assert not torch.multinomial(leaf, 1).requires_grad
        with torch.inference_mode():
            assert torch.multinomial(P, 1).shape == (2, 1)
        batched = torch.func.vmap(lambda p: torch.multinomial(p, 1), randomness="different")(P)
        assert batched.shape == (2, 1)
        assert rusttorch.explain(torch.multinomial, P, 1) == "accelerated"
        assert "elements" in rusttorch.explain(torch.multinomial, -P, 1)
