"""What batch_norm does beside its result: running statistics, mixed types, layouts, and its autograd node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ops_cases as cases
import pytest
import torch
import torch.nn.functional as F
from support import both, outcome

import rusttorch
from rusttorch.catalog import NARY

ROW = NARY["batch_norm"]

#: Planes and columns, of few and of many channels, small ones and blocks; channels-last where the flag is set.
SHAPES = [
    ((5, 7), False), ((300, 257), False), ((2000, 3), False), ((9, 2100), False), ((33, 1), False), ((4, 6, 5), False),
    ((7, 3, 50, 50), False), ((5, 9, 45, 60), False), ((3, 2, 90, 130), False), ((20, 33, 2, 2), False),
    ((4, 6, 5, 7), True), ((7, 3, 50, 50), True), ((2, 5, 3, 4, 6), True), ((2, 3, 4, 5, 6), False),
]  # fmt: skip

#: Types of the input, and of weight, bias and statistics.
TYPES = [
    (torch.float32, torch.float32), (torch.float64, torch.float64), (torch.bfloat16, torch.bfloat16),
    (torch.float16, torch.float16), (torch.bfloat16, torch.float32), (torch.float16, torch.float32),
]  # fmt: skip


def runs_of(shape: tuple[int, ...]) -> int:
    """How often kernels run for a result and its gradient: not for many small planes."""
    inner = torch.Size(shape[2:]).numel()
    return 0 if 1 < inner < 64 and torch.Size(shape).numel() > 1024 else 2


def drawn(shape: tuple[int, ...], dtype: torch.dtype, seed: int, last: bool = False, shift: float = 0.0) -> Any:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.to(dtype).to(memory_format=formats[len(shape)] if last else torch.contiguous_format)


def everything(
    x: torch.Tensor, grad: torch.Tensor, dtype: torch.dtype, momentum: float = 0.1, affine: bool = True
) -> list[torch.Tensor]:
    """The result, the gradients and the running statistics."""
    channels = x.shape[1]
    mean, var = (torch.linspace(low, 2.0, channels).to(dtype) for low in (-2.0, 0.5))
    weight, bias = (torch.linspace(low, 1.5, channels).to(dtype).requires_grad_() for low in (0.5, -1.0))
    leaf = x.detach().requires_grad_()
    result = F.batch_norm(leaf, mean, var, *((weight, bias) if affine else ()), training=True, momentum=momentum)
    with torch.no_grad():
        means = [mean.clone(), var.clone()]
    gradients = torch.autograd.grad(result, (leaf, weight, bias) if affine else leaf, grad)
    for after, before in zip((mean, var), means, strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=0, equal_nan=True)
    return [result.detach(), *gradients, mean, var]


@pytest.mark.parametrize("types", TYPES, ids=str)
@pytest.mark.parametrize("shift", [0.0, 300.0])
def test_results_gradients_and_statistics(types: tuple[torch.dtype, torch.dtype], shift: float) -> None:
    dtype, param = types
    found = []
    for seed, (shape, last) in enumerate(SHAPES):
        x, grad = drawn(shape, dtype, seed, last, shift), drawn(shape, dtype, 99, last)
        for affine in (True, False):
            stock = everything(x, grad, param, affine=affine)
            truth = everything(x.double(), grad.double(), torch.float64, affine=affine)
            with cases.accelerated(ROW) as runs:  # type: ignore[arg-type]
                mine = everything(x, grad, param, affine=affine)
                assert runs() == runs_of(shape)
            for index, (a, b, exact) in enumerate(zip(mine, stock, truth, strict=True)):
                assert (a.dtype, a.shape, a.stride()) == (b.dtype, b.shape, b.stride())
                unit = torch.finfo(a.dtype).eps * max(1.0, float(exact.abs().max()))
                error, allowed = (float((value.double() - exact).abs().max()) / unit for value in (a, b))
                # In double precision the reference is stock torch's own.
                floor = 1e5 if dtype == torch.float64 else 1.5
                if error > max(1.5 * allowed, floor):
                    found.append(f"{shape} {index}: {error:.3g}, stock {allowed:.3g}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 1.0, 1.5, -1.0, float("nan"), float("inf"), 1, True])
def test_momentum(momentum: float) -> None:
    x, grad = drawn((40, 6), torch.float32, 0), drawn((40, 6), torch.float32, 1)
    stock = everything(x, grad, torch.float32, momentum)
    with cases.accelerated(ROW) as runs:  # type: ignore[arg-type]
        mine = everything(x, grad, torch.float32, momentum)
        assert runs() == 2
    for a, b in zip(mine, stock, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


def test_threads_do_not_change_results() -> None:
    before = torch.get_num_threads()
    try:
        for shape, last in (
            ((3000, 70), False), ((8, 5, 100, 100), False), ((8, 40, 30, 30), False), ((8, 5, 90, 90), True),
        ):  # fmt: skip
            x, grad = drawn(shape, torch.float32, 0, last), drawn(shape, torch.float32, 1, last)
            results = []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                with cases.accelerated(ROW):  # type: ignore[arg-type]
                    results.append(everything(x, grad, torch.float32))
            assert all(torch.equal(one, two) for one, two in zip(*results, strict=True)), shape
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38, 1e-40, 0.0])
def test_special_values_in_one_channel(value: float) -> None:
    for shape, last in (((40, 6), False), ((4, 6, 9, 9), False), ((4, 6, 9, 9), True)):
        x, grad = drawn(shape, torch.float32, 0, last), drawn(shape, torch.float32, 1, last)
        x[1, 2], x[2:, 3], x[-1, 4] = value, value, value
        stock, truth = everything(x, grad, torch.float32), everything(x.double(), grad.double(), torch.float64)
        with cases.accelerated(ROW) as runs:  # type: ignore[arg-type]
            mine = everything(x, grad, torch.float32)
            assert runs() == 2
        for a, b, exact in zip(mine, stock, truth, strict=True):
            # Stock torch's sums may overflow where the result does not.
            for kind in (torch.isnan, torch.isposinf, torch.isneginf):
                assert not ((kind(a) != kind(b)) & (kind(a) != kind(exact.float()))).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("name", "shape", "last"),
    [
        ("batch_norm", (4096, 64), False), ("batch_norm", (64, 16, 10, 10), False),
        ("batch_norm", (8, 6, 60, 60), False), ("batch_norm", (64, 16, 10, 10), True),
        ("instance_norm", (64, 16, 10, 10), False),
    ],
    ids=str,
)  # fmt: skip
def test_gradients_of_channels_that_cancel(name: str, shape: tuple[int, ...], last: bool, dtype: torch.dtype) -> None:
    """The sums of terms of either sign: of the second half of the samples those of the first, negated."""
    half = drawn((shape[0] // 2, *shape[1:]), dtype, 0)
    x, grad = drawn(shape, dtype, 1, last), torch.cat([half, -half.flip(0)])

    def gradients(dtype: torch.dtype) -> list[torch.Tensor]:
        of = torch.float32 if dtype == torch.bfloat16 else dtype
        weight, bias = (torch.full(shape[1:2], number, dtype=of, requires_grad=True) for number in (1.0, 0.0))
        if name == "batch_norm":
            result = F.batch_norm(x.to(dtype), None, None, weight, bias, training=True)
        else:
            result = F.instance_norm(x.to(dtype), weight=weight, bias=bias)
        return [found.double() for found in torch.autograd.grad(result, (weight, bias), grad.to(dtype))]

    stock, truth = gradients(dtype), gradients(torch.float64)
    with cases.accelerated(NARY[name]) as runs:  # type: ignore[arg-type]
        mine = gradients(dtype)
        assert runs() == 2
    for a, b, exact, floor in zip(mine, stock, truth, (2e-6, 1e-10), strict=True):
        error, allowed = (float((value - exact).abs().max()) for value in (a, b))
        assert error <= max(allowed, floor), f"error {error:.3g}, stock {allowed:.3g}"


def test_versions_are_stock_torchs() -> None:
    def versions(grad: bool) -> list[int]:
        x, mean, var = drawn((40, 6), torch.float32, 0).requires_grad_(grad), torch.zeros(6), torch.ones(6)
        F.batch_norm(x, mean, var, training=True)
        return [x._version, mean._version, var._version]

    for grad in (False, True):
        stock = versions(grad)
        with cases.accelerated(ROW) as runs:  # type: ignore[arg-type]
            assert versions(grad) == stock
            assert runs() == 1


def test_statistics_are_updated_once_and_never_by_what_declines() -> None:
    def run(*arguments: Any, **keywords: Any) -> tuple[Any, ...]:
        mean, var = torch.zeros(6), torch.ones(6)
        done = outcome(lambda: F.batch_norm(*arguments, mean, var, **keywords))
        return done[:3], mean.tolist(), var.tolist()

    x = drawn((40, 6), torch.float32, 0)
    for call in (
        lambda: run(x[:1], training=True),
        lambda: run(x, training=False),
        lambda: run(x, training=True, eps=-1.0),
        lambda: run(x, training=True, momentum=None),
        lambda: run(x, torch.ones(5), training=True),
    ):
        stock = call()
        with rusttorch.patch("batch_norm", min_numel=0):
            assert call() == stock


def overlapping() -> Any:
    both = torch.zeros(9)
    x = drawn((40, 6), torch.float32, 0)
    return F.batch_norm(x, both[:6], both[3:], training=True), both


def part_of_the_input() -> Any:
    x = drawn((40, 6), torch.float32, 0)
    return F.batch_norm(x, x[0], torch.ones(6), training=True), x


def apart() -> Any:
    both, x = torch.zeros(18), drawn((40, 6), torch.float32, 0)
    return F.batch_norm(x, both[:12:2], both[12:], training=True), both


def odd_strides() -> Any:
    x = drawn((4, 8), torch.float32, 0).as_strided((4, 8, 1, 1), (8, 1, 8, 8))
    return F.batch_norm(x, None, None, training=True)


@pytest.mark.parametrize("call", [overlapping, part_of_the_input, apart, odd_strides], ids=lambda call: call.__name__)
def test_what_is_stock_torchs(call: Callable[[], Any]) -> None:
    with cases.accelerated(ROW) as runs:  # type: ignore[arg-type]
        call()
        assert runs() == 0
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)  # stock torch's threads race for what overlaps
        stock, mine = both(call)
    finally:
        torch.set_num_threads(before)
    assert mine == stock


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("of", ["row-major", "channels-last", "expanded"])
def test_gradients_of_any_layout(last: bool, of: str) -> None:
    def gradient() -> torch.Tensor:
        x = drawn((4, 6, 5, 7), torch.float32, 0, last).requires_grad_()
        result = F.batch_norm(x, None, None, torch.linspace(0.5, 1.5, 6), training=True)
        grad = drawn((4, 6, 5, 7), torch.float32, 1, of == "channels-last")
        grad = grad[:, :, :1, :1].expand_as(result) if of == "expanded" else grad
        return torch.autograd.grad(result, x, grad)[0]

    stock = gradient()
    with cases.accelerated(ROW) as runs:  # type: ignore[arg-type]
        mine = gradient()
        assert runs() == 2
    assert mine.stride() == stock.stride()
    torch.testing.assert_close(mine, stock)


def test_the_node_is_stock_torchs() -> None:
    def node(**keywords: Any) -> tuple[Any, ...]:
        x = drawn((4, 6), torch.float32, 0).requires_grad_()
        mean, var, weight = torch.zeros(6), torch.ones(6), torch.ones(6, requires_grad=True)
        node = F.batch_norm(x, mean, var, weight, torch.zeros(6, requires_grad=True), training=True).grad_fn
        return (
            node.name(), [type(of).__name__ for of, _ in node.next_functions],
            node._saved_input is x, node._saved_weight is weight, node._saved_running_mean.tolist(),
        )  # fmt: skip

    stock = node()
    with cases.accelerated(ROW) as runs:  # type: ignore[arg-type]
        assert node() == stock
        assert runs() == 1


@pytest.mark.parametrize("changed", ["x", "mean", "var", "weight", "bias"])
def test_what_changes_before_backward(changed: str) -> None:
    def run() -> tuple[Any, ...]:
        x = drawn((4, 6), torch.float32, 0).requires_grad_()
        tensors = {"x": x * 1, "mean": torch.zeros(6), "var": torch.ones(6)}
        tensors |= {"weight": torch.ones(6, requires_grad=True), "bias": torch.zeros(6, requires_grad=True)}
        result = F.batch_norm(*tensors.values(), training=True)
        with torch.no_grad():
            tensors[changed].add_(1)
        try:
            result.sum().backward()
        except RuntimeError as error:
            return (type(error),)
        return (tensors["bias"].grad.tolist(),)

    stock = run()
    with cases.accelerated(ROW) as runs:  # type: ignore[arg-type]
        assert run() == stock
        assert runs() > 0


def test_a_second_derivative_with_statistics() -> None:
    x, mean, var = drawn((5, 4, 3), torch.float64, 0), torch.zeros(4).double(), torch.ones(4).double()
    weight, bias = (torch.linspace(low, 1.0, 4, dtype=torch.float64).requires_grad_() for low in (0.5, -1.0))

    def call(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, mean, var, weight, bias, training=True)

    with cases.accelerated(ROW):  # type: ignore[arg-type]
        assert torch.autograd.gradgradcheck(call, (x.requires_grad_(), weight, bias))


def trained(compiled: bool = False, inference: bool = False) -> list[torch.Tensor]:
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 16)]
    # Stock torch does not compile the average that `None` stands for.
    model = torch.nn.Sequential(*layers, torch.nn.BatchNorm1d(16, momentum=0.2 if compiled else None))
    call = torch.compile(model, backend="aot_eager", fullgraph=True) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        call(drawn((6, 3, 8, 8), torch.float32, step)).square().mean().backward()
        optimizer.step()
    with torch.inference_mode(inference):
        # In inference mode running statistics are written to all the same.
        model(drawn((6, 3, 8, 8), torch.float32, 9))
    model.eval()
    with torch.no_grad():
        result = model(drawn((6, 3, 8, 8), torch.float32, 9))
    return [result, *model.state_dict().values()]


@pytest.mark.parametrize("keywords", [{}, {"inference": True}, {"compiled": True}], ids=str)
def test_training(keywords: dict[str, bool]) -> None:
    stock = trained(**keywords)
    with rusttorch.patch("batch_norm", min_numel=0):
        mine = trained(**keywords)
    for a, b in zip(mine, stock, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
