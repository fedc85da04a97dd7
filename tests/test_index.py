"""Operations that move, choose or find elements of any type, generated from the catalogue where they can be."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import ops_cases as cases
import pytest
import torch
from support import both, calls, declined
from torch._subclasses.fake_tensor import FakeTensorMode

import rusttorch
from rusttorch.catalog import DTYPES, INDEXED, Index

CALLS = [(row, text) for row in INDEXED.values() for text in row.calls]
TYPED = [(row, text, dtype) for row, text in CALLS for dtype in (DTYPES if row.name == "where" else row.dtypes)]
TRAINED = [(row, text) for row, text in CALLS if row.trains]
all_rows = pytest.mark.parametrize("row", INDEXED.values(), ids=lambda row: row.name)
all_calls = pytest.mark.parametrize(("row", "text"), CALLS, ids=[text for _, text in CALLS])
trained_calls = pytest.mark.parametrize(("row", "text"), TRAINED, ids=[text for _, text in TRAINED])
typed_calls = pytest.mark.parametrize(
    ("row", "text", "dtype"), TYPED, ids=[f"{text}-{dtype}" for _, text, dtype in TYPED]
)

SHAPES = ((1, 1), (1, 9), (9, 1), (5, 7), (3, 64), (17, 129), (200, 33), (2, 5000), (300, 301))


def drawn(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """Any bits that there are; sortable types without NaN."""
    generator = torch.Generator().manual_seed(seed + sum(shape))
    wide = torch.randint(-(1 << 62), 1 << 62, shape, generator=generator)
    if dtype == torch.bool:
        return wide % 2 == 0
    if not dtype.is_floating_point:
        return wide.to(dtype)
    numbers = torch.randn(shape, generator=generator).to(dtype)
    return torch.where(numbers.abs() < 0.1, torch.tensor(-0.0).to(dtype), numbers)


def values(row: Index, text: str, x: torch.Tensor) -> torch.Tensor:
    """What a call gives, or makes of its input."""
    scope = row.scope(x)
    if row.name == "where":
        scope |= {name: scope[name].to(x.dtype) for name in "yz"}
    if "__setitem__" in text:
        changed = x.clone()
        eval(text.replace("x.clone()", "changed"), scope | {"changed": changed})
        return changed
    return eval(text, scope)


def agrees(row: Index, text: str, x: torch.Tensor, mine: torch.Tensor, stock: torch.Tensor) -> bool:
    """Whether a result has stock torch's bits, or is no further from the one of doubles."""
    if row.exactness == "bits":
        return cases.same_results(mine, stock)
    exact = values(row, text, x.double())
    errors = [(result.double() - exact).abs().max() for result in (mine, stock)]
    return not list(cases.form_faults(mine, stock)) and bool(errors[0] <= errors[1] + 1e-6 * exact.abs().max())


@typed_calls
def test_results_are_stock_torchs(row: Index, text: str, dtype: str) -> None:
    for shape in SHAPES:
        x = drawn(shape, getattr(torch, dtype))
        stock = values(row, text, x)
        with cases.accelerated(row) as runs:  # type: ignore[arg-type]
            mine = values(row, text, x)
            # A number among elements that are true or false makes others of them.
            numbers = dtype == "bool" and row.numbers.keys() & row.operands and text.endswith((", 0)", ", 1)"))
            ordered = row.name == "contiguous" and x.t().is_contiguous()
            assert runs() == (0 if numbers or ordered else 1), (shape, declined(row.name))
        assert agrees(row, text, x, mine, stock), shape


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_large_ones_on_any_number_of_threads(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for row, text in CALLS:
            x = drawn((700, 601), torch.float32)
            stock = values(row, text, x)
            with cases.accelerated(row):  # type: ignore[arg-type]
                mine = values(row, text, x)
            assert agrees(row, text, x, mine, stock), text
    finally:
        torch.set_num_threads(before)


def broadcasts() -> Iterator[tuple[tuple[int, ...], ...]]:
    """A shape, and others that are broadcast to it."""
    shapes = ((6,), (4, 5), (3, 1), (1, 4), (1, 1, 5, 7), (2, 3, 4, 5), (2, 1, 4, 1), (1, 3, 1, 33), (2, 2, 100, 101))
    for shape in shapes:
        for ones in itertools.product((False, True), repeat=len(shape)):
            part = tuple(1 if one else size for one, size in zip(ones, shape, strict=True))
            for cut in range(len(part) + 1):
                if all(size == 1 for size in part[:cut]) or cut == 0:
                    yield shape, part[cut:]


def test_broadcast_masks_and_sides() -> None:
    """Strides of dimensions of size 1 included."""
    before = calls("where"), calls("masked_fill")
    count = 0
    for shape, part in broadcasts():
        count += 1
        x, y = drawn(shape, torch.float32), drawn(part, torch.float32, 1)
        whole, mask = drawn(shape, torch.bool, 2), drawn(part, torch.bool, 3)
        for call in (
            lambda x=x, mask=mask: x.masked_fill(mask, 7.0),
            lambda x=x, mask=mask: x.clone().masked_fill_(mask, -float("inf")),
            lambda x=x, y=y, mask=mask: torch.where(mask, x, y),
            lambda x=x, y=y, whole=whole: torch.where(whole, y, x),
            lambda y=y, whole=whole: torch.where(whole, 1.5, y),
            lambda y=y, mask=mask: torch.where(mask, y, -2),
        ):
            stock, ours = both(call)
            assert stock == ours, (shape, part)
    # Warm calls of `both` run as well.
    assert calls("where") - before[0] >= 4 * count and calls("masked_fill") - before[1] >= 2 * count


def test_masks_in_other_orders() -> None:
    base = drawn((4, 6, 5, 7), torch.float32)
    for x in (base.transpose(0, 2), base.contiguous(memory_format=torch.channels_last), base[:, :, 1:], base[..., ::2]):
        for mask in (x > 0, (x > 0).contiguous(), (x > 0)[:, :1]):
            for call in (
                lambda x=x, mask=mask: x.masked_fill(mask, 1.0),
                lambda x=x, mask=mask: x.clone().masked_fill_(mask, 1.0),
                lambda x=x, mask=mask: torch.where(mask, x, 0.0),
                lambda x=x, mask=mask: torch.where(mask, 0.0, x),
                lambda x=x, mask=mask: x[mask] if mask.shape == x.shape else x,
                lambda x=x, mask=mask: assigned(x, mask, 3.0) if mask.shape == x.shape else x,
            ):
                stock, ours = both(call)
                assert stock == ours, (x.stride(), mask.stride())


def assigned(x: torch.Tensor, index: Any, value: Any) -> torch.Tensor:
    x = x.clone()
    x[index] = value
    return x


def test_numbers_as_torch_converts_them() -> None:
    mask = torch.tensor([True, False, True])
    for dtype in map(lambda name: getattr(torch, name), DTYPES):
        x = torch.tensor([1, 0, 1]).to(dtype)
        for value in (
            0, 1, -1, 2.0, 0.1, 1e-30, 65504, 65520, 1e5, 3.4e38, 1e39, -1e300, float("nan"), -float("inf"), 127, 128,
            255, 256, -129, 2**31, 2**53, 2**60 + 1, 1.5, True, torch.tensor(3).to(dtype), torch.tensor(3),
        ):  # fmt: skip
            for call in (
                lambda x=x, value=value: x.masked_fill(mask, value),
                lambda x=x, value=value: x.clone().masked_fill_(mask, value),
                lambda x=x, value=value: torch.where(mask, x, value),
                lambda x=x, value=value: assigned(x, mask, value),
            ):
                stock, ours = both(call)
                assert stock == ours, (dtype, value)


def test_indices_of_any_strides() -> None:
    x = drawn((6, 8, 10), torch.float32)
    for dim in (0, 1, 2, -1, -3):
        size = x.shape[dim]
        full = torch.randint(size, x.shape)
        column = torch.randint(size, (6, 8, 1))
        few = list(x.shape)
        few[dim] = 3
        for index in (
            full, full.transpose(0, 2).contiguous().transpose(0, 2), column.expand(6, 8, 10), full[:3, :5, :7],
            full[:, :, :1], torch.randint(size, few), full[:1, :1], torch.randint(size, (1, 1, 10)).expand(6, 8, 10),
            full.int(),
        ):  # fmt: skip
            for call in (
                lambda index=index, dim=dim: x.gather(dim, index),
                lambda index=index, dim=dim: torch.take_along_dim(x, index, dim),
                lambda index=index: x.take(index),
                lambda index=index: x[index % 6],
            ):
                stock, ours = both(call)
                assert stock == ours, (dim, index.shape, index.stride())


def test_subscripts() -> None:
    """Every kind of index, whoever takes it."""
    x = drawn((5, 6, 7), torch.float32)
    rows, mask = torch.tensor([4, -1, 0, 0]), drawn((5, 6, 7), torch.bool)
    indices: tuple[Any, ...] = (
        0, -1, slice(None), slice(1, 4, 2), None, Ellipsis, True, (0, 1), (slice(None), 2), (None, ..., 0), [0, 2],
        rows, rows[:0], rows.view(2, 2), torch.tensor(2), torch.tensor(True), (rows,), (slice(None), rows), mask,
        (rows, rows), mask[:, :, 0], mask[:, 0, 0], mask[:, 0, 0].contiguous(), mask[:, :, 0].contiguous(), (mask,),
        mask.byte(), rows.int(),
        rows.to(torch.uint8), torch.zeros(0, dtype=torch.bool), torch.zeros(5, 6, 7, dtype=torch.bool),
        rows.float(), "x", torch.tensor([5]), torch.tensor([-6]), torch.tensor([2**62]),
        torch.ones(6, dtype=torch.bool),
        rows.expand(2, 4), x, 7, (0, 0, 0, 0),
    )  # fmt: skip
    for index in indices:
        stock, ours = both(lambda index=index: x[index])
        assert stock == ours, index
        view_s, view_o = both(lambda index=index: x.t()[index] if x.dim() == 2 else x.mT[index])
        assert view_s == view_o, index
        count = int(mask.sum())
        for value in (
            1.5, 2, float("nan"), torch.tensor(4.0), torch.arange(7.0), torch.arange(float(count)), True, "x", None,
            torch.tensor([2.5]), torch.tensor(3), torch.zeros(0), x[rows], x[mask[:, 0, 0]], [1.0],
        ):  # fmt: skip
            stock, ours = both(lambda index=index, value=value: assigned(x, index, value))
            assert stock == ours, (index, value)
    get, put = "__getitem__", "__setitem__"
    for wrong in (lambda: getattr(torch.Tensor, get)(5, 0), lambda: getattr(x, get)(), lambda: getattr(x, put)(0)):
        stock, ours = both(wrong)
        assert stock[:2] == ours[:2]


def test_assignment_by_masks() -> None:
    for dtype in map(lambda name: getattr(torch, name), DTYPES):
        for shape in ((1,), (64,), (1000,), (2500,), (40, 30), (70_000,)):
            x, mask = drawn(shape, dtype), drawn(shape, torch.bool, 5)
            for each in (mask, mask[:, 0].contiguous() if len(shape) > 1 else ~mask, torch.ones_like(mask)):
                values = drawn((int(each.sum()), *shape[each.dim() :]), dtype, 6)
                before = calls("index_put_")
                stock = assigned(x, each, values)
                with rusttorch.patch("index_put_", min_numel=0):
                    mine = assigned(x, each, values)
                assert torch.equal(mine, stock) and (calls("index_put_") > before or values.numel() == 0)


def test_versions_and_aliases() -> None:
    with rusttorch.patch(min_numel=0):
        x = torch.randn(5, 6)
        mask = x > 0
        rusttorch.report(reset=True)
        assert x.masked_fill_(mask, 0.0) is x and x._version == 1
        x[mask] = 2.0
        assert x._version == 2 and (calls("masked_fill"), calls("index_put_")) == (1, 1)
        # The mask is the tensor itself.
        truths = torch.tensor([True, False, True])
        assert truths.masked_fill_(truths, torch.tensor(False)).tolist() == [False, False, False]
        y = torch.randn(5, requires_grad=True)
        z = y * 1
        z[z > 0] = 0.0
        z.sum().backward()
        assert torch.equal(y.grad, (y <= 0).float())
        with pytest.raises(RuntimeError, match="in-place"):
            y.masked_fill_(y > 0, 0.0)
        saved = torch.randn(4, requires_grad=True)
        product = saved.exp()
        total = product.sum()
        with torch.no_grad():
            product[torch.tensor([True] * 4)] = 1.0
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            total.backward()


@trained_calls
def test_gradients_are_stock_torchs(row: Index, text: str) -> None:
    x = drawn((12, 15), torch.float64)
    names = [name for name in ("x", "y", "z") if isinstance(row.scope(x).get(name), torch.Tensor) and f"{name}" in text]
    names = ["y", "z"] if row.name == "where" else names

    def call(*inputs: torch.Tensor) -> torch.Tensor:
        scope = row.scope(x.detach())
        return eval(text, scope | dict(zip(names, inputs, strict=True)))

    def run() -> list[Any]:
        scope = row.scope(x)
        inputs = [scope[name].double().detach().requires_grad_() for name in names]
        result = call(*inputs)
        first = torch.autograd.grad((result * result).sum(), inputs, create_graph=True, allow_unused=True)
        node = result.grad_fn
        attributes = [getattr(node, f"_saved_{name}") for name in row.saves.values() if name]
        used = [grad for grad in first if grad is not None]
        second = torch.autograd.grad(sum((grad * grad).sum() for grad in used), inputs, allow_unused=True)
        return [result, *first, *second, node.name(), attributes]

    stock = run()
    with cases.accelerated(row) as runs:  # type: ignore[arg-type]
        mine = run()
        assert runs() > 0, declined(row.name)
    relative = 0.0 if row.exactness == "bits" else 1e-12
    for a, b in zip(mine, stock, strict=True):
        if isinstance(a, torch.Tensor):
            torch.testing.assert_close(a, b, rtol=relative, atol=1e-12)
        elif isinstance(a, list):
            assert all(one is other is None or one.equal(other) for one, other in zip(a, b, strict=True))
        else:
            assert a == b
    scope = row.scope(x)
    inputs = tuple(scope[name].double().detach().clone().requires_grad_() for name in names)
    with cases.accelerated(row):  # type: ignore[arg-type]
        assert torch.autograd.gradcheck(call, inputs)


X, J, M = torch.randn(3, 4), torch.tensor([[0, 1, 2, 0]] * 3), torch.randn(3, 4) > 0
S = torch.tensor([1.0, 2.0, 4.0])

STOCKS: dict[str, Callable[[], Any]] = {
    "index too large": lambda: X.gather(1, J + 2),
    "negative index": lambda: X.gather(1, J - 1),
    "more indices": lambda: X.gather(0, J.repeat(2, 2)),
    "indices of another dimension": lambda: X.gather(0, J[0]),
    "dimension": lambda: X.gather(2, J),
    "int32 indices": lambda: X.gather(1, J.int()),
    "float indices": lambda: X.gather(1, X),
    "no index": lambda: X.gather(1),
    "named dimension": lambda: X.gather("a", J),
    "gather out": lambda: torch.gather(X, 1, J, out=torch.empty(0)),
    "wrong gather out": lambda: torch.gather(X, 1, J, out=torch.empty(0, dtype=torch.int64)),
    "sparse gradient": lambda: torch.gather(X, 1, J, sparse_grad=True),
    "no dimensions": lambda: torch.gather(torch.tensor(3.0), 0, torch.tensor(0)),
    "select too large": lambda: X.index_select(0, torch.tensor([3])),
    "select negative": lambda: X.index_select(0, torch.tensor([-1])),
    "select by a matrix": lambda: X.index_select(0, J),
    "select dimension": lambda: X.index_select(5, J[0]),
    "take too large": lambda: X.take(torch.tensor([12])),
    "take too small": lambda: X.take(torch.tensor([-13])),
    "take of none": lambda: X[:0].take(torch.tensor([0])),
    "take no index": lambda: X.take([0]),
    "along without a dimension": lambda: torch.take_along_dim(X, torch.tensor([1, 5])),
    "along None": lambda: torch.take_along_dim(X, torch.tensor([1, 5]), None),
    "along too large": lambda: torch.take_along_dim(X, J + 4, 1),
    "along other sizes": lambda: torch.take_along_dim(X, J[:2], 1),
    "mask of other sizes": lambda: X.masked_fill(M.t(), 0.0),
    "mask beyond": lambda: X[0].masked_fill(M, 0.0),
    "bytes as a mask": lambda: X.masked_fill(M.byte(), 0.0),
    "several values": lambda: X.masked_fill(M, torch.ones(2)),
    "no value": lambda: X.masked_fill(M),
    "text as a value": lambda: X.masked_fill(M, "0"),
    "complex value": lambda: X.masked_fill(M, 1j),
    "where alone": lambda: torch.where(M),
    "where of two": lambda: torch.where(M, X),
    "where of numbers": lambda: torch.where(M, 1.0, 0.0),
    "where of types": lambda: torch.where(M, X, X.double()),
    "where of bytes": lambda: torch.where(M.byte(), X, X),
    "where of other sizes": lambda: torch.where(M, X, X.t()),
    "where out": lambda: torch.where(M, X, X, out=torch.empty(0)),
    "where of integers and a fraction": lambda: torch.where(M, J, 0.5),
    "sequence of several types": lambda: torch.searchsorted(S, X.double()),
    "sequence and a number": lambda: torch.searchsorted(S, 2.5),
    "two sides": lambda: torch.searchsorted(S, X, right=True, side="left"),
    "unknown side": lambda: torch.searchsorted(S, X, side="middle"),
    "sorter": lambda: torch.searchsorted(S, X, sorter=torch.tensor([0, 1, 2])),
    "int32 places": lambda: torch.searchsorted(S, X, out_int32=True),
    "rows that do not fit": lambda: torch.searchsorted(X, X[:2]),
    "matrix of boundaries": lambda: torch.bucketize(X, X),
    "transposed values": lambda: torch.searchsorted(S, X.t()),
    "places out": lambda: torch.searchsorted(S, X, out=torch.empty(0, dtype=torch.int64)),
    "bucket of a number": lambda: torch.bucketize(2.0, S),
    "no parts": lambda: torch.histc(X, 0),
    "range backwards": lambda: torch.histc(X, 10, 1, 0),
    "infinite range": lambda: torch.histc(torch.tensor([1.0, float("inf")])),
    "no range": lambda: torch.histc(torch.tensor([1.0, float("nan")])),
    "histogram of integers": lambda: torch.histc(J),
    "histogram of half": lambda: torch.histc(X.half()),
    "empty histogram": lambda: torch.histc(X[:0]),
    "histogram out": lambda: torch.histc(X, out=torch.empty(0)),
    "empty": lambda: (X[:0].masked_fill(M[:0], 0.0), X[:0].gather(0, J[:0]), torch.where(M[:0], X[:0], 0.0)),
    "empty sequence": lambda: torch.searchsorted(S[:0], X),
    "no indices": lambda: (X.index_select(0, J[0, :0]), X.gather(1, J[:, :0]), X.take(J[:0]), X[J[0, :0]]),
    "meta": lambda: X.to("meta").masked_fill(M.to("meta"), 0.0),
    "mixed devices": lambda: X.masked_fill(M.to("meta"), 0.0),
    "complex": lambda: (X + 1j).gather(1, J),
    "negative view": lambda: torch.view_as_complex(torch.randn(3, 2)).conj().imag.masked_fill(M[0, :3], 0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", STOCKS)
def test_others_are_stock_torchs(name: str) -> None:
    rusttorch.report(reset=True)
    torch.manual_seed(0)
    stock = cases.outcome(STOCKS[name])
    with rusttorch.patch(list(INDEXED), min_numel=0):
        mine = cases.outcome(STOCKS[name])
    assert (type(mine.error), str(mine.error)) == (type(stock.error), str(stock.error))
    if stock.error is None:
        found = zip(cases.tensors(mine.value), cases.tensors(stock.value), strict=True)
        assert all(a.shape == b.shape and a.dtype == b.dtype and (a.is_meta or torch.equal(a, b)) for a, b in found)
    # Those of indices out of range are found by the kernel.
    assert sum(calls(op) for op in INDEXED) <= 1


def test_sides_of_searches() -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.uint8):
        for size in (1, 2, 3, 15, 16, 17, 1000):
            sequence = drawn((size,), dtype).sort().values
            x = torch.cat([drawn((37,), dtype, 1), sequence[:20]])
            for call in (
                lambda x=x, sequence=sequence: torch.searchsorted(sequence, x, side="right"),
                lambda x=x, sequence=sequence: torch.searchsorted(sequence, x, side="left"),
                lambda x=x, sequence=sequence: torch.searchsorted(sequence, x, right=True, side="right"),
                lambda x=x, sequence=sequence: torch.bucketize(x, sequence, right=True),
            ):
                before = calls("searchsorted") + calls("bucketize")
                stock, ours = both(call)
                assert stock == ours and calls("searchsorted") + calls("bucketize") > before


def test_histograms() -> None:
    for dtype in (torch.float32, torch.float64):
        for size in (1, 2, 63, 64, 65, 1000, 70_001):
            x = drawn((size,), dtype)
            special = torch.cat([x, torch.tensor([float("nan"), float("inf"), -float("inf"), -1.0, 1.0]).to(dtype)])
            for call in (
                lambda x=x: torch.histc(x),
                lambda x=x: torch.histc(x, bins=7),
                lambda x=x: x.histc(1000, min=-0.3, max=0.7),
                lambda x=x: torch.histc(x, 5, 2, 2),
                lambda special=special: torch.histc(special, 30, -1, 1),
                lambda x=x: torch.histc(torch.ones_like(x) * 4, 9),
            ):
                before = calls("histc")
                stock, ours = both(call)
                assert stock == ours and calls("histc") > before, (dtype, size)


def test_sequences_that_do_not_ascend() -> None:
    """And NaN: whatever stock torch's steps lead to."""
    for size in (1, 5, 33, 1000):
        sequence = drawn((size,), torch.float32)
        sequence[size // 2] = float("nan")
        x = torch.cat([drawn((100,), torch.float32, 1), torch.tensor([float("nan"), float("inf"), -float("inf")])])
        for way in (sequence, sequence.sort().values, sequence.sort(descending=True).values):
            for right in (False, True):
                stock, ours = both(lambda way=way, x=x, right=right: torch.searchsorted(way, x, right=right))
                assert stock == ours


def test_subclasses_and_modes_are_stock_torchs() -> None:
    class Sub(torch.Tensor):
        pass

    x, mask = torch.randn(5, 6), torch.randn(5, 6) > 0
    for call in (
        lambda: x.as_subclass(Sub).masked_fill(mask, 0.0),
        lambda: x.masked_fill(mask.as_subclass(Sub), 0.0),
        lambda: x.as_subclass(Sub)[mask],
        lambda: x[mask.as_subclass(Sub)],
        lambda: torch.where(mask, x.as_subclass(Sub), x),
        lambda: torch.func.vmap(lambda row, its: row.masked_fill(its, 0.0))(x, mask),
        lambda: torch.func.vmap(lambda row: row[torch.tensor([1, 0])])(x),
        lambda: torch.func.grad(lambda x: x.masked_fill(mask, 0.0).sum())(x),
        lambda: torch.func.jvp(lambda x: x[mask], (x,), (x,)),
    ):
        stock, ours = both(call)
        assert stock[:2] == ours[:2]
    with rusttorch.patch(min_numel=0), FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = mode.from_tensor(x)
        assert fake.masked_fill(mask, 0.0).shape == fake[0:5].shape == (5, 6)
    with rusttorch.patch(min_numel=0), torch.inference_mode():
        assert x.masked_fill(mask, 0.0).is_inference() and x[mask].is_inference()

    seen = []

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with rusttorch.patch(min_numel=0), Mode():
        assert torch.equal(x[mask], x.masked_select(mask))
    assert torch.Tensor.__getitem__ in seen
    with torch.autocast("cpu", dtype=torch.bfloat16):
        stock, ours = both(lambda: (x.masked_fill(mask, 0.0), torch.where(mask, x, 0.0), x[mask]))
        assert stock == ours


def test_compiles_and_traces_as_stock() -> None:
    x = torch.randn(6, 7)

    def function(x: torch.Tensor) -> torch.Tensor:
        y = x.masked_fill(x > 0, 0.5)
        y[y > 0.2] = 3.0
        rows = y[torch.tensor([1, 0, 2, 3, 4, 5])]
        return torch.where(y > 1, rows, x).gather(1, torch.zeros(6, 3, dtype=torch.int64))

    expected = function(x)
    with rusttorch.patch(min_numel=0):
        compiled = torch.compile(function, backend="eager", fullgraph=True)(x)
        traced = torch.jit.trace(function, x, check_trace=False)(x)
        exported = torch.export.export(torch.nn.Identity(), (x,)).module()(x)
    assert torch.equal(compiled, expected) and torch.equal(traced, expected) and torch.equal(exported, x)


@all_rows
def test_explain_counters_and_undoing(row: Index) -> None:
    x = torch.randn(32, 33)
    originals = [getattr(entrance.holder(), entrance.attribute) for entrance in row.parsed()]
    for text in row.calls:
        rusttorch.report(reset=True)
        with rusttorch.patch(row.name, min_numel=0):
            values(row, text, x)
        assert calls(row.name) == 1, declined(row.name)
    for entrance, original in zip(row.parsed(), originals, strict=True):
        assert getattr(entrance.holder(), entrance.attribute) is original
    assert "__getitem__" not in vars(torch.Tensor) and "__setitem__" not in vars(torch.Tensor)


@all_rows
def test_rows_are_complete(row: Index) -> None:
    assert row.calls and (row.exactness == "bits" or row.multiplies or row.name == "cdist")
    assert bool(row.node) == bool(row.backward) == row.trains
    for entrance in row.parsed():
        assert callable(getattr(entrance.holder(), entrance.attribute))
        roles = [p.role for p in entrance.parameters if p.role.startswith(("operand", "constant"))]
        assert len(roles) == len(row.operands)


def test_changes_by_indices_in_place() -> None:
    """Any strides of indices and sources, fewer indices than elements, and what is left to stock torch."""
    torch.manual_seed(0)
    x, source = torch.randn(6, 9), torch.randn(9, 7).t()
    rows, columns = torch.randint(0, 6, (9, 6)).t()[:5], torch.randint(0, 9, (1, 9)).expand(6, 9)
    index = torch.tensor([5, 0, 0, 2, 5, 1])
    taken = {
        "scatter": [
            lambda x: x.scatter_(0, rows, source),
            lambda x: x.scatter_(1, columns[:, ::3], 2.5),
            lambda x: x.scatter_(-1, columns[:, ::3], value=3),
            lambda x: x.scatter_(dim=0, index=rows[:1], src=source),
        ],
        "scatter_add": [lambda x: x.scatter_add_(0, rows, source), lambda x: x.scatter_add_(1, columns, source[:6])],
        "scatter_reduce": [
            lambda x: x.scatter_reduce_(0, rows, source, "amin", include_self=False),
            lambda x: x.scatter_reduce_(1, columns, source[:6], "mean"),
        ],
        "index_add": [
            lambda x: x.index_add_(0, index, source[:6]),
            lambda x: x.t().contiguous().index_add_(1, index, source[:6].t()),
        ],
        "index_copy": [lambda x: x.index_copy_(0, index[:2], source[:2])],
        "index_fill": [lambda x: x.index_fill_(1, index, -1), lambda x: x.index_fill_(0, index, torch.tensor(0.5))],
        "masked_scatter": [
            lambda x: x.masked_scatter_(x > 0, source.contiguous()),
            lambda x: x.masked_scatter_(torch.tensor([[True], [False]] * 3).expand_as(x), source.contiguous()),
        ],
        "index_put_": [
            lambda x: x.__setitem__(index - 6, source[:6].contiguous()),
            lambda x: x.__setitem__(index.view(2, 3), 1.0),
        ],
    }
    left = {
        "scatter": [lambda x: x.t().scatter_(0, columns.t(), 1.0), lambda x: x.scatter_(0, rows, source, reduce="add")],
        "index_add": [lambda x: x.index_add_(0, index, source[:6], alpha=2)],
        "index_put_": [lambda x: x.__setitem__(index, source[0]), lambda x: x.__setitem__(index.int(), 1.0)],
    }
    for name, changes in [*taken.items(), *left.items()]:
        for change in changes:
            stock, mine = x.clone(), x.clone()
            change(stock)
            with cases.accelerated(INDEXED[name]) as runs:
                change(mine)
                assert runs() == (changes is taken.get(name)), (name, declined(name))
            assert torch.equal(mine, stock) and mine._version == stock._version, name


def test_bad_indices_are_stock_torchs_error_and_change_nothing() -> None:
    x, source = torch.randn(4, 5), torch.randn(3, 5)
    for bad in (4, -5, 1 << 40):
        index = torch.tensor([0, 1, bad])
        each = index.unsqueeze(1).expand(3, 5)
        for change in (
            lambda x, each=each: x.scatter_(0, each, source),
            lambda x, each=each: x.scatter_add_(0, each, source),
            lambda x, each=each: x.scatter_reduce_(0, each, source, "prod"),
            lambda x, index=index: x.index_add_(0, index, source),
            lambda x, index=index: x.index_copy_(0, index, source),
            lambda x, index=index: x.index_fill_(0, index, 1.0),
            lambda x, index=index: x.__setitem__(index, source),
            lambda x, index=index: x[:, index * 2],
            lambda x, index=index: x[index, index.flip(0)],
            lambda x, index=index: x.masked_scatter_(x < 9, source),
            lambda x, index=index: x.clone().requires_grad_().index_add(0, index, source),
            lambda x, each=each: x.clone().requires_grad_().gather(0, each),
        ):
            with pytest.raises((RuntimeError, IndexError)) as stock:
                change(x.clone())
            with rusttorch.patch(min_numel=0), pytest.raises(type(stock.value)) as mine:
                change(x.clone())
            assert str(mine.value) == str(stock.value)


def test_sums_by_index_do_not_depend_on_threads() -> None:
    x, index = torch.randn(300_000), torch.randint(0, 1000, (300_000,))
    rows, many = torch.randn(20_000, 65), torch.randint(0, 99, (20_000,))
    stock = torch.zeros(1000).scatter_add(0, index, x), torch.zeros(99, 65).index_add(0, many, rows)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with rusttorch.patch(min_numel=0):
                mine = torch.zeros(1000).scatter_add(0, index, x), torch.zeros(99, 65).index_add(0, many, rows)
            assert cases.same_results(mine, stock), threads
    finally:
        torch.set_num_threads(before)


def test_sums_into_a_new_tensor_train() -> None:
    """As graph networks have it: what is changed needs no gradient, what comes into it does."""
    index, rows = torch.randint(0, 7, (60,)), torch.randint(0, 7, (60, 1)).expand(60, 5)

    def run() -> list[torch.Tensor]:
        source = torch.linspace(-1, 1, 300).view(60, 5).requires_grad_()
        whole = torch.zeros(2, 7, 5)
        sums = torch.zeros(7, 5).scatter_add_(0, rows, source)
        part = whole[1]
        assert part.index_add_(0, index, source) is part
        added = torch.zeros(7, 5)
        with torch.no_grad():
            added.index_add_(0, index, source)
        loss = (sums * whole[1]).sum() + part.sin().sum()
        (gradient,) = torch.autograd.grad(loss, source)
        names = [tensor.grad_fn.name() for tensor in (sums, whole)]
        assert names == ["ScatterAddBackward0", "torch::autograd::CopySlices"]
        assert [tensor._version for tensor in (sums, whole, added)] == [1, 1, 1] and not added.requires_grad
        return [sums, whole, added, gradient]

    stock = run()
    before = calls("scatter_add"), calls("index_add")
    with rusttorch.patch(min_numel=0):
        mine = run()
    assert cases.same_results(tuple(mine), tuple(stock))
    assert (calls("scatter_add") - before[0], calls("index_add") - before[1]) == (1, 2)
    leaf = torch.zeros(7, 5, requires_grad=True)
    with rusttorch.patch(min_numel=0), pytest.raises(RuntimeError, match="leaf Variable"):
        leaf.scatter_add_(0, rows, torch.ones(60, 5))


def test_no_indices_along_a_dimension_change_nothing() -> None:
    x, rows = torch.randn(3, 4), torch.empty(3, 0, dtype=torch.long)
    ops = ["scatter", "scatter_add", "scatter_reduce", "index_add", "index_copy", "index_fill"]
    with rusttorch.patch(ops, min_numel=0):
        for changed in (
            x.scatter(1, rows, x[:, :0]),
            x.scatter(1, rows, 2.0),
            x.scatter_add(1, rows, x[:, :0]),
            x.scatter_reduce(1, rows, x[:, :0], "amax", include_self=False),
            x.index_add(1, rows[0], x[:, :0]),
            x.index_copy(1, rows[0], x[:, :0]),
            x.index_fill(1, rows[0], 2.0),
        ):
            assert changed.equal(x)
