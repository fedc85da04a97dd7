"""What is done to all gradients of a model, clipping above all, against stock torch's."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch
from support import both, calls, comparable, declined, without_bits

import rusttorch
from rusttorch.catalog import CLIPS

utils = torch.nn.utils
HALVES = hasattr(utils, "get_total_norm")  # torch 2.6 and later
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
NORMS = (1, 2, 2.0, math.inf)
ROWS = tuple(CLIPS)

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
every_norm = pytest.mark.parametrize("norm", NORMS)


@pytest.fixture(autouse=True)
def counted() -> None:
    """Counts of this test alone."""
    rusttorch.report(reset=True)


def parameters(dtype: torch.dtype = torch.float32, scale: float = 1.0) -> list[torch.nn.Parameter]:
    """Of several shapes and layouts, larger than a piece of work and smaller than a register; one has no gradient."""
    generator = torch.Generator().manual_seed(3)
    params = []
    for sizes in ((7,), (), (300, 130), (1,), (33, 5), (2, 3, 4, 5)):
        param = torch.nn.Parameter(torch.zeros(sizes, dtype=dtype))
        gradient = (scale * torch.randn(sizes, generator=generator)).to(dtype)
        param.grad = gradient.t().contiguous().t() if len(sizes) == 2 else gradient
        params.append(param)
    params.insert(2, torch.nn.Parameter(torch.zeros(3)))
    return params


def gradients(params: list[torch.nn.Parameter]) -> list[torch.Tensor | None]:
    return [param.grad for param in params]


def counts(names: Iterable[str] = ROWS) -> dict[str, int]:
    return {name: calls(name) for name in names if calls(name)}


def same(program: Callable[[], Any], **kernels: int) -> None:
    """The program computes as with stock torch, by so many runs of kernels."""
    stock, mine = both(program, warm=True)
    assert stock == mine
    # Stock torch's functions call the halves, which kernels may take.
    assert counts(kernels or ("clip_grad_norm_", "clip_grad_value_")) == kernels


@every_dtype
@every_norm
def test_norms(norm: float, dtype: torch.dtype) -> None:
    params = parameters(dtype)
    grads = [grad for grad in gradients(params) if grad is not None]
    numbers = torch.cat([grad.double().reshape(-1) for grad in grads]).abs()
    exact = numbers.max() if norm == math.inf else numbers.new_tensor(math.fsum(numbers**norm)) ** (1 / norm)
    stock = utils.clip_grad_norm_(params, 0.5, norm)
    params = parameters(dtype)
    with rusttorch.patch(min_numel=0):
        mine = utils.clip_grad_norm_(params, 0.5, norm)
    assert counts() == {"clip_grad_norm_": 1}
    assert without_bits(comparable(mine)) == without_bits(comparable(stock))
    # Double precision is no reference for itself.
    assert dtype == torch.float64 or abs(mine.double() - exact) <= abs(stock.double() - exact)
    assert abs(mine.double() - exact) <= (8 if dtype == torch.float64 else 1) * torch.finfo(dtype).eps * exact
    # By this norm, what becomes of the gradients is what stock torch makes of them.
    factor = torch.clamp(0.5 / (mine + 1e-6), max=1.0)
    for param, before in zip(params, parameters(dtype), strict=True):
        if before.grad is not None:
            assert comparable(param.grad) == comparable(before.grad.mul_(factor))


@every_dtype
@pytest.mark.parametrize("scale", [2.0**-10, 1.0])
def test_one_gradient_is_clipped_to_the_bit(scale: float, dtype: torch.dtype) -> None:
    """Where the sum has few terms, the norms are alike, and so are the gradients; below the norm they stay."""

    def program() -> Any:
        param = torch.nn.Parameter(torch.zeros(3, dtype=dtype))
        param.grad = torch.tensor([3.0, -4.0, 0.0]).mul(scale).to(dtype)
        version = param.grad._version
        return utils.clip_grad_norm_(param, 1.0), param.grad, param.grad._version - version

    same(program, clip_grad_norm_=1)


@every_dtype
@pytest.mark.parametrize("value", [0.5, 1, 1e-4, math.inf, 3.0])
@pytest.mark.parametrize("foreach", [None, True, False])
def test_values(foreach: bool | None, value: float, dtype: torch.dtype) -> None:
    def program() -> Any:
        params = parameters(dtype)
        params[0].grad[:3] = torch.tensor([math.nan, math.inf, -0.0])  # type: ignore[index]
        versions = [grad._version for grad in gradients(params) if grad is not None]
        result = utils.clip_grad_value_(params, value, foreach=foreach)
        after = [grad._version for grad in gradients(params) if grad is not None]
        # Which NaN it is does not matter.
        values = [None if grad is None else grad.nan_to_num(nan=7.0) for grad in gradients(params)]
        return result, values, [b - a for a, b in zip(versions, after, strict=True)]

    same(program, clip_grad_value_=1)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, 1e300, "1", None, torch.tensor(0.5)])
@every_dtype
def test_other_values_are_stock(dtype: torch.dtype, value: Any) -> None:
    def program() -> Any:
        params = parameters(dtype)
        try:
            utils.clip_grad_value_(params, value)
        except Exception as error:
            return type(error), str(error), gradients(params)
        return gradients(params)

    stock, mine = both(program)
    assert stock == mine
    assert counts() == ({"clip_grad_value_": 1} if (value, dtype) == (1e300, torch.float64) else {})


@pytest.mark.parametrize("special", [math.nan, math.inf, -math.inf])
@every_norm
def test_what_is_not_finite(norm: float, special: float) -> None:
    def grads() -> list[torch.nn.Parameter]:
        params = parameters()
        params[2 + 1].grad[5, 7] = special  # type: ignore[index]
        return params

    def clipped() -> Any:
        params = grads()
        total = utils.clip_grad_norm_(params, 1.0, norm)
        return str(total), [None if grad is None else grad.nan_to_num(nan=7.0) for grad in gradients(params)]

    same(clipped, clip_grad_norm_=1)
    rusttorch.report(reset=True)

    def refused() -> Any:
        params = grads()
        try:
            utils.clip_grad_norm_(params, 1.0, norm, error_if_nonfinite=True)
        except RuntimeError as error:
            return str(error), [None if grad is None else grad.nan_to_num(nan=7.0) for grad in gradients(params)]
        return "not refused"

    same(refused)


def test_norms_that_overflow_in_stock_torch_are_its_own() -> None:
    def program() -> Any:
        param = torch.nn.Parameter(torch.zeros(4))
        param.grad = torch.full((4,), 1e30)
        half = torch.nn.Parameter(torch.zeros(4, dtype=torch.float16))
        half.grad = torch.full((4,), 60000.0, dtype=torch.float16)
        other = torch.nn.Parameter(torch.zeros(4))
        other.grad = torch.ones(4)
        return utils.clip_grad_norm_([param], 1.0), param.grad, utils.clip_grad_norm_([half, other], 1.0), half.grad

    same(program)


@pytest.mark.parametrize("norm", [0, 0.5, 3, -math.inf, "inf", "2"])
def test_other_norms_are_stock(norm: Any) -> None:
    same(lambda: utils.clip_grad_norm_(parameters(), 1.0, norm))


@pytest.mark.parametrize("max_norm", [None, "a", [1.0], torch.tensor(0.5), 1j])
def test_other_limits_are_stock(max_norm: Any) -> None:
    same(lambda: utils.clip_grad_norm_(parameters(), max_norm))


@pytest.mark.parametrize("max_norm", [0, 0.0, -1, math.inf, math.nan, True, 10**6, 1e-30])
def test_limits(max_norm: float) -> None:
    def program() -> Any:
        param = torch.nn.Parameter(torch.zeros(3))
        param.grad = torch.tensor([3.0, -4.0, -0.0])
        return utils.clip_grad_norm_([param], max_norm), param.grad.nan_to_num(nan=7.0)

    same(program, clip_grad_norm_=1)


def test_types_meet() -> None:
    def program() -> Any:
        results = []
        for some in ((0, 1), (2, 3), (1, 2), (2, 0), (3, 2, 1, 0)):
            params = []
            for index in some:
                param = torch.nn.Parameter(torch.zeros(2, dtype=DTYPES[index]))
                param.grad = torch.tensor([3.0 * index, 4.0], dtype=DTYPES[index])
                params.append(param)
            total = utils.clip_grad_norm_(params, 2.0, math.inf)
            utils.clip_grad_value_(params, 0.25)
            results.append((total, gradients(params)))
        return results

    same(program, clip_grad_norm_=5, clip_grad_value_=5)


@pytest.mark.parametrize(
    "pack",
    [list, tuple, iter, lambda params: (param for param in params), lambda params: dict(enumerate(params)).values(),
     torch.nn.ParameterList, lambda params: map(lambda param: param, params)],
)  # fmt: skip
def test_what_parameters_come_in(pack: Callable[[list[torch.nn.Parameter]], Any]) -> None:
    def program() -> Any:
        params = parameters(scale=0.001)
        utils.clip_grad_value_(pack(params), 0.001)
        return utils.clip_grad_norm_(pack(params), 10, math.inf, foreach=False), gradients(params)

    same(program, clip_grad_norm_=1, clip_grad_value_=1)


def test_generators_are_whole_for_stock_torch() -> None:
    """They are at their end when a kernel declines."""

    def program() -> Any:
        params = parameters()
        params[-1].grad = torch.zeros(2, 3, 4, 5).expand(2, 3, 4, 5)[..., ::1].to_sparse()
        named = torch.nn.ParameterList(params).parameters()
        utils.clip_grad_value_(parameters=(param for param in [*params[:-1], expanded()]), clip_value=0.5)
        return utils.clip_grad_norm_((param for param in [*params[:-1], expanded()]), max_norm=1.0), len(list(named))

    def expanded() -> torch.nn.Parameter:
        param = torch.nn.Parameter(torch.zeros(4, 6))
        param.grad = torch.ones(4, 12)[:, ::2]
        return param

    same(program)
    assert declined("clip_grad_norm_") == {"layout": 1}


def test_nothing_to_clip() -> None:
    def program() -> Any:
        params = [torch.nn.Parameter(torch.ones(3))]
        return (
            utils.clip_grad_norm_([], 1.0),
            utils.clip_grad_norm_(params, 1.0),
            utils.clip_grad_norm_((param for param in ()), 1.0),
            utils.clip_grad_value_((param for param in params), 1.0),
        )

    same(program)


def test_generators_that_fail_fail_alike() -> None:
    def broken() -> Iterator[torch.nn.Parameter]:
        yield from parameters()
        raise ArithmeticError("no more")

    same(lambda: utils.clip_grad_norm_(broken(), 1.0))
    same(lambda: utils.clip_grad_norm_(3, 1.0))
    same(lambda: utils.clip_grad_norm_([3], 1.0))
    same(lambda: utils.clip_grad_norm_(parameters()))


def overlapping() -> list[torch.nn.Parameter]:
    storage = torch.arange(8.0)
    params = [torch.nn.Parameter(torch.zeros(5)) for _ in range(2)]
    params[0].grad, params[1].grad = storage[:5], storage[3:]
    return params


def recorded() -> list[torch.Tensor]:
    x = torch.nn.Parameter(torch.ones(5))
    (x**3).sum().backward(create_graph=True)
    return [x]


class Subclass(torch.Tensor):
    pass


def subclassed() -> list[torch.Tensor]:
    x = torch.ones(5).as_subclass(Subclass).requires_grad_()
    x.grad = torch.ones(5).as_subclass(Subclass)
    return [x]


def one_subclassed() -> torch.Tensor:
    """Which is no list of its rows."""
    (x,) = subclassed()
    return x


def inner() -> list[torch.Tensor]:
    """No leaf: torch warns of its gradient."""
    return [torch.ones(5, requires_grad=True) * 2]


def no_numbers() -> list[torch.Tensor]:
    x = torch.nn.Parameter(torch.ones(0))
    x.grad = torch.ones(0)
    return [x]


@pytest.mark.parametrize(
    "make",
    [
        overlapping,
        lambda: parameters()[:1] * 2,
        lambda: [torch.nn.Parameter(torch.ones(4, dtype=torch.complex64))],
        recorded,
        subclassed,
        one_subclassed,
        inner,
        no_numbers,
    ],
)
def test_what_kernels_decline(make: Callable[[], Any]) -> None:
    def program() -> Any:
        given = make()
        params = [given] if isinstance(given, torch.Tensor) else given
        for param in params:
            if param.is_complex():
                param.grad = torch.ones_like(param)
        total = utils.clip_grad_norm_(given, 0.5)
        if not params[0].is_complex():
            utils.clip_grad_value_(given, 0.25)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return total, [param.grad for param in params]

    same(program)


def test_tensors_that_are_no_parameters() -> None:
    def program() -> Any:
        leaf = torch.ones(5, requires_grad=True)
        kept = leaf * 3
        kept.retain_grad()
        kept.sum().backward()
        return utils.clip_grad_norm_([leaf], 1.0), leaf.grad, utils.clip_grad_norm_(kept, 1.0), kept.grad

    same(program, clip_grad_norm_=1)


def test_threads_do_not_change_results() -> None:
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            params = parameters()
            with rusttorch.patch(min_numel=0):
                results.append(comparable([utils.clip_grad_norm_(params, 1.0), gradients(params)]))
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1]


def test_autograd_sees_the_change() -> None:
    for clip in (utils.clip_grad_norm_, utils.clip_grad_value_):
        x = torch.nn.Parameter(torch.ones(4))
        x.grad = torch.full((4,), 3.0)
        weight = torch.ones(4, requires_grad=True)
        result = (x.grad * weight).sum()
        with rusttorch.patch(min_numel=0):
            getattr(utils, clip.__name__)([x], 0.5)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            result.backward()


def test_modes_inference_and_autocast() -> None:
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    class Functions(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(function.__name__)
            return function(*args, **(kwargs or {}))

    class Dispatch(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    def program() -> Any:
        seen.clear()
        results = []
        for mode in (Functions(), Dispatch(), torch.autocast("cpu")):
            params = parameters()
            with mode:
                results += [utils.clip_grad_norm_(params, 1.0), gradients(params)]
        return results, list(seen)

    seen: list[str] = []
    same(program)


@pytest.mark.skipif(not HALVES, reason="of torch 2.6 and later")
@every_dtype
def test_halves(dtype: torch.dtype) -> None:
    def whole() -> Any:
        params = parameters(dtype)
        return utils.clip_grad_norm_(params, 0.7), gradients(params)

    def in_two() -> Any:
        params = parameters(dtype)
        grads = [grad for grad in gradients(params) if grad is not None]
        total = utils.get_total_norm(grads, error_if_nonfinite=True)
        utils.clip_grads_with_norm_(params, 0.7, total)
        return total, gradients(params)

    with rusttorch.patch(min_numel=0):
        assert comparable(whole()) == comparable(in_two())
    assert counts() == {"clip_grad_norm_": 1, "get_total_norm": 1, "clip_grads_with_norm_": 1}

    def given() -> Any:
        params = parameters(dtype)
        versions = [grad._version for grad in gradients(params) if grad is not None]
        for total in (torch.tensor(1.7), torch.tensor(2.3, dtype=torch.float64), torch.tensor(3.3).bfloat16()):
            utils.clip_grads_with_norm_((param for param in params), 0.7, total)
        after = [grad._version for grad in gradients(params) if grad is not None]
        return gradients(params), [b - a for a, b in zip(versions, after, strict=True)]

    rusttorch.report(reset=True)
    same(given, clip_grads_with_norm_=3)


@pytest.mark.skipif(not HALVES, reason="of torch 2.6 and later")
@pytest.mark.parametrize("total", [2.0, torch.tensor([2.0]), torch.tensor(2), torch.tensor(2.0, requires_grad=True)])
def test_other_totals_are_stock(total: Any) -> None:
    def program() -> Any:
        params = parameters()
        utils.clip_grads_with_norm_(params, 1.0, total)
        return gradients(params)

    same(program)


@pytest.mark.parametrize("name", ROWS)
def test_functions_look_like_stock_torchs(name: str) -> None:
    for entrance in CLIPS[name].parsed():
        stock = getattr(entrance.holder(), entrance.attribute, None)
        if stock is None:
            continue
        known = [parameter.name for parameter in entrance.parameters]
        assert list(inspect.signature(stock).parameters) == known
        with rusttorch.patch(name):
            assert getattr(entrance.holder(), entrance.attribute) is not stock


def test_explain(patched: rusttorch.Handle) -> None:
    params = parameters()
    before = comparable(gradients(params))
    assert rusttorch.explain(utils.clip_grad_norm_, params, 1.0) == "accelerated"
    reason = "shape or parameters outside the kernel's limits"
    assert rusttorch.explain(utils.clip_grad_norm_, params, 1.0, 3.0) == reason
    assert rusttorch.explain(utils.clip_grad_value_, params, 1.0) == "accelerated"
    assert comparable(gradients(params)) == before and counts() == {}


def test_compiled_code_is_stock_torchs() -> None:
    def program() -> Any:
        torch._dynamo.reset()
        params = [torch.nn.Parameter(torch.zeros(3))]
        params[0].grad = torch.tensor([3.0, -4.0, 0.5])
        total = torch.compile(lambda: utils.clip_grad_norm_(params, 1.0), backend="eager")()
        return total, gradients(params)

    same(program)
