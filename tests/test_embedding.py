"""embedding: the bits of stock torch's results and gradients, and what is left to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import both, calls, comparable, declined

import rusttorch

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@pytest.fixture(autouse=True)
def counted() -> None:
    """Counts of this test alone."""
    rusttorch.report(reset=True)


def table(rows: int = 50, columns: int = 33, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    numbers = torch.randn(rows, columns, generator=torch.Generator().manual_seed(1))
    return numbers.to(dtype).requires_grad_()


def indices(*shape: int, rows: int = 50) -> torch.Tensor:
    """Some often, some never."""
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(2))
    return (drawn * drawn * (rows - 5)).long() + 2


def same(program: Callable[[], Any], runs: int) -> None:
    """The program computes as with stock torch, by so many runs of the kernel."""
    stock, mine = both(program, warm=True)
    assert stock == mine
    assert calls("embedding") == runs


def trained(call: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], weight: torch.Tensor, i: torch.Tensor) -> Any:
    result = call(weight, i)
    grad = torch.randn(result.shape, generator=torch.Generator().manual_seed(3)).to(result.dtype)
    grad[grad.abs() < 0.1] = -0.0
    result.backward(grad)
    return result, weight.grad


@every_dtype
@pytest.mark.parametrize("columns", [1, 7, 32, 64, 333, 600])
@pytest.mark.parametrize("shape", [(), (1,), (300,), (40, 30), (2, 3, 4)])
def test_bits(shape: tuple[int, ...], columns: int, dtype: torch.dtype) -> None:
    same(lambda: trained(lambda w, i: F.embedding(i, w), table(50, columns, dtype), indices(*shape)), 2)


@pytest.mark.parametrize("padding", [0, 3, 49, -1, -47])
def test_padding(padding: int) -> None:
    def program() -> Any:
        module = torch.nn.Embedding(50, 16, padding_idx=padding)
        i = indices(60)
        i[:5] = padding % 50
        i[7:9] = 49
        return trained(lambda w, i: F.embedding(i, w, padding), module.weight, i), module(i)

    same(program, 3)


def test_no_gradient_and_modules() -> None:
    def program() -> Any:
        module = torch.nn.Embedding(50, 16)
        with torch.no_grad():
            one = module(indices(20, 3))
        module.requires_grad_(False)
        return one, module(indices(5)), torch.embedding(module.weight, indices(6), 2, False, False)

    same(program, 3)


def test_rows_for_a_second_thread() -> None:
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with rusttorch.patch(min_numel=0):
                found = trained(lambda w, i: F.embedding(i, w), table(5000, 128), indices(4000, rows=5000))
            results.append(comparable(found))
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1] and calls("embedding") == 4


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda w, i: F.embedding(i, w, scale_grad_by_freq=True), "keyword not supported"),
        (lambda w, i: F.embedding(i.int(), w), "dtype"),
        (lambda w, i: F.embedding(i[:, ::2], w), "layout"),
        (lambda w, i: F.embedding(i, w.t().contiguous().t()), "layout"),
        (lambda w, i: F.embedding(i[:0], w), "empty"),
    ],
)
def test_what_kernels_decline(call: Callable[..., torch.Tensor], reason: str) -> None:
    same(lambda: trained(call, table(), indices(6, 4)), 0)
    assert declined("embedding") == {reason: 1}


def test_sparse_gradients_are_stock_torchs() -> None:
    def program() -> Any:
        weight = table()
        F.embedding(indices(9), weight, sparse=True).sum().backward()
        return weight.grad

    same(program, 0)


def test_a_largest_norm_is_stock_torchs_and_then_rows_are_taken() -> None:
    def program() -> Any:
        with torch.no_grad():
            weight = table()
            return F.embedding(indices(9), weight, max_norm=1.0), weight

    same(program, 1)


@pytest.mark.parametrize("index", [-1, 50, 2**40, -(2**63)])
def test_what_is_out_of_range_is_stock_torchs_error(index: int) -> None:
    def program() -> Any:
        i = indices(30)
        i[17] = index
        return F.embedding(i, table())

    stock, mine = both(program)
    assert stock == mine and stock[0] == "raised"
    assert calls("embedding") == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda w, i: F.embedding(i, w[0]),
        lambda w, i: F.embedding(i, w.unsqueeze(0)),
        lambda w, i: F.embedding(i.float(), w),
        lambda w, i: torch.embedding(w),
        lambda w, i: torch.embedding(w, i, None),
        lambda w, i: torch.embedding(w, i, 3.0),
        lambda w, i: torch.embedding(w, i.tolist()),
    ],
)
def test_stock_errors(call: Callable[..., Any]) -> None:
    stock, mine = both(lambda: call(table(), indices(6)))
    assert stock == mine and calls("embedding") == 0


def test_higher_derivatives() -> None:
    def program() -> Any:
        weight = table().double().detach().requires_grad_()
        result = F.embedding(indices(20), weight, 5)
        (first,) = torch.autograd.grad(result.square().sum(), weight, create_graph=True)
        return first, torch.autograd.grad(first.square().sum(), weight)

    same(program, 2)


def test_the_table_may_change_before_backward() -> None:
    """Stock torch saves the indices alone."""

    def program() -> Any:
        weight, i = table(), indices(20)
        result = F.embedding(i, weight)
        node = result.grad_fn
        saved = node.name(), node._saved_indices  # type: ignore[union-attr]
        with torch.no_grad():
            weight.mul_(3)
        result.sum().backward()
        return saved, weight.grad

    same(program, 2)

    def changed() -> Any:
        weight, i = table(), indices(20)
        result = F.embedding(i, weight)
        i.add_(1)
        result.sum().backward()

    stock, mine = both(changed)
    assert stock == mine and stock[0] == "raised"


def test_hooks_that_change_the_indices_are_caught() -> None:
    weight = table()
    with (
        rusttorch.patch(min_numel=0),
        torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t + 1000),
    ):
        result = F.embedding(indices(9), weight)
        with pytest.raises(RuntimeError, match="out of range"):
            result.sum().backward()


def test_tied_weights() -> None:
    def program() -> Any:
        weight = table()
        hidden = F.embedding(indices(7), weight)
        torch.einsum("ij,kj->ik", hidden, weight).square().sum().backward()
        return weight.grad

    same(program, 2)
