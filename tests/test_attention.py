"""Attention: which calls are accelerated, and that results, their strides and what is refused are stock torch's."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import both, calls, declined

import rusttorch

attend = F.scaled_dot_product_attention
HALVES = (torch.bfloat16, torch.float16)
DTYPES = (torch.float32, torch.float64, *HALVES)


def tensors(batch: int, heads: int, of: int, queries: int, keys: int, width: int, dtype: torch.dtype) -> list[Any]:
    torch.manual_seed(batch + 7 * queries + keys)
    query = torch.randn(batch, heads, queries, width)
    return [query.to(dtype), *(torch.randn(batch, of, keys, width).to(dtype) for _ in range(2))]


def reference(query: Any, key: Any, value: Any, mask: Any, causal: bool, scale: float | None) -> torch.Tensor:
    """By the definition, in double precision."""
    group = query.shape[1] // key.shape[1]
    query, key, value = query.double(), *(t.double().repeat_interleave(group, 1) for t in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask.double()
    return torch.softmax(scores, -1).nan_to_num(0.0) @ value


def each(call: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of stock torch, and accelerated."""
    stock = call()
    before = calls("scaled_dot_product_attention")
    with rusttorch.patch(min_numel=0):
        ours = call()
    assert calls("scaled_dot_product_attention") == before + 1, declined("scaled_dot_product_attention")
    return stock, ours


def worst(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float((found.double() - truth).abs().max())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "sizes",
    [
        (1, 1, 1, 1, 1, 1),
        (2, 3, 3, 4, 5, 8),
        (1, 12, 12, 1, 200, 64),
        (2, 4, 2, 1, 1100, 40),
        (1, 6, 2, 33, 33, 24),
        (1, 2, 2, 300, 700, 64),
        (3, 2, 1, 150, 20, 128),
    ],
    ids=str,
)
def test_results_are_as_good_as_stock_torchs(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    query, key, value = tensors(*sizes, dtype)
    batch, heads, of, queries, keys, _ = sizes
    shapes = ((queries, keys), (batch, heads, queries, keys), (batch, 1, 1, keys), (1, heads, queries, 1))
    masks: list[Any] = [None]
    for shape in shapes:
        numbers = torch.randn(shape).to(dtype)
        masks += [numbers > -0.5, numbers] + [numbers.float()] * (dtype in HALVES)
    for mask, causal, scale in itertools.product(masks, (False, True), (None, 0.25)):
        if mask is not None and causal:
            continue
        arguments = {"attn_mask": mask, "is_causal": causal, "scale": scale}
        if heads != of:
            arguments["enable_gqa"] = True
        stock, mine = each(lambda arguments=arguments: F.scaled_dot_product_attention(query, key, value, **arguments))
        assert mine.dtype == stock.dtype and mine.shape == stock.shape and mine.stride() == stock.stride()
        truth = reference(query, key, value, mask, causal, scale)
        # Of few elements, the largest error is a matter of chance, above all where halves do not hide it.
        least = 4 * torch.finfo(dtype).eps * float(truth.abs().max())
        assert worst(mine, truth) <= max((1.1 if dtype in HALVES else 4.0) * worst(stock, truth), least)


def test_strides_are_stock_torchs() -> None:
    sizes = dict(zip("BHLE", (2, 3, 4, 8), strict=True))
    key = torch.randn(2, 3, 5, 8)
    queries = [torch.randn(2, 3, 4, 16)[..., :8], torch.randn(1, 3, 4, 8).expand(2, 3, 4, 8),
               torch.randn(2, 4, 9, 8)[:, :, 3:6].transpose(1, 2), torch.randn(2, 1, 1, 8).expand(2, 3, 4, 8),
               torch.randn(2, 1, 3, 8).transpose(1, 2), torch.randn(1, 8).expand(2, 3, 4, 8)]  # fmt: skip
    for order in itertools.permutations("BHL"):
        shape = [sizes[dim] for dim in (*order, "E")]
        queries.append(torch.randn(shape).permute(*((*order, "E").index(dim) for dim in "BHLE")))
    for query in queries:
        for keys in (key, torch.randn(2, 5, 3, 8).transpose(1, 2), torch.randn(1, 3, 5, 8).expand(2, 3, 5, 8)):
            stock, ours = each(lambda query=query, keys=keys: F.scaled_dot_product_attention(query, keys, keys))
            assert stock.stride() == ours.stride()
            torch.testing.assert_close(stock, ours)


def test_what_no_key_is_for_is_zero() -> None:
    query, key, value = tensors(1, 2, 2, 3, 5, 8, torch.float32)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1] = False
    numbers = torch.zeros(3, 5).masked_fill(~mask, -torch.inf)
    for given in (mask, numbers):
        stock, ours = each(lambda given=given: F.scaled_dot_product_attention(query, key, value, given))
        torch.testing.assert_close(stock, ours)
        assert (ours[:, :, 1] == 0).all()


def test_what_is_no_number() -> None:
    query, key, value = tensors(1, 1, 1, 3, 5, 8, torch.float32)
    key[0, 0, 2, 3] = torch.nan
    query[0, 0, 1, 0] = torch.inf
    value[0, 0, 0, 0] = torch.inf
    stock, ours = each(lambda: F.scaled_dot_product_attention(query, key, value))
    torch.testing.assert_close(stock, ours, equal_nan=True)


Q, K, V = tensors(2, 2, 2, 3, 5, 8, torch.float32)

STOCKS: dict[str, Callable[[], Any]] = {
    "three dimensions": lambda: F.scaled_dot_product_attention(Q[0], K[0], V[0]),
    "values of another width": lambda: F.scaled_dot_product_attention(Q, K, V[..., :4]),
    "another mask": lambda: F.scaled_dot_product_attention(Q, K, V, torch.zeros(1, 3, 5)),
    "two masks": lambda: F.scaled_dot_product_attention(Q, K, V, torch.zeros(3, 5), is_causal=True),
    "a mask of integers": lambda: F.scaled_dot_product_attention(Q, K, V, torch.zeros(3, 5, dtype=torch.int64)),
    "a mask of half precision": lambda: F.scaled_dot_product_attention(Q, K, V, torch.zeros(3, 5).half()),
    "a mask that does not fit": lambda: F.scaled_dot_product_attention(Q, K, V, torch.zeros(3, 4)),
    "heads that differ": lambda: F.scaled_dot_product_attention(Q, K[:, :1], V[:, :1]),
    "groups that do not fit": lambda: F.scaled_dot_product_attention(
        torch.randn(2, 3, 3, 8), K, V, enable_gqa=True
    ),
    "widths that differ": lambda: F.scaled_dot_product_attention(Q[..., :4], K, V),
    "several types": lambda: F.scaled_dot_product_attention(Q, K.double(), V),
    "integers": lambda: F.scaled_dot_product_attention(Q.long(), K.long(), V.long()),
    "no queries": lambda: F.scaled_dot_product_attention(Q[:, :, :0], K, V),
    "no keys": lambda: F.scaled_dot_product_attention(Q, K[:, :, :0], V[:, :, :0]),
    "turned": lambda: F.scaled_dot_product_attention(torch.randn(2, 2, 8, 3).mT, K, V),
    "expanded such that the result is turned": lambda: F.scaled_dot_product_attention(
        torch.randn(8).as_strided((1, 2, 3, 8), (1, 0, 0, 1)), K[:1], V[:1]
    ).shape,
    "a scale that is none": lambda: F.scaled_dot_product_attention(Q, K, V, scale="a"),
}  # fmt: skip


@pytest.mark.parametrize("name", STOCKS)
def test_others_are_stock_torchs(name: str) -> None:
    rusttorch.report(reset=True)
    stock, ours = both(STOCKS[name], warm=True)
    assert stock == ours
    assert calls("scaled_dot_product_attention") == 0


def test_training_dropout_and_settings_are_stock_torchs() -> None:
    rusttorch.report(reset=True)
    with rusttorch.patch("scaled_dot_product_attention", min_numel=0):
        for place in range(3):
            leaves = [t.clone().requires_grad_(index == place) for index, t in enumerate((Q, K, V))]
            F.scaled_dot_product_attention(*leaves).sum().backward()
            assert leaves[place].grad is not None
        mask = torch.zeros(3, 5, requires_grad=True)
        F.scaled_dot_product_attention(Q, K, V, mask).square().sum().backward()
        assert mask.grad is not None
        torch.manual_seed(1)
        dropped = F.scaled_dot_product_attention(Q, K, V, dropout_p=0.5)
        assert not torch.equal(dropped, attend(Q, K, V))
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            assert "settings" in rusttorch.explain(F.scaled_dot_product_attention, Q, K, V)
            F.scaled_dot_product_attention(Q, K, V)
        assert calls("scaled_dot_product_attention") == 0
        assert rusttorch.explain(F.scaled_dot_product_attention, Q, K, V) == "accelerated"
        with torch.no_grad():
            F.scaled_dot_product_attention(Q.clone().requires_grad_(), K, V)
        assert calls("scaled_dot_product_attention") == 1


def test_modules_come_down_to_it() -> None:
    torch.manual_seed(0)
    layer = torch.nn.MultiheadAttention(16, 2, batch_first=True)
    x = torch.randn(2, 5, 16)
    with torch.no_grad():
        layer.train()  # in evaluation it goes to an operation of its own
        stock, ours = each(lambda: layer(x, x, x, need_weights=False)[0])
    torch.testing.assert_close(stock, ours)
