"""TorchScript, torch.fx and make_fx: the same graphs as with stock torch."""

from __future__ import annotations

import functools
import io
import operator
import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.fx
import torch.nn.functional as F
from support import CALLS, both, calls, evaluate, output, sample
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

import rusttorch
from rusttorch.catalog import CATALOG


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def f_relu(x: torch.Tensor) -> torch.Tensor:
    return F.relu(x)


def torch_relu(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x)


def gelu(x: torch.Tensor) -> torch.Tensor:
    return F.gelu(x, approximate="tanh")


def method(x: torch.Tensor) -> torch.Tensor:
    return x.relu() + x.tanh_()


def soft(x: torch.Tensor) -> torch.Tensor:
    return F.softmax(x, dim=-1) + torch.softmax(x, 0) + F.log_softmax(x, dim=1, dtype=torch.float64)


def numbers(x: torch.Tensor) -> torch.Tensor:
    return F.elu(x, 0.5) + F.hardtanh(x, -0.5, 0.5) + F.softplus(x, 2, 10) + torch.pow(x, 2) + x**3


def inplace(x: torch.Tensor) -> torch.Tensor:
    return F.relu_(torch.exp(x)) + F.leaky_relu(x * 1, 0.1, True) + torch.sigmoid_(x * 2)


FUNCTIONS = (f_relu, torch_relu, gelu, method, soft, numbers, inplace)


class Net(nn.Module):
    """Activations as functions, attributes and modules."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.modules_ = nn.Sequential(nn.GELU(), nn.SiLU(), nn.ReLU(inplace=True), nn.Softmax(-1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.modules_(F.relu(self.linear(x)) + torch.tanh(x))


class Attribute(nn.Module):
    """An activation as an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = F.relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(x)


def x_() -> torch.Tensor:
    return torch.linspace(-2, 2, 24).view(4, 6)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_script_of_functions(function: Any) -> None:
    def run() -> Any:
        scripted = torch.jit.script(function)
        return str(scripted.graph), str(scripted.inlined_graph), scripted(x_())

    stock = run()
    torch.jit._state._jit_caching_layer.clear()  # compiles anew
    with rusttorch.patch(min_numel=0):
        ours = run()
    assert stripped(stock[0]) == stripped(ours[0]) and stripped(stock[1]) == stripped(ours[1])
    assert torch.equal(stock[2], ours[2])


def stripped(graph: str) -> list[str]:
    """A graph without places in sources, and without the numbers that tell compilations of a name apart."""
    return [
        re.sub(r"___torch_mangle_\d+\.|warn_id=\d+", "", line.split(" # ")[0]) for line in graph.splitlines()
    ]


@pytest.mark.parametrize("module", [Net, Attribute])
def test_script_of_modules(module: type) -> None:
    def run() -> Any:
        torch.manual_seed(0)
        scripted = torch.jit.script(module())
        file = io.BytesIO()
        torch.jit.save(scripted, file)
        file.seek(0)
        return scripted.code, torch.jit.load(file)(x_()), b"rusttorch" in file.getvalue()

    stock, ours = both(run, warm=True)
    assert stock[0] == "returned"
    assert stock == ours


@pytest.mark.parametrize("order", ["patch first", "script first"])
def test_script_in_a_fresh_process(order: str) -> None:
    code = """
        import sys, warnings
        warnings.simplefilter("ignore")
        import torch, rusttorch
        sys.path.insert(0, sys.argv[1])
        import test_jit
        if {first}:
            rusttorch.patch(min_numel=0)
        scripted = [torch.jit.script(f) for f in test_jit.FUNCTIONS] + [torch.jit.script(test_jit.Attribute())]
        if not {first}:
            rusttorch.patch(min_numel=0)
        for s, f in zip(scripted, [*test_jit.FUNCTIONS, test_jit.Attribute()]):
            torch.testing.assert_close(s(test_jit.x_()), f(test_jit.x_()), check_dtype=False)
        print("fine")
    """
    assert output(code.format(first=order == "patch first"), str(Path(__file__).parent)) == "fine"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_trace_of_functions(function: Any) -> None:
    def run() -> Any:
        traced = torch.jit.trace(function, (x_(),))
        return stripped(str(traced.graph)), traced.code, traced(x_())

    stock, ours = both(run, warm=True)
    assert stock[0] == "returned"
    assert stock == ours


def test_trace_of_modules_and_every_call() -> None:
    def run() -> Any:
        torch.manual_seed(0)
        traced = torch.jit.trace(Net(), (x_(),))
        found = [traced.code, traced(x_())]
        for name, text in CALLS:
            x = sample(CATALOG[name], 4, 6)
            found.append(torch.jit.trace(lambda x, text=text: evaluate(text, x), (x,), check_trace=False).code)
        return found

    stock, ours = both(run, warm=True)
    assert stock[0] == "returned"
    assert stock == ours


def test_scripted_code_runs_stock_kernels() -> None:
    scripted = torch.jit.script(f_relu)
    with rusttorch.patch(min_numel=0):
        rusttorch.report(reset=True)
        assert torch.equal(scripted(x_()), x_().clamp(min=0))
        assert calls("relu") == 0


def test_annotations_of_jit_stay() -> None:
    def facts() -> Any:
        from torch.jit import _builtins

        functions = (F.relu, torch.relu, torch.softmax, torch.tanh, F.gelu, torch.exp)
        return [
            (torch.jit._builtins._find_builtin(f), torch._jit_internal.is_ignored_fn(f),
             torch._jit_internal.get_torchscript_modifier(f), _builtins._is_special_functional_bound_op(f))
            for f in functions
        ]

    stock, ours = both(facts)
    assert stock[0] == "returned"
    assert stock == ours


def fx_facts(module: Any) -> Any:
    traced = torch.fx.symbolic_trace(module)
    return traced, [(n.op, n.target, n.args, n.kwargs) for n in traced.graph.nodes], traced.code


@pytest.mark.parametrize("module", [Net, Attribute, *FUNCTIONS])
def test_symbolic_trace(module: Any) -> None:
    make = module() if isinstance(module, type) else module
    stock = fx_facts(make)
    with rusttorch.patch(min_numel=0):
        ours = fx_facts(make)
        assert [(n[0], n[1]) for n in stock[1]] == [(n[0], n[1]) for n in ours[1]]
        assert stock[2] == ours[2]
        torch.testing.assert_close(ours[0](x_()), stock[0](x_()))
    torch.testing.assert_close(ours[0](x_()), stock[0](x_()), rtol=0, atol=0)


class Plain(Net):
    """Without annotations, which some versions of torch.fx cannot pickle as strings."""

    def forward(self, x):  # type: ignore[no-untyped-def]
        return super().forward(x)


def test_symbolic_trace_saves_without_rusttorch() -> None:
    with rusttorch.patch(min_numel=0):
        data = pickle.dumps(torch.fx.symbolic_trace(Plain()))
    assert b"rusttorch" not in data
    assert pickle.loads(data)(x_()).shape == (4, 6)


def test_fx_passes_know_the_functions() -> None:
    def run() -> Any:
        traced = torch.fx.symbolic_trace(lambda x: F.relu(torch.relu(x).relu()) + F.gelu(x))
        kinds = [node.target in (F.relu, torch.relu, F.gelu, operator.add, "relu") for node in traced.graph.nodes]
        torch.fx.replace_pattern(traced, lambda x: F.gelu(x), lambda x: F.silu(x))
        return kinds, traced.code

    stock, ours = both(run)
    assert stock[0] == "returned"
    assert stock == ours


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@pytest.mark.parametrize("pre_dispatch", [False, True])
def test_make_fx(mode: str, pre_dispatch: bool) -> None:
    def run() -> Any:
        found = []
        for name, text in CALLS:
            x = sample(CATALOG[name], 4, 6)
            graph = make_fx(functools.partial(evaluate, text), tracing_mode=mode, pre_dispatch=pre_dispatch)(x)
            found.append(graph.code)
        return found

    stock, ours = both(run)
    assert stock[0] == "returned"
    assert stock == ours


def test_make_fx_of_a_gradient() -> None:
    def run() -> Any:
        def gradient(x: torch.Tensor) -> torch.Tensor:
            x = x.requires_grad_()
            return torch.autograd.grad(F.gelu(F.relu(x)).sum(), x)[0]

        return make_fx(gradient)(x_()).code

    stock, ours = both(run)
    assert stock[0] == "returned"
    assert stock == ours
