"""dropout, alpha_dropout and bernoulli: the numbers of torch's generator, and the state that it is left in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import both, calls, comparable, output
from torch.utils.checkpoint import checkpoint

import rusttorch
from rusttorch.patching import operations
from rusttorch.selfcheck import different


def drawn(program: Callable[[], Any]) -> Any:
    """What a program computes, and the state that it leaves the generator in."""
    return program(), torch.default_generator.get_state()


def same(program: Callable[[], Any], kernels: int | None = 1) -> None:
    """The program computes as with stock torch, by this many runs of the kernels."""
    rusttorch.report(reset=True)
    stock, mine = both(lambda: drawn(program))
    assert stock[0] == "returned" and stock == mine
    if kernels is not None:
        assert sum(map(calls, DRAWS)) == kernels


def _channels(x: torch.Tensor) -> torch.Tensor:
    """Of one element, or of four."""
    return x.view(-1, 1, 2, 2) if x.numel() % 4 == 0 else x.view(1, -1, 1, 1)


#: A call with a probability of each op that draws, over ``x``.
DRAWS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "dropout": lambda x, p: F.dropout(x, p),
    "alpha_dropout": lambda x, p: F.alpha_dropout(x, p, True),
    "bernoulli": lambda x, p: torch.bernoulli(x, p),
    "feature_dropout": lambda x, p: F.dropout2d(_channels(x), p).view(x.shape),
    "feature_alpha_dropout": lambda x, p: F.feature_alpha_dropout(_channels(x), p, True).view(x.shape),
}
every_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@every_draw
@pytest.mark.parametrize("size", [1, 2, 311, 312, 313, 623, 624, 625, 1249, 40_000])
@pytest.mark.parametrize("before", [0, 1, 622, 623, 624])
def test_words_drawn_before(size: int, before: int, draw: Callable[..., torch.Tensor]) -> None:
    """Random numbers of one word each leave any word of the state as the next."""

    def program() -> Any:
        torch.rand(before)
        return draw(torch.ones(size), 0.3), torch.rand(3)

    same(program)


@every_draw
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("p", [1e-12, 0.1, 1 / 3, 0.5, 0.7, 0.999, 0.999999, 1 - 2.0**-53])
def test_probabilities(p: float, dtype: torch.dtype, draw: Callable[..., torch.Tensor]) -> None:
    # Neither zero, whose sign is lost, nor so large that the product overflows, which makes NaNs.
    same(lambda: draw(torch.linspace(0.25, 1, 5000).to(dtype), p).nan_to_num(nan=3.0))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("p", [0.0, 1.0, 0, 1, True, False])
def test_certain_numbers_are_drawn_all_the_same(p: float, dtype: torch.dtype) -> None:
    same(lambda: (torch.bernoulli(torch.ones(501, dtype=dtype), p), torch.empty(7, dtype=dtype).bernoulli_(p)), 2)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), "half", None, 1j, torch.tensor(0.5), torch.rand(500)])
def test_other_probabilities_of_bernoulli_are_stock(p: Any) -> None:
    def outcomes() -> Any:
        found = []
        for call in (torch.bernoulli, torch.Tensor.bernoulli, torch.Tensor.bernoulli_):
            try:
                found.append(drawn(lambda call=call: call(torch.ones(500), p)))
            except Exception as error:
                found.append((type(error), str(error)))
        return found

    rusttorch.report(reset=True)
    stock, mine = both(outcomes)
    assert stock == mine and calls("bernoulli") == 0


def test_a_generator_that_is_given_is_stock() -> None:
    def program() -> Any:
        generator = torch.Generator().manual_seed(3)
        x = torch.ones(500)
        return x.bernoulli_(0.3, generator=generator), torch.bernoulli(x, generator=generator), generator.get_state()

    same(program, kernels=0)
    same(lambda: torch.ones(500).bernoulli_(0.3, generator=None))


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(40, 30).t(),
        lambda: torch.empty(40, 30)[:, 3:9],
        lambda: torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last),
        lambda: torch.empty(3, 1).expand(3, 4),
    ],
)
def test_layouts_of_bernoulli(make: Callable[[], torch.Tensor]) -> None:
    def outcomes() -> Any:
        try:
            return drawn(lambda: make().bernoulli_(0.3)), drawn(lambda: torch.bernoulli(make(), 0.3))
        except RuntimeError as error:
            return str(error)

    stock, mine = both(outcomes)
    assert stock == mine


def test_bernoulli_of_what_requires_a_gradient_is_stock() -> None:
    def program() -> Any:
        x = torch.linspace(0.1, 0.9, 500, requires_grad=True)
        y = x * 1
        result = y.bernoulli_(0.3)
        return result, torch.autograd.grad(result.sum(), x), torch.bernoulli(x, 0.3)

    same(program, kernels=0)


@pytest.mark.parametrize("draw", [draw for name, draw in DRAWS.items() if name != "bernoulli"])
@pytest.mark.parametrize("p", [0.0, 1.0, 0, 1])
def test_nothing_is_drawn_at_the_ends(p: float, draw: Callable[..., torch.Tensor]) -> None:
    same(lambda: draw(torch.ones(500), p), kernels=0)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.dropout(x, training=False),
        lambda x: torch.dropout(x, 0.5, False),
        lambda x: torch.nn.Dropout(0.2).eval()(x),
        lambda x: F.alpha_dropout(x),
        lambda x: torch.alpha_dropout(x, 0.5, False),
        lambda x: torch.nn.AlphaDropout(0.2).eval()(x),
    ],
)
def test_in_evaluation_the_input_is_returned(call: Callable[[torch.Tensor], torch.Tensor]) -> None:
    x = torch.ones(500)
    with rusttorch.patch(min_numel=0):
        assert call(x).data_ptr() == x.data_ptr()
        assert sum(map(calls, DRAWS)) == 0
        assert rusttorch.explain(torch.dropout, x, 0.5, False) == "off by an argument, as in evaluation"
        assert rusttorch.explain(F.alpha_dropout, x) == "off by an argument, as in evaluation"


@pytest.mark.parametrize(
    "call",
    [
        lambda x: torch.nn.Dropout(0.2)(x),
        lambda x: torch.nn.Dropout(0.2, inplace=True)(x),
        lambda x: F.dropout(x, 0.2, inplace=True),
        lambda x: F.dropout(x, p=0.2, training=True, inplace=False),
        lambda x: torch.dropout(x, 0.2, True),
        lambda x: torch.dropout_(x, 0.2, True),
        lambda x: torch.nn.AlphaDropout(0.2)(x),
        lambda x: torch.nn.AlphaDropout(0.2, inplace=True)(x),
        lambda x: F.alpha_dropout(x, p=0.2, training=True, inplace=True),
        lambda x: torch.alpha_dropout(x, 0.2, True),
        lambda x: torch.alpha_dropout_(x, 0.2, True),
        lambda x: torch.nn.Dropout1d(0.2)(x.view(7, 50, 2)),
        lambda x: F.dropout1d(x.view(7, 50, 2), 0.2, inplace=True),
        lambda x: torch.nn.Dropout2d(0.2)(x.view(7, 25, 2, 2)),
        lambda x: torch.nn.Dropout2d(0.2, inplace=True)(x.view(7, 25, 2, 2)),
        lambda x: F.dropout2d(x.view(7, 25, 2, 2), p=0.2, training=True, inplace=False),
        lambda x: torch.nn.Dropout3d(0.2)(x.view(7, 25, 1, 2, 2)),
        lambda x: F.dropout3d(x.view(7, 25, 1, 2, 2), 0.2, True, True),
        lambda x: torch.feature_dropout(x.view(7, 100), 0.2, True),
        lambda x: torch.feature_dropout_(x.view(7, 5, 5, 2, 2, 1), 0.2, True),
        lambda x: torch.nn.FeatureAlphaDropout(0.2)(x.view(7, 25, 4)),
        lambda x: F.feature_alpha_dropout(x.view(7, 25, 2, 2), training=True, inplace=True),
        lambda x: torch.feature_alpha_dropout(x.view(7, 25, 4), 0.2, True),
        lambda x: torch.feature_alpha_dropout_(x.view(7, 100), 0.2, True),
        lambda x: x.bernoulli_(),
        lambda x: x.bernoulli_(p=0.2),
        lambda x: x.bernoulli(0.2),
        lambda x: torch.bernoulli(x, p=0.2),
    ],
)
def test_entrances_draw_alike(call: Callable[[torch.Tensor], torch.Tensor]) -> None:
    def program() -> Any:
        x = torch.linspace(-1, 1, 700)
        version = x._version
        result = call(x)
        return result, x, result is x, x._version - version

    same(program)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.dropout1d(x.view(70, 10), 0.2),
        lambda x: F.dropout2d(x.view(7, 10, 10), 0.2),
        lambda x: F.dropout2d(x.view(7, 100), 0.2),
        lambda x: F.dropout2d(x.view(7, 5, 2, 5, 2), 0.2),
        lambda x: F.dropout3d(x.view(7, 5, 4, 5), 0.2),
        lambda x: F.dropout1d(x, 0.2),
        lambda x: torch.feature_dropout(x, 0.2, True),
        lambda x: torch.feature_alpha_dropout(x, 0.2, True),
        lambda x: F.dropout2d(x.view(7, 25, 2, 2).to(memory_format=torch.channels_last), 0.2),
        lambda x: F.dropout2d(x.view(7, 25, 2, 2).transpose(2, 3), 0.2),
        lambda x: F.dropout2d(x.view(7, 25, 2, 2), 0.0),
        lambda x: F.dropout2d(x.view(7, 25, 2, 2), 1.0),
        lambda x: F.dropout2d(x.view(7, 25, 2, 2), training=False),
        lambda x: F.feature_alpha_dropout(x.view(7, 25, 2, 2)),
    ],
)
def test_channels_that_are_stock_torchs(call: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """With what it warns of."""
    rusttorch.report(reset=True)
    stock, mine = both(lambda: drawn(lambda: call(torch.linspace(-1, 1, 700))), warm=True)
    assert stock == mine
    assert sum(map(calls, DRAWS)) == 0


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradients_of_channels(dtype: torch.dtype, alpha: bool) -> None:
    """To any order, of what lies in memory as the result or not; the node shows stock torch's noise."""

    def program() -> Any:
        x = torch.linspace(-1, 1, 700, dtype=torch.float64).to(dtype).view(7, 25, 2, 2).requires_grad_()
        call = F.feature_alpha_dropout if alpha else F.dropout2d
        result = call(x * x, 0.3, training=True)
        grad = torch.linspace(0, 1, 700).to(dtype).view(7, 25, 2, 2)
        (plain,) = torch.autograd.grad(result, x, grad, retain_graph=True)
        (across,) = torch.autograd.grad(result, x, grad.transpose(2, 3), retain_graph=True)
        (whole,) = torch.autograd.grad(result.sum(), x, retain_graph=True)
        (first,) = torch.autograd.grad(result, x, grad, create_graph=True)
        node = result.grad_fn
        noise = None if alpha else node._saved_other  # type: ignore[union-attr]
        return result, node.name(), noise, plain, across, whole, first, torch.autograd.grad(first.sum(), x)

    same(program, kernels=2)


@every_draw
def test_stock_errors(draw: Callable[..., torch.Tensor]) -> None:
    for p in (-0.1, 1.1, "half", None, torch.tensor(0.5)):
        stock, mine = both(lambda p=p: drawn(lambda: draw(torch.ones(500), p)))
        assert stock == mine, p


def test_a_new_generator_state() -> None:
    def program() -> Any:
        torch.manual_seed(2**40 + 7)
        first = F.dropout(torch.ones(700))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            second = F.dropout(torch.ones(700))
        state = torch.get_rng_state()
        third = F.dropout(torch.ones(700))
        torch.set_rng_state(state)
        assert torch.equal(third, F.dropout(torch.ones(700)))
        return first, second, third, torch.randn(5)

    same(program, kernels=4)


def test_normal_numbers_kept_by_the_generator_survive() -> None:
    def program() -> Any:
        torch.randn(1)  # one more is kept
        return F.dropout(torch.ones(700)), torch.randn(1)

    same(program)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint_draws_again(reentrant: bool) -> None:
    def program() -> Any:
        x = torch.linspace(-1, 1, 700, requires_grad=True)
        result = checkpoint(lambda x: F.dropout(x.sin(), 0.3).cos(), x, use_reentrant=reentrant)
        (gradient,) = torch.autograd.grad(result.sum(), x) if not reentrant else (None,)
        if reentrant:
            result.sum().backward()
            gradient = x.grad
        return result, gradient

    same(program, kernels=None)


def test_a_hook_may_store_another_tensor() -> None:
    """Stock torch saves the noise, and a hook stores it as it likes; so here, with the mask."""

    def program() -> Any:
        x = torch.linspace(-1, 1, 700, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t.to(torch.float64), lambda t: t.to(torch.float32)):
            result = F.dropout(x, 0.5)
        return torch.autograd.grad(result, x, torch.linspace(0, 1, 700))

    same(program, kernels=1)


def test_what_is_saved_takes_a_byte_an_element() -> None:
    saved: list[torch.Tensor] = []
    x = torch.ones(1000, requires_grad=True)
    with (
        rusttorch.patch(min_numel=0),
        torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t),
    ):
        result = F.dropout(x, 0.25)
    assert [t.nbytes for t in saved] == [1000]
    noise = result.grad_fn._saved_other  # type: ignore[union-attr]
    assert torch.equal(noise, result.detach()) and result.grad_fn._saved_self is None  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradients_of_alpha_dropout(dtype: torch.dtype) -> None:
    """To any order, and as stock torch's where the mask goes through the formula."""

    def program() -> Any:
        x = torch.linspace(-1, 1, 700, dtype=torch.float64).to(dtype).requires_grad_()
        result = F.alpha_dropout(x * x, 0.3, training=True)
        grad = torch.linspace(0, 1, 700).to(dtype)
        (plain,) = torch.autograd.grad(result, x, grad, retain_graph=True)
        (first,) = torch.autograd.grad(result, x, grad, create_graph=True)
        return result, plain, first, torch.autograd.grad(first.sum(), x)

    same(program, kernels=2)


@pytest.mark.parametrize("draw", [draw for name, draw in DRAWS.items() if name != "bernoulli"])
def test_saved_masks_are_freed_by_backward(draw: Callable[..., torch.Tensor]) -> None:
    x = torch.ones(1000, requires_grad=True)
    with rusttorch.patch(min_numel=0):
        result = draw(x, 0.5)
        result.sum().backward()
        with pytest.raises(RuntimeError, match="second time"):
            result.sum().backward()


@pytest.mark.parametrize("size", [1_000, 40_000, 200_000])
def test_threads_draw_different_numbers(size: int) -> None:
    """As under stock torch's lock, which stock functions in other threads take as well."""
    results: list[torch.Tensor] = []

    def dropped() -> None:
        results.extend(F.dropout(torch.ones(size), 0.5) for _ in range(16))

    def inplace() -> None:
        results.extend(F.dropout(torch.ones(size), 0.5, inplace=True) for _ in range(16))

    def drawn() -> None:
        results.extend(2 * torch.empty(size).bernoulli_(0.5) for _ in range(16))

    threads = [threading.Thread(target=target) for target in (dropped, drawn, inplace) * 2]
    with rusttorch.patch(min_numel=0):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 96
    assert len({tuple(result[:256].tolist()) for result in results}) == 96


def test_who_asks_for_the_state_while_a_kernel_draws_waits_for_it() -> None:
    """Under the GIL, which the kernel has given up and must not wait for meanwhile."""
    states: list[torch.Tensor] = []
    with rusttorch.patch(min_numel=0):
        thread = threading.Thread(target=lambda: [F.dropout(torch.ones(1_000_000), 0.5) for _ in range(8)])
        thread.start()
        while thread.is_alive():
            states.append(torch.get_rng_state())
        torch.set_rng_state(states[-1])
    assert states


@pytest.mark.parametrize("name", DRAWS)
def test_a_generator_of_another_kind_is_left_to_stock(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on CPUs where stock torch takes another library's: the self-check sees it, and leaves the state as it was."""
    operation = operations()[name]
    state = torch.get_rng_state()
    assert different(operation) == set()
    site = next(site for site in operation.sites if operation.row.calls[0].startswith(site.entrance.path))
    monkeypatch.setattr(site, "stock", lambda x, **given: x * torch.rand_like(x).round())
    assert {dtype for _, dtype in different(operation)} == set(operation.row.dtypes)
    assert torch.equal(torch.get_rng_state(), state)


def test_patching_draws_nothing() -> None:
    code = """
        import torch
        torch.manual_seed(5)
        state = torch.get_rng_state()
        import rusttorch
        with rusttorch.patch():
            print(torch.equal(torch.get_rng_state(), state))
    """
    assert output(code) == "True"


def test_comparable_states() -> None:
    """The comparison above sees a state that differs."""
    a = torch.get_rng_state()
    torch.rand(1)
    assert comparable(a) != comparable(torch.get_rng_state())
