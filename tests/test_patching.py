"""Switching on and off."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import wrapt
from support import calls, declined
from torch._subclasses.fake_tensor import FakeTensorMode

import rusttorch
from rusttorch.catalog import EVERY
from rusttorch.patching import built

X = torch.linspace(-3, 3, 64)


def snapshot() -> dict[str, object]:
    """Every attribute that the catalogue replaces, as the holder's own dictionary has it."""
    found = {}
    for row in EVERY.values():
        for entrance in row.parsed():
            holder = entrance.holder()
            found[entrance.path] = vars(holder).get(entrance.attribute, "absent")
    return found


@pytest.fixture(autouse=True)
def as_found() -> Iterator[None]:
    before = snapshot()
    yield
    after = snapshot()
    assert {path for path in before if before[path] is not after[path]} == set()


def is_on(name: str = "relu") -> bool:
    """Whether a call is taken by a kernel, and `is_patched` says so."""
    before = calls(name)
    getattr(F, name)(X)
    on = calls(name) > before
    assert rusttorch.is_patched(name) == on
    return on


def test_torch_is_untouched_by_the_import() -> None:
    assert not rusttorch.is_patched()
    assert type(F.relu) is types.FunctionType
    assert "relu" not in vars(torch.Tensor)


def test_patch_and_undo() -> None:
    stock, tensor_attributes = F.relu, set(vars(torch.Tensor))
    handle = rusttorch.patch(min_numel=0)
    assert F.relu is not stock
    assert "relu" in vars(torch.Tensor)
    assert is_on()
    handle.undo()
    assert F.relu is stock
    assert set(vars(torch.Tensor)) == tensor_attributes
    assert not is_on()
    handle.undo()  # once more does nothing
    assert F.relu is stock


def test_every_entrance_is_replaced_while_on() -> None:
    before = snapshot()
    with rusttorch.patch(min_numel=0):
        during = snapshot()
    assert {path for path in before if before[path] is during[path]} == set()


def test_handle_is_a_context_manager() -> None:
    with rusttorch.patch("relu", min_numel=0) as handle:
        assert handle.ops == ("relu",)
        assert is_on()
        assert "on" in repr(handle)
    assert not is_on()
    assert "off" in repr(handle)
    with handle:
        assert is_on()
    assert not is_on()


def test_patch_is_a_decorator() -> None:
    @rusttorch.patch("relu", min_numel=0)
    def inside(x: int) -> int:
        """Text."""
        assert is_on()
        return x + 1

    assert not is_on()
    assert inside(1) == 2
    assert inside.__name__ == "inside" and inside.__doc__ == "Text."
    assert not is_on()


def test_accelerate_applies_on_enter_only() -> None:
    manager = rusttorch.accelerate("relu", min_numel=0, memory=False)
    assert not is_on()
    with manager:
        assert is_on()
        with manager:
            assert is_on()
        assert is_on()
    assert not is_on()


def test_accelerate_is_a_decorator() -> None:
    @rusttorch.accelerate("relu", min_numel=0)
    def factorial(n: int) -> int:
        assert is_on()
        return n * factorial(n - 1) if n else 1

    assert factorial(4) == 24
    assert not is_on()


@pytest.mark.parametrize("decorator", [rusttorch.accelerate, rusttorch.patch])
def test_decorates_coroutines(decorator: object) -> None:
    @decorator("relu", min_numel=0)
    async def inside() -> str:
        assert is_on()
        await asyncio.sleep(0)
        assert is_on()
        return "done"

    assert not is_on()
    assert asyncio.iscoroutinefunction(inside)
    assert asyncio.run(inside()) == "done"
    assert not is_on()


def test_decorates_generators() -> None:
    @rusttorch.accelerate("relu", min_numel=0)
    def inside() -> Iterator[bool]:
        yield is_on()
        yield is_on()

    assert list(inside()) == [True, True]
    assert not is_on()


def test_nesting() -> None:
    with rusttorch.accelerate("relu", min_numel=0):
        with rusttorch.accelerate("gelu", min_numel=0):
            assert is_on("relu") and is_on("gelu")
            with rusttorch.accelerate(["relu", "gelu"], min_numel=0):
                pass
            assert is_on("relu") and is_on("gelu")
        assert is_on("relu") and not is_on("gelu")
    assert not is_on("relu")


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_undo_in_any_order(order: tuple[int, ...]) -> None:
    wanted = [("relu", "gelu"), ("gelu", "silu"), ("relu", "silu")]
    handles = [rusttorch.patch(ops, min_numel=0) for ops in wanted]
    open_ones = {0, 1, 2}
    for index in order:
        handles[index].undo()
        open_ones.remove(index)
        for name in ("relu", "gelu", "silu"):
            assert is_on(name) == any(name in wanted[i] for i in open_ones)


def test_latest_handle_decides_sizes_and_gives_them_back() -> None:
    with rusttorch.patch("relu", min_numel=0):
        assert rusttorch.explain(F.relu, X) == "accelerated"
        with rusttorch.patch("relu", min_numel=1000):
            assert rusttorch.explain(F.relu, X) != "accelerated"
        assert rusttorch.explain(F.relu, X) == "accelerated"


def test_exception_inside_restores() -> None:
    with pytest.raises(ZeroDivisionError), rusttorch.accelerate(min_numel=0):
        raise ZeroDivisionError
    assert not is_on()


def test_interrupt_inside_restores() -> None:
    # A job in the background ignores interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _interrupt_inside()
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt_inside() -> None:
    with pytest.raises(KeyboardInterrupt), rusttorch.accelerate(min_numel=0):
        while True:
            F.relu(X)
            signal.raise_signal(signal.SIGINT)
    assert not is_on()
    with rusttorch.patch(min_numel=0):
        assert is_on()


def test_ops_and_exclude() -> None:
    with rusttorch.patch(["softmax", "relu"]):
        assert rusttorch.active_ops() == ["relu", "softmax"]
    with rusttorch.patch(exclude="relu"):
        assert "relu" not in rusttorch.active_ops()
        assert rusttorch.active_ops() == [name for name in rusttorch.ops() if name != "relu"]
    with rusttorch.patch(["relu", "gelu"], exclude=["gelu"]):
        assert rusttorch.active_ops() == ["relu"]
    assert rusttorch.active_ops() == []
    assert rusttorch.ops() == list(EVERY)


@pytest.mark.parametrize("function", [rusttorch.patch, rusttorch.accelerate])
@pytest.mark.parametrize("argument", ["ops", "exclude"])
def test_unknown_op_names_the_near_ones(function: object, argument: str) -> None:
    with pytest.raises(ValueError, match=r"unknown op 'sofmax'; did you mean softmax"):
        function(**{argument: ["sofmax"]})
    with pytest.raises(ValueError, match=r"unknown op 'zzzz'; known are relu,"):
        function(**{argument: "zzzz"})


def test_unknown_op_in_questions() -> None:
    with pytest.raises(ValueError, match="unknown op 'rleu'; did you mean relu"):
        rusttorch.is_patched("rleu")


@pytest.mark.parametrize("function", [rusttorch.patch, rusttorch.accelerate])
@pytest.mark.parametrize(
    "wrong", [{"min_numel": -1}, {"min_numel": 1.5}, {"min_numel": True}, {"memory": -1}, {"memory": "yes"}]
)
def test_wrong_values_are_refused(function: object, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        function(**wrong)


def test_wrapper_set_later_survives_undo() -> None:
    seen = []
    handle = rusttorch.patch("relu", min_numel=0)
    ours = F.relu

    def wrapper(input: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        seen.append(input)
        return ours(input, inplace)

    F.relu = wrapper
    try:
        before = calls("relu")
        assert torch.equal(F.relu(X), X.clamp(min=0))
        assert len(seen) == 1 and calls("relu") == before + 1
        handle.undo()
        assert F.relu is wrapper
        assert torch.equal(F.relu(X), X.clamp(min=0))
        assert len(seen) == 2 and calls("relu") == before + 1
        with rusttorch.patch("relu", min_numel=0):  # through the wrapper, ours is on again
            assert F.relu is wrapper
            F.relu(X)
            assert len(seen) == 3 and calls("relu") == before + 2
    finally:
        F.relu = ours.__wrapped__


def test_wrapt_wrapper_survives_undo() -> None:
    seen = []
    stock = F.relu

    def wrapper(wrapped: object, instance: object, args: tuple, kwargs: dict) -> torch.Tensor:
        seen.append(args)
        return wrapped(*args, **kwargs)

    with rusttorch.patch("relu", min_numel=0):
        wrapt.wrap_function_wrapper(F, "relu", wrapper)
        before = calls("relu")
        F.relu(X)
        assert len(seen) == 1 and calls("relu") == before + 1
    try:
        assert isinstance(F.relu, wrapt.FunctionWrapper)
        assert torch.equal(F.relu(X), X.clamp(min=0))
        assert len(seen) == 2 and calls("relu") == before + 1
    finally:
        F.relu = stock


def test_wrapper_set_before_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    stock = F.gelu
    monkeypatch.setattr(F, "gelu", lambda *args, **kwargs: seen.append(args) or stock(*args, **kwargs))
    wrapper = F.gelu
    with rusttorch.patch("gelu", min_numel=0):
        assert F.gelu is wrapper
        F.gelu(X)
    assert F.gelu is wrapper
    assert len(seen) == 1
    monkeypatch.undo()


def test_wrapper_that_restores_after_our_undo_leaves_stock_behaviour() -> None:
    stock = F.relu
    handle = rusttorch.patch("relu", min_numel=0)
    saved, F.relu = F.relu, lambda x: saved(x)
    handle.undo()
    F.relu = saved  # the other patcher puts back what it found
    try:
        before = calls("relu")
        assert torch.equal(F.relu(X), X.clamp(min=0)) and calls("relu") == before
        with rusttorch.patch("relu", min_numel=0):
            assert is_on()
        assert F.relu is stock
    finally:
        F.relu = stock


def test_reference_kept_from_a_patch_is_stock_afterwards() -> None:
    with rusttorch.patch("relu", min_numel=0):
        kept = F.relu
    before = calls("relu")
    assert torch.equal(kept(X), X.clamp(min=0))
    assert calls("relu") == before


def test_threads_that_patch_and_call() -> None:
    expected = {name: getattr(F, name)(X) for name in ("relu", "gelu", "silu", "tanh")}
    start, failures = threading.Barrier(8), []

    def work(index: int) -> None:
        try:
            start.wait()
            for turn in range(30):
                name = list(expected)[(index + turn) % 4]
                with rusttorch.accelerate([name], min_numel=0, memory=bool(turn % 2)):
                    assert rusttorch.is_patched(name)
                    for other, value in expected.items():
                        assert torch.allclose(getattr(F, other)(X), value, atol=1e-6)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert failures == [] and not any(thread.is_alive() for thread in threads)
    assert not is_on()


def test_manager_shared_by_threads() -> None:
    manager = rusttorch.accelerate("relu", min_numel=0)
    first_in, second_out = threading.Event(), threading.Event()
    seen = []

    def first() -> None:
        with manager:
            first_in.set()
            second_out.wait(60)
            seen.append(is_on())

    thread = threading.Thread(target=first)
    thread.start()
    first_in.wait(60)
    with manager:
        pass
    second_out.set()
    thread.join(60)
    assert seen == [True]
    assert not is_on()


def test_stale_references_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("early_bird")
    module.activation = F.relu
    module.other = F.dropout
    monkeypatch.setitem(sys.modules, "early_bird", module)
    assert rusttorch.report().as_dict()["stale"] == []
    with rusttorch.patch("relu"):
        stale = [line for line in rusttorch.report().as_dict()["stale"] if line.startswith("early_bird")]
        assert stale == ["early_bird.activation is stock F.relu"]
        assert "early_bird.activation" in str(rusttorch.report())


def test_explain(patched: rusttorch.Handle) -> None:
    explain = rusttorch.explain
    assert explain(F.relu, X) == "accelerated"
    assert explain(F.relu.__wrapped__, X) == "accelerated"
    assert explain(torch.Tensor.relu, X) == "accelerated"
    assert explain(F.relu, X.long()) == "dtype"
    assert explain(F.relu, X, unknown=1) == "arguments not supported"
    assert explain(F.softmax, X, 5) == "dim"
    assert explain(F.relu, None) == "not a plain tensor"
    assert explain(F.relu, X[::2]) == "layout"
    assert explain(F.embedding_bag, X) == "not in the catalogue"
    with torch.device("cpu"):
        assert explain(F.relu, X) == "function mode"
    with FakeTensorMode():
        assert explain(F.relu, X) == "dispatch mode, functorch, autocast or tracing"
    patched.undo()
    assert explain(F.relu, X) == "relu is not switched on"
    with rusttorch.patch("relu", min_numel=65):
        assert explain(F.relu, X) == "outside the size window"


def test_explain_runs_nothing(patched: rusttorch.Handle) -> None:
    x = X.clone()
    assert rusttorch.explain(torch.relu_, x) == "accelerated"
    assert torch.equal(x, X) and x._version == 0
    assert calls("relu") == 0 and declined("relu") == {}


def test_explain_agrees_with_the_call(patched: rusttorch.Handle) -> None:
    for x in (X, X.double(), X.int(), X[::2], X.view(8, 8).t(), X[:0], X.clone().requires_grad_(), X.to_sparse()):
        for name in ("relu", "logsigmoid", "softsign"):
            function = getattr(F, name)
            said = rusttorch.explain(function, x)
            rusttorch.report(reset=True)
            with contextlib.suppress(RuntimeError, NotImplementedError):
                function(x)
            if said == "accelerated":
                assert calls(name) == 1, (name, said)
            else:
                assert declined(name).get(said, 0) >= 1, (name, said, declined(name))


def test_report_counts(patched: rusttorch.Handle) -> None:
    F.relu(X)
    torch.relu(X)
    X.relu()
    F.relu(X.int())
    row = rusttorch.report(reset=True).as_dict()["ops"]["relu"]
    assert row["calls"] == 3 and row["elements"] == 3 * 64 and row["seconds"] >= 0
    assert row["declined"] == {"dtype": 1}
    assert "relu" not in rusttorch.report().as_dict()["ops"]


def test_report_renders(patched: rusttorch.Handle) -> None:
    F.relu(X)
    F.softmax(X.view(8, 8), -1, dtype=torch.float64)
    text = str(rusttorch.report())
    assert "relu" in text and "softmax" in text and "keyword not supported" in text
    assert torch.__version__.split("+")[0] in text


def test_system() -> None:
    facts = rusttorch.system()
    assert facts["version"] == rusttorch.__version__ and facts["torch"] == torch.__version__
    assert facts["door"] in (1, 2, 3) and facts["isa"] in ("avx512", "avx2", "baseline")
    assert facts["vendor"] in ("amd", "intel", "other")
    assert facts["threads"] == torch.get_num_threads() and facts["ops"] == []


#: Calls that a kernel accepts, and leaves to stock torch unless sizes are forced.
NO_GAIN: list[tuple[str, Callable[[], Any]]] = [
    ("pow", lambda: torch.rand(50).pow(0.5)),
    ("glu", lambda: F.glu(torch.randn(200, 6))),
    ("log_softmax", lambda: F.log_softmax(torch.randn(256, 128), 0)),
    ("logsumexp", lambda: torch.logsumexp(torch.randn(128, 16), -1)),
    ("var", lambda: torch.var(torch.randn(300, 7), -1)),
    ("max", lambda: torch.max(torch.randn(100, 100), 1)),
    ("max", lambda: torch.max(torch.randn(200, 10), 0)),
    ("topk", lambda: torch.randn(129, 256).topk(3)),
    ("kthvalue", lambda: torch.kthvalue(torch.randn(17, 128), 3)),
    ("mode", lambda: torch.mode(torch.randn(33, 128))),
    ("median", lambda: torch.median(torch.randn(65, 8), 1)),
    ("quantile", lambda: torch.quantile(torch.randn(65, 8), 0.5, 1)),
    ("cummax", lambda: torch.cummax(torch.randn(9, 255), 1)),
    ("linear", lambda: F.linear(torch.ones(1, 1025).half(), torch.ones(1024, 1025).half())),
    ("mm", lambda: torch.mm(torch.ones(8, 8).half(), torch.ones(8, 8).half())),
    ("scaled_dot_product_attention", lambda: F.scaled_dot_product_attention(*[torch.ones(1, 1, 4, 4)] * 3)),
]


@pytest.mark.parametrize(("name", "call"), NO_GAIN)
def test_shapes_that_do_not_pay(name: str, call: Callable[[], Any]) -> None:
    with rusttorch.patch(name, min_numel=0):
        native = built()[name].native
        before = native.counters()["calls"]
        call()
        assert native.counters()["calls"] == before + 1
        native.set_weighs(True)  # as with the shipped thresholds, whatever the size
        try:
            call()
        finally:
            native.set_weighs(False)
        assert native.counters()["calls"] == before + 1
