"""Operations on several tensors against stock torch and float64, generated from the catalogue."""

from __future__ import annotations

import ast
import copy
import itertools
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import ops_cases as cases
import pytest
import torch
import torch.nn.functional as F
from support import calls, declined

import rusttorch
from rusttorch import patching, thresholds
from rusttorch.catalog import NARY, Nary

CALLS = [(row, text) for row in NARY.values() for text in row.calls]
all_calls = pytest.mark.parametrize(("row", "text"), CALLS, ids=[text for _, text in CALLS])
all_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)

#: Few and many rows, short and long ones, odd lengths, more than a thread's share.
SHAPES = [(1, 1), (5, 7), (3, 64), (50, 64), (90, 40), (16, 130), (40, 1000), (300, 257), (3, 5000), (2, 70_001)]

#: What an error of stock torch's says nothing about, in units in the last place of the largest number.
FLOOR = {torch.float32: 1.5, torch.float64: 16.0, torch.bfloat16: 0.51, torch.float16: 0.51}
CHANNELS = ("batch_norm", "instance_norm")
#: Of these, stock torch's double precision, which is the reference for itself, has larger errors.
ROUGH = (*CHANNELS, "linear")


def takes(row: Nary, text: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> bool:
    """Whether the kernel takes rows of that many elements."""
    size, columns = torch.Size(shape).numel(), shape[-1]
    if row.name == "instance_norm" or (row.name == "batch_norm" and row.kind(text)):
        return size <= 1024 or columns >= 64
    least = 128 if dtype == torch.float16 else 64
    return row.name != "layer_norm" or size <= 1024 or least <= columns <= 16384


def refused(row: Nary, shape: tuple[int, ...]) -> bool:
    """Whether stock torch raises, as there is one value of a channel."""
    counted = {"batch_norm": shape[:1], "instance_norm": shape[1:]}
    return counted.get(row.name) == (1,)


def drawn(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0, domain: str = "any") -> torch.Tensor:
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (numbers.sigmoid() if domain == "probability" else numbers).to(dtype)


def leaves(row: Nary, text: str, x: torch.Tensor) -> dict[str, Any]:
    """The call's names, with gradients where they can have them."""
    scope = row.scope(x)
    leaves = row.leaves(text)
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}

    def leaf(name: str, value: torch.Tensor) -> torch.Tensor:
        return value.clone().requires_grad_(value.is_floating_point() and name in leaves)

    return scope | {name: leaf(name, scope[name]) for name in names if isinstance(scope.get(name), torch.Tensor)}


def everything(row: Nary, text: str, x: torch.Tensor, wide: bool = False) -> list[torch.Tensor]:
    """The result without a gradient, with one, and the gradients."""
    scope = leaves(row, text, x)
    if wide:
        scope = {
            name: value.detach().double().requires_grad_(value.requires_grad)
            if isinstance(value, torch.Tensor) and value.is_floating_point()
            else value
            for name, value in scope.items()
        }
    result = eval(text, scope)
    inputs = [value for value in scope.values() if getattr(value, "requires_grad", False)]
    grad = drawn(tuple(result.shape), x.dtype, 99).to(result.dtype)
    gradients = torch.autograd.grad(result, inputs, grad)
    with torch.no_grad():
        plain = eval(text, scope)
    return [plain, result.detach(), *gradients]


def faults(row: Nary, text: str, x: torch.Tensor, runs: int | None = None) -> Iterator[str]:
    stock, reference = everything(row, text, x), everything(row, text, x, wide=True)
    with cases.accelerated(row) as counted:  # type: ignore[arg-type]
        mine = everything(row, text, x)
        ran = counted()
    if runs is not None and ran != runs:
        yield f"{ran} runs of the kernel, expected {runs}: {declined(row.name)}"
    for index, (a, b, truth) in enumerate(zip(mine, stock, reference, strict=True)):
        if (a.dtype, a.shape, a.stride()) != (b.dtype, b.shape, b.stride()):
            yield f"{index}: {a.dtype} {a.shape} {a.stride()}, stock {b.dtype} {b.shape} {b.stride()}"
            continue
        # Stock torch's intermediate results may overflow where the result does not.
        for kind in (torch.isnan, torch.isposinf, torch.isneginf):
            if ((kind(a) != kind(b)) & (kind(a) != kind(truth.to(a.dtype)))).any():
                yield f"{index}: {kind.__name__} {kind(a).sum()}, stock {kind(b).sum()}, float64 {kind(truth).sum()}"
        finite = truth.isfinite() & a.isfinite() & b.isfinite()
        if not finite.any():
            continue
        largest = float(truth[finite].abs().max())
        if row.name != "cross_entropy" or x.shape[-1] == 1:
            largest = max(largest, 1.0)  # gradients can be the difference of larger numbers
        unit = torch.finfo(a.dtype).eps * largest
        error, allowed = (float((value.double() - truth)[finite].abs().max()) for value in (a, b))
        floor = FLOOR[a.dtype] * (64.0 if row.name in ROUGH and a.dtype == torch.float64 else 1.0)
        allowed = max(1.5 * allowed, floor * unit)
        if error > allowed:
            yield f"{index}: error {error:.3g}, allowed {allowed:.3g}"


@all_dtypes
@all_calls
def test_results_and_gradients(row: Nary, text: str, dtype: torch.dtype) -> None:
    found = []
    for seed, shape in enumerate(SHAPES):
        if dtype == torch.float64 and shape == (1, 1):
            continue  # where the reference, stock torch itself, has nothing but errors
        if refused(row, shape):
            continue
        x = drawn(shape, dtype, seed, row.domain)
        found += [f"{shape}: {fault}" for fault in faults(row, text, x, 3 if takes(row, text, shape, dtype) else 0)]
    assert not found, "\n".join(found)


@all_dtypes
@all_calls
def test_special_values(row: Nary, text: str, dtype: torch.dtype) -> None:
    """A row with each, among ordinary ones."""
    special = [float("nan"), float("inf"), -float("inf"), 0.0, torch.finfo(dtype).max, torch.finfo(dtype).tiny]
    if dtype == torch.float64:
        special.remove(torch.finfo(dtype).max)  # the reference, stock torch itself, overflows
    if row.domain == "probability":
        special = [0.0, 1.0, 0.5, torch.finfo(dtype).tiny, torch.finfo(dtype).eps, 1 - torch.finfo(dtype).eps]
    x = drawn((len(special), 160), dtype, 0, row.domain)
    for i, value in enumerate(special):
        x[i, 20 + i] = value
    flat = torch.zeros(2, 160, dtype=dtype)
    flat[1] = 1.0 if row.domain == "probability" else 3.0
    found = [fault for tensor in (x, flat) for fault in faults(row, text, tensor)]
    assert not found, "\n".join(found)


@all_calls
def test_threads_do_not_change_results(row: Nary, text: str) -> None:
    before = torch.get_num_threads()
    try:
        for shape in ((900, 257), (4, 5000), (2, 140_000)):
            results = []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                with cases.accelerated(row) as runs:  # type: ignore[arg-type]
                    results.append(everything(row, text, drawn(shape, torch.float32, 0, row.domain)))
                    assert runs() == (3 if takes(row, text, shape) else 0)
            if takes(row, text, shape):
                assert all(torch.equal(one, two) for one, two in zip(*results, strict=True)), shape
    finally:
        torch.set_num_threads(before)


@all_calls
def test_derivatives(row: Nary, text: str) -> None:
    x = drawn((3, 9), torch.float64, 0, row.domain)
    scope = leaves(row, text, x)
    names = [name for name, value in scope.items() if getattr(value, "requires_grad", False)]

    def call(*inputs: torch.Tensor) -> torch.Tensor:
        return eval(text, scope | dict(zip(names, inputs, strict=True)))

    inputs = tuple(scope[name] for name in names)
    with cases.accelerated(row) as runs:  # type: ignore[arg-type]
        assert torch.autograd.gradcheck(call, inputs)
        assert runs() > 2
        assert torch.autograd.gradgradcheck(call, inputs)


@all_calls
def test_higher_derivatives_are_stocks(row: Nary, text: str) -> None:
    def derivatives(x: torch.Tensor) -> list[torch.Tensor]:
        scope = leaves(row, text, x)
        leaf = row.kinds[row.kind(text)] if row.kind(text) else "x"
        result, found = eval(text, scope), []
        # Stock torch's batch_norm has no third ones.
        for _ in range(2 if row.name in ("batch_norm", "instance_norm") else 3):
            (result,) = torch.autograd.grad((result * result).sum(), scope[leaf], create_graph=True)
            found.append(result.detach())
        return found

    x = drawn((4, 6), torch.float64, 0, row.domain)
    stock = derivatives(x)
    with cases.accelerated(row):  # type: ignore[arg-type]
        mine = derivatives(x)
    for a, b in zip(mine, stock, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@all_calls
def test_only_what_is_wanted(row: Nary, text: str) -> None:
    """Every choice of tensors that require a gradient, and a hook on the result."""
    x = drawn((24, 160), torch.float32, 0, row.domain)
    scope = leaves(row, text, x)
    names = [name for name, value in scope.items() if getattr(value, "requires_grad", False)]
    for wanted in itertools.product((False, True), repeat=len(names)):
        if not any(wanted):
            continue

        def gradients(wanted: tuple[bool, ...] = wanted) -> list[Any]:
            mine = dict(scope)
            for name, want in zip(names, wanted, strict=True):
                mine[name] = scope[name].detach().clone().requires_grad_(want)
            result = eval(text, mine)
            result.register_hook(lambda grad: grad * 2)
            result.sum().backward()
            return [mine[name].grad for name in names]

        stock = gradients()
        with cases.accelerated(row) as runs:  # type: ignore[arg-type]
            mine = gradients()
            assert runs() == 2
        for a, b in zip(mine, stock, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1.3e-6, atol=3e-5)


CLASSES = torch.tensor([3, -100, 0, 8, 5])
P = torch.linspace(0.0, 1.0, 45).view(5, 9)
WRONG: list[tuple[str, Callable[[], Any]]] = [
    ("sizes", lambda: F.layer_norm(torch.randn(4, 6), (5,))),
    ("no sizes", lambda: F.layer_norm(torch.randn(4, 6), ())),
    ("more sizes", lambda: F.layer_norm(torch.randn(4, 6), (2, 4, 6))),
    ("a number for sizes", lambda: F.layer_norm(torch.randn(4, 6), 6)),
    ("a weight of another size", lambda: F.layer_norm(torch.randn(4, 6), (6,), torch.ones(5))),
    ("a weight of another type", lambda: F.layer_norm(torch.randn(4, 6), (6,), torch.ones(6, dtype=torch.float64))),
    ("a list for a weight", lambda: F.layer_norm(torch.randn(4, 6), (6,), [1.0] * 6)),
    ("text for eps", lambda: F.layer_norm(torch.randn(4, 6), (6,), eps="small")),
    ("integers", lambda: F.layer_norm(torch.ones(4, 6, dtype=torch.int64), (6,))),
    ("rms sizes", lambda: F.rms_norm(torch.randn(4, 6), (4,))),
    ("rms weight", lambda: F.rms_norm(torch.randn(4, 6), (6,), torch.ones(1, 6))),
    ("class too large", lambda: F.cross_entropy(torch.randn(5, 9), torch.tensor([0, 1, 2, 9, 3]))),
    ("negative class", lambda: F.cross_entropy(torch.randn(5, 9), torch.tensor([0, 1, -1, 8, 3]))),
    ("fewer classes", lambda: F.cross_entropy(torch.randn(5, 9), torch.tensor([0, 1]))),
    ("int32 classes", lambda: F.cross_entropy(torch.randn(5, 9), CLASSES.int())),
    ("reduction", lambda: F.cross_entropy(torch.randn(5, 9), CLASSES, reduction="average")),
    ("smoothing", lambda: F.cross_entropy(torch.randn(5, 9), CLASSES, label_smoothing=1.5)),
    ("no tensor", lambda: F.cross_entropy(None, CLASSES)),
    ("no classes", lambda: F.cross_entropy(torch.randn(5, 9))),
    ("target of another size", lambda: F.binary_cross_entropy(P, P[0])),
    ("a target for the other side of a table", lambda: F.mse_loss(P, torch.ones(5, 7))),
    ("no probability", lambda: F.binary_cross_entropy(P + 1, P)),
    ("negative probability", lambda: F.binary_cross_entropy(-P, P)),
    ("probability that is no number", lambda: F.binary_cross_entropy(P * torch.nan, P)),
    ("integers as targets", lambda: F.binary_cross_entropy(P, torch.ones(5, 9, dtype=torch.int64))),
    ("weight of another size", lambda: F.binary_cross_entropy(P, P, P[:, :2])),
    ("target of logits", lambda: F.binary_cross_entropy_with_logits(P, P[:2])),
    ("factor of another size", lambda: F.binary_cross_entropy_with_logits(P, P, pos_weight=P[0, :2])),
    ("negative beta", lambda: F.smooth_l1_loss(P, P, beta=-1.0)),
    ("negative delta", lambda: F.huber_loss(P, P, delta=-1.0)),
    ("no delta", lambda: F.huber_loss(P, P, delta=None)),
    ("unknown reduction", lambda: F.mse_loss(P, P, reduction="batchmean")),
    ("reduction that is no text", lambda: F.l1_loss(P, P, reduction=1)),
    ("list as a target", lambda: F.l1_loss(P, [1.0])),
    ("negative variance", lambda: F.gaussian_nll_loss(P, P, P - 0.9)),
    ("variance of another size", lambda: F.gaussian_nll_loss(P, P, P[:2])),
    ("poisson reduction", lambda: F.poisson_nll_loss(P, P, reduction="batchmean")),
    ("one value of a channel", lambda: F.batch_norm(torch.randn(1, 6), None, None, training=True)),
    ("no channels", lambda: F.batch_norm(torch.randn(6), None, None, training=True)),
    ("eps", lambda: F.batch_norm(torch.randn(4, 6), None, None, training=True, eps=-1.0)),
    ("momentum", lambda: F.batch_norm(torch.randn(4, 6), None, None, training=True, momentum=None)),
    ("no statistics", lambda: F.batch_norm(torch.randn(4, 6), None, None)),
    ("one statistic", lambda: F.batch_norm(torch.randn(4, 6), torch.zeros(6), None, training=True)),
    ("statistics", lambda: F.batch_norm(torch.randn(4, 6), torch.zeros(5), torch.ones(5), training=True)),
    ("weights of channels", lambda: F.batch_norm(torch.randn(4, 6), None, None, torch.ones(4), training=True)),
    ("types of channels", lambda: F.batch_norm(torch.randn(4, 6), None, None, torch.ones(6).half(), training=True)),
    ("one value of an instance", lambda: F.instance_norm(torch.randn(4, 6, 1))),
    ("weights of instances", lambda: F.instance_norm(torch.randn(4, 6, 5), weight=torch.ones(4))),
    ("unknown keyword", lambda: F.rms_norm(torch.randn(4, 6), (6,), bias=None)),
    ("fewer terms", lambda: F.linear(torch.randn(4, 6), torch.randn(3, 5))),
    ("types of matrices", lambda: F.linear(torch.randn(4, 6), torch.randn(3, 6).half())),
    ("a bias of another size", lambda: F.linear(torch.randn(4, 6), torch.randn(3, 6), torch.randn(4))),
    ("no matrix", lambda: F.linear(torch.randn(4, 6), None)),
    ("a number as ignored class", lambda: F.cross_entropy(torch.randn(5, 9), CLASSES, ignore_index=3.0)),
    ("no reduction", lambda: F.kl_div(P, P, reduction="")),
]


@pytest.mark.parametrize(("name", "call"), WRONG, ids=[name for name, _ in WRONG])
def test_bad_input_has_stock_torchs_error(name: str, call: Callable[[], Any]) -> None:
    stock = cases.outcome(call)
    with rusttorch.patch(list(NARY), min_numel=0):
        mine = cases.outcome(call)
    assert stock.error is not None
    assert (type(mine.error), str(mine.error)) == (type(stock.error), str(stock.error))


DECLINED: list[tuple[str, str, Callable[[], Any]]] = [
    ("transposed", "layer_norm", lambda: F.layer_norm(drawn((6, 4), torch.float32).t(), (6,))),
    ("expanded", "rms_norm", lambda: F.rms_norm(torch.ones(1, 6).expand(4, 6), (6,))),
    ("empty", "layer_norm", lambda: F.layer_norm(torch.ones(0, 6), (6,))),
    ("no columns", "layer_norm", lambda: F.layer_norm(torch.ones(3, 0), (0,))),
    ("meta", "rms_norm", lambda: F.rms_norm(torch.ones(3, 6, device="meta"), (6,)).shape),
    ("weights of classes", "cross_entropy", lambda: F.cross_entropy(*SCORES, torch.linspace(0.1, 1, 9))),
    ("probabilities", "cross_entropy", lambda: F.cross_entropy(SCORES[0], SCORES[0].softmax(1))),
    ("pixels", "cross_entropy", lambda: F.cross_entropy(SCORES[0][None].mT.contiguous(), CLASSES[None])),
    ("reduce", "cross_entropy", lambda: F.cross_entropy(*SCORES, reduce=False)),
    ("broadcast", "mse_loss", lambda: F.mse_loss(P, P[0])),
    ("another type", "mse_loss", lambda: F.mse_loss(P, P.double())),
    ("transposed target", "l1_loss", lambda: F.l1_loss(P, P.view(9, 5).t())),
    ("reduce off", "l1_loss", lambda: F.l1_loss(P, P, reduce=False)),
    ("beta of 0", "smooth_l1_loss", lambda: F.smooth_l1_loss(P, P + 1, beta=0.0)),
    ("empty", "huber_loss", lambda: F.huber_loss(P[:0], P[:0], reduction="sum")),
    ("target with a gradient", "binary_cross_entropy", lambda: F.binary_cross_entropy(P, P.clone().requires_grad_())),
    ("weight of a column", "binary_cross_entropy", lambda: F.binary_cross_entropy(P, P, P[:, :1])),
    ("mean of divergences", "kl_div", lambda: F.kl_div(P, P)),
    ("all of Stirling's terms", "poisson_nll_loss", lambda: F.poisson_nll_loss(P, P, full=True)),
    ("one variance", "gaussian_nll_loss", lambda: F.gaussian_nll_loss(P, P, P[:, :1] + 1)),
    ("full likelihood", "gaussian_nll_loss", lambda: F.gaussian_nll_loss(P, P, P, full=True)),
    ("evaluation", "batch_norm", lambda: F.batch_norm(SCORES[0], torch.zeros(9), torch.ones(9))),
    ("channels innermost", "batch_norm", lambda: F.batch_norm(SCORES[0][None].mT, None, None, training=True)),
    ("sparse steps", "batch_norm", lambda: F.batch_norm(SCORES[0][:, ::2], None, None, training=True)),
    ("own statistics", "instance_norm", lambda: F.instance_norm(SCORES[0][None], torch.zeros(5), torch.ones(5))),
    ("no statistics", "instance_norm", lambda: F.instance_norm(
        SCORES[0][None], torch.zeros(5), torch.ones(5), use_input_stats=False)),
    ("transposed matrix", "linear", lambda: F.linear(SCORES[0], torch.ones(9, 4).t())),
    ("a matrix of one row as a vector", "linear", lambda: F.linear(SCORES[0], torch.ones(9))),
    ("no rows", "linear", lambda: F.linear(SCORES[0][:0], torch.ones(4, 9))),
    ("no terms", "linear", lambda: F.linear(SCORES[0][:, :0], torch.ones(4, 0))),
    ("no rows", "cross_entropy", lambda: F.cross_entropy(torch.ones(0, 9), CLASSES[:0])),
]
SCORES = (drawn((5, 9), torch.float32), CLASSES)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("name", "op", "call"), DECLINED, ids=[name for name, *_ in DECLINED])
def test_what_kernels_were_not_written_for_is_stock_torchs(name: str, op: str, call: Callable[[], Any]) -> None:
    stock = call()
    with cases.accelerated(NARY[op]) as runs:  # type: ignore[arg-type]
        mine = call()
        assert runs() == 0
    torch.testing.assert_close(mine, stock, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2, 1.0])
def test_ignored_classes(reduction: str, smoothing: float) -> None:
    x = drawn((5, 9), torch.float64)
    for classes, ignored in ((CLASSES, -100), (CLASSES.clamp(min=3), 3), (torch.full((5,), 8), 8), (CLASSES, 100)):
        if ignored == 100:
            classes = torch.tensor([100, 0, 1, 100, 2])

        def run(classes: torch.Tensor = classes, ignored: int = ignored) -> tuple[torch.Tensor, ...]:
            leaf = x.clone().requires_grad_()
            loss = F.cross_entropy(
                leaf, classes, ignore_index=ignored, reduction=reduction, label_smoothing=smoothing
            )
            return loss.detach(), *torch.autograd.grad(loss.sum(), leaf)

        stock = run()
        with cases.accelerated(NARY["cross_entropy"]) as runs:  # type: ignore[arg-type]
            mine = run()
            assert runs() == 2
        for a, b in zip(mine, stock, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13, equal_nan=True)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum", "batchmean"])
@pytest.mark.parametrize("log_target", [False, True])
def test_divergences(reduction: str, log_target: bool) -> None:
    """Probabilities of zero among them."""
    x = drawn((6, 50), torch.float64).log_softmax(1)
    target = drawn((6, 50), torch.float64, 1).softmax(1)
    target[0, :5] = 0.0
    target = target.clamp(min=1e-3).log() if log_target else target

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        leaf = x.clone().requires_grad_()
        loss = F.kl_div(leaf, target, reduction=reduction, log_target=log_target)
        return loss.detach(), torch.autograd.grad(loss.sum(), leaf)[0]

    with warnings.catch_warnings(record=True) as expected:
        warnings.simplefilter("always")
        stock = run()
    with cases.accelerated(NARY["kl_div"]) as runs, warnings.catch_warnings(record=True) as found:  # type: ignore[arg-type]
        warnings.simplefilter("always")
        mine = run()
        assert runs() == (0 if reduction == "mean" else 2)
    assert [str(warning.message) for warning in found] == [str(warning.message) for warning in expected]
    torch.testing.assert_close(mine, stock, rtol=1e-13, atol=1e-13)


def test_counts_without_logarithms() -> None:
    x, target = drawn((6, 50), torch.float64).exp(), drawn((6, 50), torch.float64, 1).exp()

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        leaf = x.clone().requires_grad_()
        loss = F.poisson_nll_loss(leaf, target, log_input=False, eps=1e-3)
        return loss.detach(), torch.autograd.grad(loss, leaf)[0]

    stock = run()
    with cases.accelerated(NARY["poisson_nll_loss"]) as runs:  # type: ignore[arg-type]
        torch.testing.assert_close(run(), stock, rtol=1e-13, atol=1e-13)
        assert runs() == 2


@pytest.mark.parametrize("sizes", [(), (1,), (9,), (2, 9), (5, 2, 9), (1000,), (3, 700)], ids=str)
def test_weights_begin_anew(sizes: tuple[int, ...]) -> None:
    """Those of one element, of few, of more than are worked on at once, and of as many as the input has."""
    shape = (7, *sizes) if len(sizes) < 3 else sizes
    x, target = drawn(shape, torch.float32), drawn(shape, torch.float32, 1).sigmoid()
    weight, factor = drawn(sizes, torch.float32, 2).exp(), drawn(sizes, torch.float32, 3).exp()

    def run() -> list[torch.Tensor]:
        found = []
        for dtype in (torch.float32, torch.bfloat16):
            leaf, *rest = (tensor.to(dtype) for tensor in (x, target, weight, factor))
            leaf = leaf.clone().requires_grad_()
            for reduction in ("mean", "none"):
                loss = F.binary_cross_entropy_with_logits(
                    leaf, rest[0], rest[1], pos_weight=rest[2], reduction=reduction
                )
                found += [loss.detach(), torch.autograd.grad(loss.sum(), leaf)[0]]
        return found

    stock = run()
    with cases.accelerated(NARY["binary_cross_entropy_with_logits"]) as runs:  # type: ignore[arg-type]
        mine = run()
        assert runs() == 8
    for a, b in zip(mine, stock, strict=True):
        limit = 1e-5 if a.dtype == torch.float32 else 0.02 * float(b.abs().max())
        torch.testing.assert_close(a, b, rtol=2e-5, atol=limit)


def test_one_row_of_scores() -> None:
    x, target = drawn((9,), torch.float32), torch.tensor(4)
    stock = F.cross_entropy(x, target)
    with cases.accelerated(NARY["cross_entropy"]) as runs:  # type: ignore[arg-type]
        torch.testing.assert_close(F.cross_entropy(x, target), stock)
        assert runs() == 1


def test_several_dimensions_make_a_row() -> None:
    x, weight = drawn((3, 4, 5), torch.float32), drawn((4, 5), torch.float32)
    for call in (lambda: F.layer_norm(x, [4, 5], weight), lambda: torch.rms_norm(x, torch.Size((4, 5)), weight)):
        stock = call()
        before = sum(calls(name) for name in NARY)
        with rusttorch.patch(list(NARY), min_numel=0):
            torch.testing.assert_close(call(), stock)
        assert sum(calls(name) for name in NARY) == before + 1


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.places = torch.nn.Embedding(12, 160)
        self.first, self.second = torch.nn.LayerNorm(160), torch.nn.RMSNorm(160)
        # Without running statistics, which are no part of what these programs compare: see `test_batch_norm`.
        self.batch = torch.nn.BatchNorm1d(160, track_running_stats=False)
        self.instance = torch.nn.InstanceNorm1d(2, affine=True)
        self.last = torch.nn.Linear(160, 9)
        self.loss = torch.nn.CrossEntropyLoss()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.places(torch.arange(x.shape[0]) * 5 % 12)
        x = self.instance(self.batch(self.first(x)).view(-1, 2, 80)).flatten(1)
        scores = self.last(self.second(x))
        target = torch.linspace(0.1, 0.9, scores.numel()).view_as(scores)
        losses = [
            self.loss(scores, torch.arange(x.shape[0]) % 9),
            F.mse_loss(scores, target),
            F.l1_loss(scores, target),
            F.smooth_l1_loss(scores, target, beta=0.5),
            F.huber_loss(scores, target, delta=0.5),
            F.binary_cross_entropy_with_logits(scores, target, pos_weight=target[0]),
            F.kl_div(scores, target, reduction="batchmean"),
            F.poisson_nll_loss(scores, target),
        ]
        return torch.stack(losses).sum()


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def gradients(model: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    leaf = x.clone().requires_grad_()
    model(leaf).backward()
    return [leaf.grad, *(p.grad for p in model.parameters())]  # type: ignore[list-item]


def train_plainly(model: Net, x: torch.Tensor) -> Any:
    return gradients(model, x)


def with_saved_hooks(model: Net, x: torch.Tensor) -> Any:
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        return gradients(model, x)


def with_anomaly_mode(model: Net, x: torch.Tensor) -> Any:
    with torch.autograd.detect_anomaly(check_nan=True):
        return gradients(model, x)


def with_checkpoint(model: Net, x: torch.Tensor) -> Any:
    from torch.utils.checkpoint import checkpoint

    leaf = x.clone().requires_grad_()
    checkpoint(model, leaf, use_reentrant=False).backward()
    return leaf.grad


def with_autocast(model: Net, x: torch.Tensor) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        return gradients(model, x)


def in_inference_mode(model: Net, x: torch.Tensor) -> Any:
    with torch.inference_mode():
        return model(x)


def copied(model: Net, x: torch.Tensor) -> Any:
    return gradients(pickle.loads(pickle.dumps(copy.deepcopy(model))), x)


def traced(model: Net, x: torch.Tensor) -> Any:
    return torch.jit.trace(model, x)(x)


def scripted(model: Net, x: torch.Tensor) -> Any:
    return torch.jit.script(torch.nn.Sequential(model.first, model.last))(x)


def through_fx(model: Net, x: torch.Tensor) -> Any:
    return torch.fx.symbolic_trace(torch.nn.Sequential(model.first, model.second))(x)


def through_vmap(model: Net, x: torch.Tensor) -> Any:
    return torch.func.vmap(lambda row: model.second(model.first(row)))(x)


def through_func_grad(model: Net, x: torch.Tensor) -> Any:
    return torch.func.grad(model)(x)


def through_jvp(model: Net, x: torch.Tensor) -> Any:
    return torch.func.jvp(model, (x,), (torch.ones_like(x),))


def through_fake_tensors(model: Net, x: torch.Tensor) -> Any:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        return tuple(model.second(model.first(mode.from_tensor(x))).shape)


def through_subclass(model: Net, x: torch.Tensor) -> Any:
    class Sub(torch.Tensor):
        pass

    result = model.second(model.first(x.as_subclass(Sub)))
    assert type(result) is Sub
    return result.as_subclass(torch.Tensor)


def as_weight_of_a_subclass(model: Net, x: torch.Tensor) -> Any:
    class Sub(torch.Tensor):
        pass

    return type(F.layer_norm(x, (160,), torch.ones(160).as_subclass(Sub))) is Sub


def through_compile(model: Net, x: torch.Tensor) -> Any:
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    return gradients(compiled, x)


def through_export(model: Net, x: torch.Tensor) -> Any:
    return torch.export.export(model, (x,)).module()(x)


KERNEL_PROGRAMS = (
    train_plainly, with_saved_hooks, with_anomaly_mode, with_checkpoint, in_inference_mode, copied,
)  # fmt: skip
OTHER_PROGRAMS = (
    with_autocast, traced, scripted, through_fx, through_vmap, through_func_grad, through_jvp, through_fake_tensors,
    through_subclass, as_weight_of_a_subclass, through_compile, through_export,
)  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("program", [*KERNEL_PROGRAMS, *OTHER_PROGRAMS], ids=lambda program: program.__name__)
def test_programs(program: Callable[[Net, torch.Tensor], Any]) -> None:
    x = drawn((12, 160), torch.float32)
    stock = program(net(), x)
    before = [calls(name) for name in NARY]
    with rusttorch.patch(list(NARY), min_numel=0):
        mine = program(net(), x)
    ran = [after - count for count, after in zip(before, (calls(name) for name in NARY), strict=True)]
    if program in KERNEL_PROGRAMS:
        # Stock torch has the first not under autocast, and the second not in export.
        without = [name for name, count in zip(NARY, ran, strict=True) if not count]
        assert without == ["binary_cross_entropy", "gaussian_nll_loss"]
    torch.testing.assert_close(mine, stock, rtol=1e-4, atol=1e-6)


def test_kernels_tell_as_many_kinds_of_inputs_apart() -> None:
    for name, row in NARY.items():
        assert patching.operations()[name].native.kinds == len(row.sized), name


@pytest.mark.parametrize("name", [row.name for row in NARY.values() if row.kinds])
def test_each_kind_of_input_has_its_own_sizes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row, x = NARY[name], drawn((64, 128), torch.float32)
    try:
        for kind, sized in enumerate(row.sized):
            modes = {each: dict.fromkeys(thresholds.MODES, (0, None) if each == sized else None) for each in row.sized}
            sizes = {each: {"float32": windows} for each, windows in modes.items()}
            monkeypatch.setattr(thresholds, "table", lambda *_, sizes=sizes: sizes)
            with rusttorch.patch(name, min_numel=0):
                pass  # sizes are set anew where they are asked for in another way
            with rusttorch.patch(name):
                for text in row.calls:
                    before = calls(name)
                    everything(row, text, x)
                    assert calls(name) - before == (3 if row.kind(text) == kind else 0), text
    finally:
        with rusttorch.patch(name, min_numel=0):
            pass


def test_changed_operands_are_noticed() -> None:
    x, weight = drawn((4, 160), torch.float32).requires_grad_(), torch.ones(160, requires_grad=True)
    with rusttorch.patch("layer_norm", min_numel=0):
        result = F.layer_norm(x, (160,), weight)
        with torch.no_grad():
            weight.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            result.sum().backward()


def test_what_is_explained_is_what_happens() -> None:
    x = drawn((4, 160), torch.float32)
    with rusttorch.patch(list(NARY), min_numel=0):
        assert rusttorch.explain(F.layer_norm, x, (160,)) == "accelerated"
        assert rusttorch.explain(F.layer_norm, x, (4,)) != "accelerated"
        assert rusttorch.explain(F.cross_entropy, x, torch.tensor([1, 2, 3, 160])) != "accelerated"
        assert rusttorch.explain(F.cross_entropy, x, torch.tensor([1, 2, 3, 4])) == "accelerated"
        before = calls("layer_norm")
        rusttorch.explain(F.layer_norm, x, (160,))
        assert calls("layer_norm") == before


def test_sizes_are_looked_at_again_when_another_tensor_needs_a_gradient() -> None:
    """A call whose input needs none is training all the same if its weight does."""
    x, weight = drawn((12, 160), torch.float32), torch.ones(160, requires_grad=True)
    with rusttorch.patch("rms_norm", min_numel=0):
        assert F.rms_norm(x, (160,), weight).requires_grad
        with torch.no_grad():
            assert not F.rms_norm(x, (160,), weight).requires_grad
