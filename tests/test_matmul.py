"""Products of vectors, matrices and many of these: shapes, strides, what is added, and what is stock torch's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import psutil
import pytest
import torch
import torch.nn.functional as F
from support import calls, declined, outcome

import rusttorch
from rusttorch.catalog import EVERY
from rusttorch.runtime import open_runtime

PRODUCTS = ("matmul", "mm", "mv", "bmm", "addmm", "baddbmm")
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
of_each_type = pytest.mark.parametrize("dtype", DTYPES, ids=str)

Tensors = tuple[torch.Tensor, ...]


def check(function: Callable[..., torch.Tensor], tensors: Tensors, name: str, runs: int = 1) -> None:
    """A result of stock torch's form, which is no further from that of doubles; or stock torch's own."""
    stock, exact = function(*tensors), function(*(tensor.double() for tensor in tensors))
    with rusttorch.patch(PRODUCTS, min_numel=0):
        before = calls(name)
        mine = function(*tensors)
        assert calls(name) - before == runs, declined(name)
    assert (mine.dtype, mine.shape, mine.stride()) == (stock.dtype, stock.shape, stock.stride())
    if exact.numel():
        errors = [(result.double() - exact).abs().max() for result in (mine, stock)]
        # Of sums of the same terms in another order.
        unit = torch.finfo(torch.float64 if mine.dtype == torch.float64 else torch.float32).eps
        size = function(*(tensor.double().abs() for tensor in tensors)).abs().max()
        assert errors[0] <= errors[1] + 4 * unit * size, [tensor.shape for tensor in tensors]


def laid_out(*sizes: int, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    """Matrices whose rows, or columns, lie one element after the other, with and without gaps; then one for all."""
    *outer, rows, columns = sizes
    yield torch.randn(sizes).to(dtype)
    yield torch.randn(*outer, columns, rows).to(dtype).mT
    yield torch.randn(*outer, rows, columns + 3).to(dtype)[..., 2:-1]
    yield torch.randn(*outer, columns, rows + 5).to(dtype)[..., 5:].mT
    yield torch.randn(*outer, 1, columns).to(dtype).expand(sizes)


SIZES = (
    (1, 1, 1), (1, 7, 5), (5, 1, 3), (4, 9, 1), (1, 300, 40), (3, 1030, 70), (32, 64, 48), (33, 65, 49), (70, 40, 130),
)  # fmt: skip


@of_each_type
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_matrices_in_any_order(sizes: tuple[int, int, int], dtype: torch.dtype) -> None:
    rows, terms, columns = sizes
    for a, b in itertools.product(laid_out(rows, terms, dtype=dtype), laid_out(terms, columns, dtype=dtype)):
        check(lambda a, b: torch.mm(a, b), (a, b), "mm")
        check(lambda a, b: torch.matmul(a, b), (a, b), "matmul")
    for a in laid_out(rows, terms, dtype=dtype):
        check(lambda a, b: torch.matmul(a, b), (a, torch.randn(terms).to(dtype)), "matmul")
        check(lambda a, b: torch.matmul(a, b), (a, torch.randn(terms, 2).to(dtype)[:, 1]), "matmul")
        check(lambda a, b: torch.mv(a, b), (a, torch.randn(terms, 2).to(dtype)[:, 1]), "mv")


@of_each_type
@pytest.mark.parametrize("sizes", [(1, 9, 33), (5, 40, 7), (40, 20, 50)], ids=str)
def test_many_matrices(sizes: tuple[int, int, int], dtype: torch.dtype) -> None:
    rows, terms, columns = sizes
    for a, b in itertools.product(laid_out(3, rows, terms, dtype=dtype), laid_out(3, terms, columns, dtype=dtype)):
        check(lambda a, b: torch.bmm(a, b), (a, b), "bmm")
        check(lambda a, b: torch.matmul(a, b), (a.unflatten(0, (3, 1)), b.unsqueeze(0)), "matmul")
    # Heads of attention: no matrix lies after another.
    heads = torch.randn(2, rows, 4, terms).to(dtype).transpose(1, 2)
    others = torch.randn(2, columns, 4, terms).to(dtype).transpose(1, 2)
    check(lambda a, b: a @ b.mT, (heads, others), "matmul")


@of_each_type
def test_dimensions_that_are_broadcast(dtype: torch.dtype) -> None:
    outers = ((), (3,), (1,), (2, 3), (2, 1), (1, 3))
    for first, second in itertools.product(outers, outers):
        for rows in (1, 6):
            a, b = torch.randn(*first, rows, 8).to(dtype), torch.randn(*second, 8, 5).to(dtype)
            check(lambda a, b: torch.matmul(a, b), (a, b), "matmul")
            check(lambda a, b: torch.Tensor.__matmul__(a, b), (a, b), "matmul")
    vector = torch.randn(8).to(dtype)
    for outer in outers:
        check(lambda a, b: torch.matmul(a, b), (vector, torch.randn(*outer, 8, 5).to(dtype)), "matmul")
        check(lambda a, b: torch.matmul(a, b), (torch.randn(*outer, 5, 8).to(dtype), vector), "matmul")
    check(lambda a, b: torch.matmul(a, b), (vector, vector), "matmul")


@of_each_type
def test_what_is_added(dtype: torch.dtype) -> None:
    a, b = torch.randn(6, 40).to(dtype), torch.randn(40, 9).to(dtype)
    added = [torch.randn(sizes).to(dtype) for sizes in ((), (9,), (1,), (1, 9), (6, 1), (6, 9))]
    for c in [*added, torch.randn(9, 6).to(dtype).t(), torch.randn(6, 18).to(dtype)[:, ::2]]:
        for beta, alpha in ((1, 1), (0.5, 2), (0, 1), (1, -0.25), (0, 0)):
            check(lambda c, a, b: torch.addmm(c, a, b, beta=beta, alpha=alpha), (c, a, b), "addmm")  # noqa: B023
            check(lambda c, a, b: c.addmm(a, b, beta=beta, alpha=alpha), (c, a[:, :1], b[:1]), "addmm")  # noqa: B023
    check(lambda c, a, b: torch.addmm(c, a, b), (added[1], a, torch.randn(40, 1).to(dtype).expand(40, 9)), "addmm")
    check(lambda c, a, b: torch.addmm(c, a, b), (added[0], a, b[:, :1]), "addmm")
    a, b = torch.randn(4, 6, 40).to(dtype), torch.randn(4, 9, 40).to(dtype).mT
    for c in [*added, torch.randn(4, 1, 9).to(dtype), torch.randn(4, 6, 9).to(dtype), torch.randn(1, 6, 1).to(dtype)]:
        check(lambda c, a, b: torch.baddbmm(c, a, b, beta=0.5, alpha=0.125), (c, a, b), "baddbmm")
    nan = torch.full((9,), float("nan")).to(dtype)
    check(lambda c, a, b: torch.addmm(c, a, b, beta=0), (nan, a[0], b[0]), "addmm")


@of_each_type
def test_infinities_and_what_is_no_number(dtype: torch.dtype) -> None:
    for rows in (1, 40):
        a, b = torch.zeros(rows, 20).to(dtype), torch.ones(20, 7).to(dtype)
        a[-1, 3] = float("inf")
        b[5, 0] = float("nan")
        stock = torch.mm(a, b)
        with rusttorch.patch("mm", min_numel=0):
            for factor in (b, b.t().contiguous().t()):
                torch.testing.assert_close(torch.mm(a, factor), stock, rtol=0, atol=0, equal_nan=True)


@of_each_type
def test_left_to_stock_torch(dtype: torch.dtype) -> None:
    a, b = torch.randn(4, 6).to(dtype), torch.randn(6, 5).to(dtype)
    mm = lambda a, b: torch.mm(a, b)  # noqa: E731
    for function, tensors, name in (
        (mm, (a[:0], b), "mm"),
        (mm, (a[:, :0], b[:0]), "mm"),
        (mm, (torch.randn(8, 12).to(dtype)[::2, ::2], b), "mm"),
        (lambda a, b: torch.matmul(a, b), (a, torch.randn(3, 6, 0).to(dtype)), "matmul"),
    ):
        check(function, tensors, name, runs=0)
    with rusttorch.patch(PRODUCTS, min_numel=0):
        before = calls("mm")
        result = torch.empty(4, 5, dtype=dtype)
        torch.mm(a, b, out=result)
        assert calls("mm") == before
    assert result.equal(torch.mm(a, b))


def test_bad_input_gets_stock_torchs_error() -> None:
    a, b, vector = torch.randn(4, 6), torch.randn(6, 5), torch.randn(6)
    attempts: list[Callable[[], object]] = [
        lambda: torch.mm(a, a),
        lambda: torch.mm(a, b.double()),
        lambda: torch.mm(a, b.bfloat16()),
        lambda: torch.mm(a, vector),
        lambda: torch.mm(a, 3),
        lambda: torch.mv(a, b),
        lambda: torch.mv(a, torch.randn(5)),
        lambda: torch.mv(vector, vector),
        lambda: torch.bmm(a, b),
        lambda: torch.bmm(a.expand(2, 4, 6), b.expand(3, 6, 5)),
        lambda: torch.matmul(a, a),
        lambda: torch.matmul(torch.tensor(1.0), a),
        lambda: a.expand(2, 4, 6) @ b.expand(3, 6, 5),
        lambda: a @ 3,
        lambda: torch.addmm(torch.randn(3), a, b),
        lambda: torch.addmm(torch.randn(2, 4, 5), a, b),
        lambda: torch.addmm(torch.randn(5).double(), a, b),
        lambda: torch.addmm(torch.randn(5), a, b, beta="1"),
        lambda: torch.baddbmm(torch.randn(5), a, b),
        lambda: torch.mm(a.long(), b.long()[:5]),
    ]
    for attempt in attempts:
        stock = outcome(attempt)
        assert stock[0] == "raised"
        with rusttorch.patch(PRODUCTS, min_numel=0):
            assert outcome(attempt)[:3] == stock[:3]


@of_each_type
def test_gradients_are_near_those_of_doubles(dtype: torch.dtype) -> None:
    for function, shapes, name in (
        (lambda a, b: torch.mm(a, b), ((5, 8), (8, 3)), "mm"),
        (lambda a, b: torch.matmul(a, b), ((5, 8), (8, 3)), "matmul"),
        (lambda a, b: torch.mv(a, b), ((5, 8), (8,)), "mv"),
        (lambda a, b: torch.bmm(a, b), ((2, 5, 8), (2, 8, 3)), "bmm"),
        (lambda c, a, b: torch.addmm(c, a, b, beta=0.5, alpha=2), ((3,), (5, 8), (8, 3)), "addmm"),
        (lambda c, a, b: torch.baddbmm(c, a, b), ((2, 1, 3), (2, 5, 8), (2, 8, 3)), "baddbmm"),
    ):
        tensors = [torch.randn(shape).to(dtype) for shape in shapes]
        for frozen in (None, *range(len(tensors))):
            found, nodes = [], []
            for accelerated, cast in ((False, torch.double), (False, dtype), (True, dtype)):
                leaves = [tensor.to(cast, copy=True) for tensor in tensors]
                for index, leaf in enumerate(leaves):
                    leaf.requires_grad_(index != frozen)
                with rusttorch.patch(PRODUCTS if accelerated else (), min_numel=0):
                    before = calls(name)
                    result = function(*leaves)
                    assert calls(name) - before == accelerated
                    result.backward(torch.ones_like(result) / 7)
                found.append([leaf.grad for leaf in leaves])
                nodes.append(result.grad_fn.name())
            assert nodes[0] == nodes[2]
            for exact, stock, mine in zip(*found, strict=True):
                assert (mine is None) == (stock is None)
                if mine is not None:
                    errors = [(grad.double() - exact).abs().max() for grad in (mine, stock)]
                    assert mine.dtype == dtype and errors[0] <= errors[1] + 2e-6 * exact.abs().max()


def test_training_with_many_matrices_is_stock_torchs() -> None:
    x = torch.randn(2, 3, 4, requires_grad=True)
    with rusttorch.patch("matmul", min_numel=0):
        before = calls("matmul")
        result = x @ torch.randn(4, 5)
        assert calls("matmul") == before
    assert result.grad_fn.name() == "UnsafeViewBackward0"


def test_types_that_the_cpu_multiplies_are_stock_torchs_but_of_few_rows() -> None:
    x, few = torch.randn(1024, 1024), torch.randn(8, 1024)
    amd, wide = open_runtime()["vendor"] == "amd", open_runtime()["isa"] == "avx512"
    first_door = open_runtime()["door"] == 1
    with rusttorch.patch(["mm", "linear"]):
        for name, function in (("mm", torch.mm), ("linear", torch.nn.functional.linear)):  # as they are patched
            before = calls(name)
            function(x, x)
            function(few.double(), x.double())
            function(few[:, :8].half(), x[:8, :8].half())
            assert calls(name) == before
            function(few, x)
            assert calls(name) - before == amd
            # AVX2 gains by a smaller matrix; the slower doors cost `linear` that, whose input is small.
            gains = amd and not wide and (name == "mm" or first_door)
            for shape in ((4, 256), (33, 256)):
                function(torch.randn(shape), x[:256, :256].contiguous())
            function(torch.randn(4, 256), x[:256, :256].contiguous().requires_grad_())
            assert calls(name) - before == amd + gains
            # One that small gains where it lies by its columns, which the slower doors find out too late.
            function(torch.randn(4, 64), x[:64, :64].contiguous())
            assert calls(name) - before == amd + gains + (gains and name == "linear")
    with rusttorch.patch("mv"):
        before = calls("mv")
        torch.mv(x, x[0].clone())
        torch.mv(x[:64, :64].contiguous(), x[0, :64].clone())
        assert calls("mv") - before == (amd and not wide)


def test_many_rows_of_a_wide_matrix_gain_by_avx2() -> None:
    gains = (open_runtime()["vendor"], open_runtime()["isa"]) == ("amd", "avx2")
    wide = torch.ones(1024, 2560)
    with rusttorch.patch(["mm", "linear"]):
        for name, function in (("mm", torch.mm), ("linear", torch.nn.functional.linear)):  # as they are patched
            as_given = (lambda tensor: tensor) if name == "mm" else torch.t
            for rows, taken in ((33, name == "mm"), (64, True), (192, True), (193, False)):
                before = calls(name)
                function(torch.ones(rows, 1024), as_given(wide).contiguous())
                assert calls(name) - before == (taken and gains), (name, rows)
            before = calls(name)
            function(torch.ones(64, 2560), as_given(wide.t()).contiguous())
            assert calls(name) == before


def test_rows_say_what_products_are() -> None:
    assert all(EVERY[name].multiplies for name in PRODUCTS)


CAST = {
    "linear": lambda x, w, b: F.linear(x, w.view(20, 40), b),
    "mm": lambda x, w, b: torch.mm(x, w),
    "addmm": lambda x, w, b: torch.addmm(b, x, w, beta=0.5),
    "matmul": lambda x, w, b: x @ w,
    "bmm": lambda x, w, b: torch.bmm(x[None], w[None]),
    "baddbmm": lambda x, w, b: torch.baddbmm(b, x[None], w[None]),
}
under_autocast = pytest.mark.skipif(
    open_runtime()["door"] > 1, reason="this torch's autocast cannot be asked to cast"
)


@under_autocast
@pytest.mark.parametrize("name", CAST)
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("given", [torch.float32, None, torch.float64], ids=str)
def test_products_under_autocast(name: str, low: torch.dtype, given: torch.dtype | None) -> None:
    """Of singles, of what has its type already beside singles, and of doubles, which are left alone."""
    tensors = torch.randn(33, 40), torch.randn(40, 20), torch.randn(20)
    first = given or low

    def run() -> list[torch.Tensor]:
        leaves = [tensors[0].to(first), *(tensor.to(given or torch.float32) for tensor in tensors[1:])]
        leaves = [leaf.requires_grad_() for leaf in leaves]
        with torch.autocast("cpu", dtype=low):
            plain = CAST[name](*(leaf.detach() for leaf in leaves))
            result = CAST[name](*leaves)
        result.backward(torch.linspace(-1, 1, result.numel()).to(result.dtype).view(result.shape))
        return [plain, result.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    stock = run()
    with rusttorch.patch(min_numel=0):
        before = calls(name)
        ours = run()
        assert calls(name) >= before + 2, declined(name)
    assert [(x.dtype, x.shape, x.stride()) for x in ours] == [(x.dtype, x.shape, x.stride()) for x in stock]
    for mine, theirs in zip(ours, stock, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2 ** (-7 if low == torch.bfloat16 else -9), atol=0.05)


@under_autocast
def test_a_weight_is_cast_once_in_autocast() -> None:
    """As by stock torch: kept for parameters, in training, until autocast ends; and seen when it has changed since."""
    x, w = torch.randn(8, 32), torch.randn(16, 32, requires_grad=True)

    def cast(y: torch.Tensor) -> object:
        return y.grad_fn.next_functions[1][0]

    with rusttorch.patch("linear", min_numel=0):
        with torch.autocast("cpu", torch.bfloat16):
            first, second = F.linear(x, w), F.linear(x, w)
            assert cast(first) is cast(second) and cast(first).name() == "ToCopyBackward0"
            with torch.autocast("cpu", enabled=False):
                assert F.linear(x, w).dtype == torch.float32
        with torch.no_grad():
            w.mul_(2)
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            third, fourth = F.linear(x, w), F.linear(x, w)
            assert cast(third) is not cast(fourth)
        assert calls("linear") >= 5
        torch.testing.assert_close(third, 2 * first)
        (first + second).sum().backward()
    assert w.grad.dtype == torch.float32


@under_autocast
def test_autocast_is_left_to_stock_torch_where_little_is_multiplied() -> None:
    x, w = torch.randn(4, 8), torch.randn(8, 8)
    with rusttorch.patch("linear"), torch.autocast("cpu", torch.bfloat16):
        before = calls("linear")
        assert F.linear(x, w).dtype == torch.bfloat16
        assert rusttorch.explain(F.linear, x, w) != "accelerated"
        assert calls("linear") == before
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            F.linear(x, torch.randn(3, 5))


@under_autocast
def test_casts_do_not_stay_in_memory() -> None:
    x, w = torch.randn(64, 512), torch.randn(512, 512, requires_grad=True)

    def train(times: int) -> None:
        for _ in range(times):
            with torch.autocast("cpu", torch.bfloat16):
                y = F.linear(F.linear(x, w), w)
            y.float().sum().backward()
            w.grad = None

    with rusttorch.patch("linear", min_numel=0):  # whether the CPU multiplies halves or not
        train(20)
        before = psutil.Process().memory_info().rss
        train(300)
        assert psutil.Process().memory_info().rss - before < 32 * 2**20  # of 180 MiB that the casts of weights take
        assert calls("linear") >= 640
