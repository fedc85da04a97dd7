"""``rng="fast"``: random numbers that are not stock torch's, of a key that a call draws from its generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import calls, output, python
from torch.utils.checkpoint import checkpoint

import rusttorch

DRAWS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "dropout": lambda x, p: F.dropout(x, p),
    "alpha_dropout": lambda x, p: F.alpha_dropout(x, p, True),
    "bernoulli": lambda x, p: torch.bernoulli(x, p),
}
every_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def seeded(program: Callable[[], Any], seed: int = 5, **options: Any) -> Any:
    """What a program computes by kernels, from a seed."""
    torch.manual_seed(seed)
    with rusttorch.patch(min_numel=0, **options):
        return program()


@every_draw
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_seeds_threads_and_places(dtype: torch.dtype, draw: Callable[..., torch.Tensor]) -> None:
    x = torch.linspace(0.5, 1, 100_000).to(dtype)
    results = []
    threads = torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        results.append(seeded(lambda: draw(x, 0.3), rng="fast"))
    torch.set_num_threads(threads)
    assert torch.equal(*results)
    assert not torch.equal(seeded(lambda: draw(x, 0.3), seed=6, rng="fast"), results[0])
    assert not torch.equal(seeded(lambda: draw(x, 0.3)), results[0])
    first, second = seeded(lambda: (draw(x, 0.3), draw(x, 0.3)), rng="fast")
    assert torch.equal(first, results[0]) and not torch.equal(first, second)
    # An element's number is that of its index, whatever the length.
    assert torch.equal(seeded(lambda: draw(x[:777], 0.3), rng="fast"), first[:777])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_are_those_of_stock(dtype: torch.dtype) -> None:
    """But for which elements are kept, all is as in stock torch."""
    x = torch.full((5000,), 0.75, dtype=dtype)
    for draw in DRAWS.values():
        stock, mine = draw(x, 0.3), seeded(lambda draw=draw: draw(x, 0.3), rng="fast")
        assert set(mine.tolist()) == set(stock.tolist())
        assert mine.stride() == stock.stride() and mine._version == stock._version


@pytest.mark.parametrize("p", [0.01, 0.1, 1 / 3, 0.5, 0.9])
def test_frequencies(p: float) -> None:
    size = 2**21
    drawn = seeded(lambda: torch.empty(size).bernoulli_(p), rng="fast").bool()
    dropped = seeded(lambda: F.dropout(torch.ones(size), p), seed=7, rng="fast") == 0
    for found in (drawn, dropped):
        assert abs(int(found.sum()) - p * size) < 4 * math.sqrt(size * p * (1 - p))
        for distance in (1, 16, 32, 512, 16_384):
            pairs = size - distance
            both = int((found[distance:] & found[:-distance]).sum())
            assert abs(both - p * p * pairs) < 4 * math.sqrt(pairs * p * p * (1 - p * p)), distance
    both = int((drawn & dropped).sum())
    assert abs(both - p * p * size) < 4 * math.sqrt(size * p * p * (1 - p * p))


def test_masks_of_many_calls_are_independent() -> None:
    rows = seeded(lambda: torch.stack([torch.empty(4096).bernoulli_(0.5) for _ in range(256)]), rng="fast") * 2 - 1
    off = (rows @ rows.t() / 64).masked_select(~torch.eye(256, dtype=torch.bool))
    assert abs(float(off.mean())) < 0.05 and abs(float(off.var()) - 1) < 0.05 and float(off.abs().max()) < 6


def test_two_words_are_drawn() -> None:
    def following(count: int) -> torch.Tensor:
        torch.manual_seed(3)
        torch.rand(count)
        return torch.rand(4)

    for size in (1, 1000, 100_000):
        for draw in DRAWS.values():
            after = seeded(lambda draw=draw, size=size: (draw(torch.ones(size), 0.5), torch.rand(4))[1], 3, rng="fast")
            assert torch.equal(after, following(2))


@pytest.mark.parametrize("draw", [DRAWS["dropout"], DRAWS["alpha_dropout"]])
def test_gradients_go_through_what_was_kept(draw: Callable[..., torch.Tensor]) -> None:
    def program() -> Any:
        x = torch.linspace(0.5, 1, 70_000, requires_grad=True)
        result = draw(x, 0.3)
        (gradient,) = torch.autograd.grad(result.sum(), x, create_graph=True)
        return result.detach(), gradient.detach(), F.dropout(torch.ones(4), 0.0)

    result, gradient, _ = seeded(program, rng="fast")
    plain = seeded(lambda: draw(torch.linspace(0.5, 1, 70_000), 0.3), rng="fast")
    assert torch.equal(result, plain)
    lost = result == result.min() if draw is DRAWS["alpha_dropout"] else result == 0
    assert torch.equal(gradient == 0, lost)


def test_checkpoints_draw_again() -> None:
    def gradient(wrapped: bool) -> torch.Tensor:
        x = torch.linspace(0.5, 1, 5000, requires_grad=True)

        def block(x: torch.Tensor) -> torch.Tensor:
            return F.dropout(x * 2, 0.3).exp()

        y = checkpoint(block, x, use_reentrant=False) if wrapped else block(x)
        return torch.autograd.grad(y.sum(), x)[0]

    plain, again = (seeded(lambda wrapped=wrapped: gradient(wrapped), rng="fast") for wrapped in (False, True))
    assert torch.equal(plain, again)


def test_the_innermost_handle_decides() -> None:
    x = torch.ones(5000)
    stock, fast = seeded(lambda: F.dropout(x)), seeded(lambda: F.dropout(x), rng="fast")

    def now() -> torch.Tensor:
        torch.manual_seed(5)
        return F.dropout(x)

    outer = rusttorch.patch(min_numel=0, rng="fast")
    assert torch.equal(now(), fast)
    with rusttorch.accelerate(min_numel=0, memory=False):
        assert torch.equal(now(), stock)
        with rusttorch.accelerate("dropout", min_numel=0, memory=False, rng="fast"):
            assert torch.equal(now(), fast)
        assert torch.equal(now(), stock)
    with rusttorch.patch("relu", min_numel=0):
        assert torch.equal(now(), fast)
    outer.undo()
    with rusttorch.patch(min_numel=0):
        assert torch.equal(now(), stock)

    @rusttorch.accelerate(min_numel=0, rng="fast")
    def decorated() -> torch.Tensor:
        return now()

    assert torch.equal(decorated(), fast) and torch.equal(now(), stock)


def test_explain_and_report() -> None:
    x = torch.ones(500)
    rusttorch.report(reset=True)
    with rusttorch.patch(min_numel=0, rng="fast"):
        assert rusttorch.explain(F.dropout, x) == "accelerated, rng='fast'"
        assert rusttorch.explain(F.relu, x) == "accelerated"
        assert rusttorch.explain(F.dropout, x, 0.5, False) == "off by an argument, as in evaluation"
        F.dropout(x)
        report = rusttorch.report()
        assert report.as_dict()["ops"]["dropout"]["rng"] == "fast" and "dropout, fast rng" in str(report)
    with rusttorch.patch(min_numel=0):
        assert rusttorch.explain(F.dropout, x) == "accelerated"
        assert rusttorch.report().as_dict()["ops"]["dropout"]["rng"] == "torch"
    assert calls("dropout") == 1


@pytest.mark.parametrize("rng", ["slow", None, True, ""])
def test_other_words_are_refused(rng: Any) -> None:
    for switch in (rusttorch.patch, rusttorch.accelerate):
        with pytest.raises(ValueError, match="rng must be 'torch' or 'fast'"):
            switch(rng=rng)
    assert not rusttorch.is_patched()


PROGRAM = """
    import torch, rusttorch
    torch.manual_seed(0)
    x = torch.nn.functional.dropout(torch.ones(2000))
    print(rusttorch.report().as_dict()["ops"].get("dropout", {}).get("rng"), int((x == 0).nonzero().sum()))
"""


def test_environment() -> None:
    always = {"RUSTTORCH_AUTO": "1", "RUSTTORCH_MIN_NUMEL": "0"}
    found = {
        word: output(PROGRAM, **always, **({"RUSTTORCH_RNG": word} if word else {})).split()
        for word in ("", "torch", "fast")
    }
    assert found[""] == found["torch"] and found["torch"][0] == "torch" and found["fast"][0] == "fast"
    assert found["fast"][1] != found["torch"][1]
    wrong = python("-c", "import torch", RUSTTORCH_AUTO="1", RUSTTORCH_RNG="faster")
    assert wrong.returncode == 0 and wrong.stderr.count("RUSTTORCH_RNG='faster' is not torch or fast") == 1


@pytest.mark.parametrize("name", ["dropout2d", "feature_alpha_dropout"])
def test_channels_are_kept_as_a_whole(name: str) -> None:
    x = torch.linspace(0.5, 1, 64 * 100 * 30).view(64, 100, 5, 6).requires_grad_()

    def program() -> Any:
        result = getattr(F, name)(x, 0.3, True)
        return result.detach(), *torch.autograd.grad(result.sum(), x)

    results, threads = [], torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        results.append(seeded(program, rng="fast"))
    torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))
    result, gradient = results[0]
    kept = gradient != 0
    assert torch.equal(kept, kept[:, :, :1, :1].expand_as(kept))
    assert abs(float(kept.float().mean()) - 0.7) < 0.03
    assert torch.equal(result[~kept].unique(), result[~kept][:1])
