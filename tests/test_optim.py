"""Optimizers' steps against stock torch's, generated from the catalogue."""

from __future__ import annotations

import copy
import importlib
import inspect
import io
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from support import both, calls, comparable, declined, without_bits

import rusttorch
from rusttorch.catalog import STEPS

Optimizer = torch.optim.Optimizer


@pytest.fixture(autouse=True)
def counted() -> None:
    """Counts of this test alone."""
    rusttorch.report(reset=True)


#: A name of an optimizer's row, its class, and settings that take each way through the kernel.
SETTINGS: list[tuple[str, type[Optimizer], dict[str, Any]]] = [
    ("adam", torch.optim.Adam, {}),
    ("adam", torch.optim.Adam, {"lr": 0.02, "weight_decay": 0.1, "eps": 1e-3}),
    ("adam", torch.optim.Adam, {"betas": (0.3, 0.6), "maximize": True}),
    ("adam", torch.optim.AdamW, {}),
    ("adam", torch.optim.AdamW, {"lr": 1, "weight_decay": 0.3, "betas": (0.0, 0.9), "maximize": True}),
    ("adam", torch.optim.AdamW, {"foreach": True}),
    ("sgd", torch.optim.SGD, {"lr": 0.1}),
    ("sgd", torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("sgd", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    ("sgd", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}),
    ("sgd", torch.optim.SGD, {"lr": 0.1, "momentum": 0.7, "nesterov": True, "foreach": True}),
    ("rmsprop", torch.optim.RMSprop, {}),
    ("rmsprop", torch.optim.RMSprop, {"weight_decay": 0.1, "maximize": True, "alpha": 0.4}),
    ("rmsprop", torch.optim.RMSprop, {"momentum": 0.9}),
    ("rmsprop", torch.optim.RMSprop, {"centered": True, "eps": 0.1}),
    ("rmsprop", torch.optim.RMSprop, {"centered": True, "momentum": 0.5, "eps": 0.1, "alpha": 0.8}),
    ("adagrad", torch.optim.Adagrad, {}),
    ("adagrad", torch.optim.Adagrad, {"lr_decay": 0.1, "weight_decay": 0.1, "maximize": True}),
]
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

all_settings = pytest.mark.parametrize(
    ("row", "kind", "settings"), SETTINGS, ids=[f"{kind.__name__}-{settings}" for _, kind, settings in SETTINGS]
)

#: The names that the rows of old versions of torch have: AdamW's step is one of its own there.
ADAMW = "adam" if issubclass(torch.optim.AdamW, torch.optim.Adam) else "adamw"


def row_of(row: str, kind: type[Optimizer]) -> str:
    return ADAMW if kind is torch.optim.AdamW else row


def parameters(dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    """Of several shapes and layouts, larger than a piece of work and smaller than a register."""
    generator = torch.Generator().manual_seed(3)
    tensors = [torch.randn(sizes, generator=generator) for sizes in ((7,), (), (300, 130), (1,), (33, 5), (2, 3, 4, 5))]
    tensors[-1] = tensors[-1].contiguous(memory_format=torch.channels_last)
    tensors[-2] = tensors[-2].t()
    return [torch.nn.Parameter(tensor.to(dtype)) for tensor in tensors]


def set_gradients(params: list[torch.nn.Parameter], step: int, dtype: torch.dtype | None = None) -> None:
    """Those of a step, rounded to a type first."""
    generator = torch.Generator().manual_seed(100 + step)
    for param in params:
        gradient = torch.randn(param.shape, generator=generator).to(dtype or param.dtype).to(param.dtype)
        param.grad = torch.empty_like(param).copy_(gradient)


def train(optimizer: Optimizer, steps: range, dtype: torch.dtype | None = None) -> None:
    for step in steps:
        set_gradients(optimizer.param_groups[0]["params"], step, dtype)
        optimizer.step()


def tensors_of(optimizer: Optimizer) -> Iterator[torch.Tensor]:
    """The parameters, and what is kept of them."""
    for param in optimizer.param_groups[0]["params"]:
        yield param.detach()
        yield from (value for value in optimizer.state[param].values() if torch.is_tensor(value))


def errors(optimizer: Optimizer, truth: Optimizer) -> list[float]:
    """The largest differences of each tensor from that in double precision."""
    pairs = zip(tensors_of(optimizer), tensors_of(truth), strict=True)
    return [float((mine.double() - exact.double()).abs().max()) for mine, exact in pairs]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@all_settings
def test_steps(row: str, kind: type[Optimizer], settings: dict[str, Any], dtype: torch.dtype) -> None:
    stock, mine = (kind(parameters(dtype), **settings) for _ in range(2))
    exact = kind([torch.nn.Parameter(param.double()) for param in parameters(dtype)], **settings)
    steps = range(8)
    for optimizer in (stock, exact):
        train(optimizer, steps, dtype)
    with rusttorch.patch(min_numel=0):
        train(mine, steps)
    without_state = 1 if settings.get("momentum") and row == "sgd" else 0
    assert calls(row_of(row, kind)) == len(steps) - without_state
    for one, other in zip(tensors_of(mine), tensors_of(stock), strict=True):
        assert one.dtype == other.dtype and one.stride() == other.stride()
    unit = torch.finfo(dtype).eps
    for ours, theirs, tensor in zip(errors(mine, exact), errors(stock, exact), tensors_of(exact), strict=True):
        # Not all roundings are alike, and of few elements the largest error says little. In float16 stock's `eps` is
        # 0, and where the gradient is as well, it has a NaN.
        assert theirs != theirs or ours <= 1.5 * theirs + unit * float(tensor.abs().max())


@all_settings
def test_singles_are_as_good_as_stock_torchs(row: str, kind: type[Optimizer], settings: dict[str, Any]) -> None:
    """Over many elements, the largest error after a step is no larger."""
    generator = torch.Generator().manual_seed(5)
    values, gradient = torch.randn(200_000, generator=generator), torch.randn(200_000, generator=generator)

    def after(dtype: torch.dtype, accelerate: bool) -> Optimizer:
        param = torch.nn.Parameter(values.to(dtype))
        optimizer = kind([param], **settings)
        for _ in range(3):
            param.grad = gradient.to(dtype)
            if accelerate:
                with rusttorch.patch(row_of(row, kind), min_numel=0):
                    optimizer.step()
            else:
                optimizer.step()
        return optimizer

    exact = after(torch.float64, False)
    mine, stock = (errors(after(torch.float32, accelerate), exact) for accelerate in (True, False))
    for ours, theirs in zip(mine, stock, strict=True):
        assert ours <= 1.05 * theirs


@all_settings
def test_state_is_interchangeable(row: str, kind: type[Optimizer], settings: dict[str, Any]) -> None:
    stock = kind(parameters(), **settings)
    train(stock, range(6))
    mixed = kind(parameters(), **settings)
    for start in range(0, 6, 2):
        train(mixed, range(start, start + 1))
        saved = io.BytesIO()
        torch.save(mixed.state_dict(), saved)
        values = [param.detach().clone() for param in mixed.param_groups[0]["params"]]
        mixed = kind([torch.nn.Parameter(value) for value in values], **settings)
        saved.seek(0)
        mixed.load_state_dict(torch.load(saved))
        with rusttorch.patch(min_numel=0):
            train(mixed, range(start + 1, start + 2))
    assert without_bits(comparable(list(tensors_of(mixed)))) == without_bits(comparable(list(tensors_of(stock))))
    assert sorted(mixed.state_dict()["state"][0]) == sorted(stock.state_dict()["state"][0])
    for one, other in zip(tensors_of(mixed), tensors_of(stock), strict=True):
        torch.testing.assert_close(one, other)


@all_settings
def test_threads_do_not_change_results(row: str, kind: type[Optimizer], settings: dict[str, Any]) -> None:
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            optimizer = kind(parameters(), **settings)
            with rusttorch.patch(min_numel=0):
                train(optimizer, range(3))
            results.append(comparable(list(tensors_of(optimizer))))
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1]


@all_settings
def test_special_values(row: str, kind: type[Optimizer], settings: dict[str, Any]) -> None:
    """NaNs and infinities stay where stock torch has them."""
    special = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-45, 3e38])

    def program() -> Any:
        params = [torch.nn.Parameter(special.repeat_interleave(7))]
        optimizer = kind(params, **settings)
        for _ in range(3):
            params[0].grad = special.repeat(7)
            optimizer.step()
        return [(value.isnan(), value.isinf(), value.sign().nan_to_num()) for value in tensors_of(optimizer)]

    stock, mine = both(program)
    assert stock == mine


def hooked(optimizer: Optimizer) -> list[str]:
    seen: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    return seen


def test_groups_schedules_hooks_and_closures() -> None:
    def program() -> Any:
        params = parameters()
        optimizer = torch.optim.AdamW([{"params": params[:2], "lr": 0.1}, {"params": params[2:], "weight_decay": 0.0}])
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        seen, losses = hooked(optimizer), []

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = sum(param.square().sum() for param in params)
            loss.backward()
            return loss

        for _ in range(3):
            losses.append(optimizer.step(closure).item())
            schedule.step()
        return seen, schedule.get_last_lr(), [round(loss, 2) for loss in losses]

    stock, mine = both(program)
    assert stock == mine and calls(ADAMW) == 6


def one(**settings: Any) -> Callable[[], Any]:
    """A step of Adam on a parameter."""

    def program() -> Any:
        param = torch.nn.Parameter(torch.ones(40))
        param.grad = torch.full((40,), 0.5)
        optimizer = torch.optim.Adam([param], **settings)
        optimizer.step()
        return list(tensors_of(optimizer))

    return program


def of_parameter(make: Callable[[], tuple[torch.Tensor, torch.Tensor]], kind: Any = torch.optim.Adagrad) -> Any:
    """A step on a parameter with a gradient."""

    def program() -> Any:
        param, gradient = make()
        param.grad = gradient
        optimizer = kind([param])
        optimizer.step()
        return param.detach(), [value for value in optimizer.state[param].values() if torch.is_tensor(value)]

    return program


def expanded() -> tuple[torch.Tensor, torch.Tensor]:
    param = torch.nn.Parameter(torch.ones(4, 6))
    return param, torch.ones(4, 1).expand(4, 6)


def transposed() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.nn.Parameter(torch.ones(4, 6)), torch.ones(6, 4).t()


def gaps() -> tuple[torch.Tensor, torch.Tensor]:
    storage = torch.ones(4, 12)
    return storage[:, ::2].detach().requires_grad_(), torch.ones(4, 12)[:, ::2]


def sparse() -> tuple[torch.Tensor, torch.Tensor]:
    gradient = torch.sparse_coo_tensor([[1, 3]], [0.5, 0.25], (6,))
    return torch.nn.Parameter(torch.ones(6)), gradient


def complex_numbers() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.nn.Parameter(torch.ones(6, dtype=torch.complex64)), torch.ones(6, dtype=torch.complex64)


def aliased() -> tuple[torch.Tensor, torch.Tensor]:
    param = torch.nn.Parameter(torch.ones(6))
    return param, param.data


def no_elements() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.nn.Parameter(torch.ones(0)), torch.ones(0)


@pytest.mark.parametrize(
    ("program", "row", "reason"),
    [
        (one(amsgrad=True), "adam", "keyword not supported"),
        (one(fused=True), "adam", "keyword not supported"),
        (one(lr=torch.tensor(0.1)), "adam", "arguments not supported"),
        (of_parameter(expanded), "adagrad", "layout"),
        (of_parameter(transposed), "adagrad", "layout"),
        (of_parameter(gaps), "adagrad", "layout"),
        (of_parameter(sparse), "adagrad", "keyword not supported"),
        (of_parameter(complex_numbers), "adagrad", "keyword not supported"),
        (of_parameter(aliased), "adagrad", "shape or parameters outside the kernel's limits"),
        (of_parameter(no_elements), "adagrad", "empty"),
    ],
)
def test_what_kernels_decline(program: Callable[[], Any], row: str, reason: str) -> None:
    stock, mine = both(program, warm=True)
    assert stock[0] == "returned" and stock == mine
    assert calls(row) == 0 and declined(row) == {reason: 1}


def function() -> Any:
    """What Adam's step calls now; the module's name is not an attribute of torch.optim."""
    return importlib.import_module("torch.optim.adam").adam


def adam(*lists: list[torch.Tensor], **changes: Any) -> Any:
    """A call of it."""
    numbers = {"beta1": 0.9, "beta2": 0.999, "lr": 0.1, "weight_decay": 0.0, "eps": 1e-8, "maximize": False}
    return function()(*lists, **{"amsgrad": False, **numbers, **changes})


def lists(count: int = 2) -> list[list[torch.Tensor]]:
    """Those of Adam: parameters, gradients, averages, squares, none, and counts."""
    of = [[torch.full((5,), 0.5 + i) for i in range(count)] for _ in range(4)]
    return [*of, [], [torch.tensor(2.0) for _ in range(count)]]


@pytest.mark.parametrize(
    "change",
    [
        lambda given: given[1].__setitem__(1, torch.ones(4)),
        lambda given: given[2].__setitem__(1, torch.ones(5, 1)),
        lambda given: given[1].__setitem__(1, torch.ones(5, dtype=torch.int64)),
        lambda given: given[1].pop(),
        lambda given: given[5].pop(),
        lambda given: given[0].__setitem__(1, None),
        lambda given: given[0].__setitem__(1, "no tensor"),
        lambda given: given[5].__setitem__(1, 3),
        lambda given: given[5].__setitem__(1, torch.tensor(-1.0)),
        lambda given: given[5].__setitem__(1, torch.ones(2)),
    ],
)
def test_errors_are_stock_torchs(change: Callable[[Any], None]) -> None:
    """With what they leave behind: stock torch has updated the parameters before the one that fails."""

    def program() -> Any:
        given = lists()
        change(given)
        try:
            with torch.no_grad():
                adam(*given)
        except Exception as error:
            return type(error), str(error), given
        return "returned", given

    stock, mine = both(program)
    assert stock == mine
    assert calls("adam") == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"beta1": 1.0},
        {"beta1": "0.9"},
        {"lr": None},
        {"unknown": 1},
        {"maximize": 1},
        {"grad_scale": torch.ones(())},
        {"foreach": True, "fused": True},
    ],
)
def test_wrong_settings_are_stock_torchs(settings: dict[str, Any]) -> None:
    def program() -> Any:
        given = lists()
        with torch.no_grad():
            adam(*given, **settings)
        return given

    stock, mine = both(program)
    assert stock == mine and calls("adam") == 0


def test_missing_arguments_are_stock_torchs() -> None:
    stock, mine = both(lambda: function()(*lists(), amsgrad=False))
    assert stock == mine and stock[0] == "raised"


def test_nothing_runs_where_gradients_are_recorded() -> None:
    def program() -> Any:
        given = lists()
        given[0][0].requires_grad_()
        adam(*given)

    stock, mine = both(program)
    assert stock == mine and stock[0] == "raised" and calls("adam") == 0


def test_shared_memory_between_parameters_goes_to_stock_torch() -> None:
    """They are updated one after the other there."""

    def program() -> Any:
        given = lists()
        storage = torch.arange(8.0)
        given[0][:] = [storage[:5], storage[3:]]
        with torch.no_grad():
            adam(*given)
        return storage

    stock, mine = both(program)
    assert stock == mine and calls("adam") == 0


def test_gradients_may_share_memory(patched: rusttorch.Handle) -> None:
    given = lists()
    given[1][1] = given[1][0]
    with torch.no_grad():
        adam(*given)
    assert calls("adam") == 1


def test_autograd_sees_the_change() -> None:
    param = torch.nn.Parameter(torch.ones(40))
    optimizer = torch.optim.Adam([param])
    param.grad = torch.ones(40)
    optimizer.step()
    loss = param.square().sum()
    versions = [tensor._version for tensor in (param, *tensors_of(optimizer))]
    with rusttorch.patch(min_numel=0):
        optimizer.step()
    assert all(a < b._version for a, b in zip(versions, (param, *tensors_of(optimizer)), strict=True))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_modes_subclasses_and_inference() -> None:
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

    class Subclass(torch.Tensor):
        pass

    def program() -> Any:
        seen.clear()
        results = []
        for mode in (Functions(), Dispatch(), torch.inference_mode(), torch.autocast("cpu")):
            given = lists()
            with mode, torch.no_grad():
                adam(*given)
            results.append(given)
        given = lists()
        given[0][0] = given[0][0].as_subclass(Subclass)
        with torch.no_grad():
            adam(*given)
        return results, given, list(seen)

    seen: list[str] = []
    stock, mine = both(program)
    # In inference mode the kernel runs.
    assert stock == mine and calls("adam") == 1


@pytest.mark.parametrize("row", STEPS.values(), ids=STEPS)
def test_functions_look_like_stock_torchs(row: Any) -> None:
    (entrance,) = row.parsed()
    stock = getattr(entrance.holder(), entrance.attribute)
    with rusttorch.patch(row.name):
        mine = getattr(entrance.holder(), entrance.attribute)
        assert mine is not stock and mine.__wrapped__ is stock and mine == stock
        assert inspect.signature(mine) == inspect.signature(stock)
        assert (mine.__name__, mine.__module__, mine.__doc__) == (stock.__name__, stock.__module__, stock.__doc__)
        assert pickle.loads(pickle.dumps(mine)) is mine
        assert copy.deepcopy(mine) is mine
        known = {parameter.name for parameter in entrance.parameters}
        assert set(inspect.signature(stock).parameters) <= known
    assert getattr(entrance.holder(), entrance.attribute) is stock


def test_optimizers_are_copied_and_pickled(patched: rusttorch.Handle) -> None:
    optimizer = torch.optim.AdamW(parameters())
    train(optimizer, range(2))
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert comparable(list(tensors_of(other))) == comparable(list(tensors_of(optimizer)))
        train(other, range(2, 3))
    assert calls(ADAMW) == 4


def test_explain_and_report(patched: rusttorch.Handle) -> None:
    given, numbers = lists(), {"beta1": 0.9, "beta2": 0.999, "lr": 0.1, "weight_decay": 0.0, "eps": 1e-8}
    rest = {**numbers, "maximize": False}
    before = comparable(given)
    with torch.no_grad():
        assert rusttorch.explain(function(), *given, amsgrad=False, **rest) == "accelerated"
        assert rusttorch.explain(function(), *given, amsgrad=True, **rest) == "keyword not supported"
    assert comparable(given) == before
    with torch.no_grad():
        function()(*given, amsgrad=False, **rest)
    row = rusttorch.report().ops["adam"]
    assert (row["calls"], row["elements"]) == (1, 10)


def test_the_profiler_sees_it(patched: rusttorch.Handle) -> None:
    optimizer = torch.optim.Adam(parameters())
    set_gradients(optimizer.param_groups[0]["params"], 0)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        optimizer.step()
    assert "rusttorch::adam" in {event.key for event in profile.key_averages()}


def test_compiled_steps_are_stock_torchs() -> None:
    def program() -> Any:
        torch._dynamo.reset()
        optimizer = torch.optim.AdamW(parameters())
        step = torch.compile(optimizer.step, backend="eager")
        for index in range(2):
            set_gradients(optimizer.param_groups[0]["params"], index)
            step()
        return list(tensors_of(optimizer))

    stock, mine = both(program, warm=True)
    assert stock == mine and stock[0] == "returned" and calls(ADAMW) == 0
