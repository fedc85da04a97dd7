"""torch.compile and torch.export see stock torch: the same graphs, no break, and stock lowerings."""

from __future__ import annotations

import functools
import io
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch._dynamo
import torch.nn.functional as F
from support import CALLS, calls, output, sample
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import rusttorch
from rusttorch.catalog import CATALOG


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Capture:
    """A backend that keeps the graphs and runs them as they are."""

    def __init__(self) -> None:
        self.graphs: list[list[tuple[str, str]]] = []

    def __call__(self, module: torch.fx.GraphModule, inputs: Any) -> Any:
        self.graphs.append([(node.op, str(node.target)) for node in module.graph.nodes])
        return module.forward


def program(x: torch.Tensor) -> list[torch.Tensor]:
    """Every call of the catalogue, and their other spellings."""
    found = [call(x) for call in COMPILED]
    h = F.relu(x * 2)
    h = torch.relu_(h)
    h = h.relu().sigmoid_()
    return [*found, F.elu(h, 0.5, True), F.gelu(h, approximate="tanh"), torch.Tensor.tanh(h)]


#: The calls of the catalogue; compiled code cannot call `eval`.
COMPILED = [eval(f"lambda x: {text}", {"F": F, "torch": torch}) for _, text in CALLS]


class Net(nn.Module):
    """Activations as functions, methods, attributes and modules."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.act = F.relu
        self.modules_ = nn.Sequential(nn.GELU(), nn.SiLU(), nn.ReLU(inplace=True), nn.Softplus())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.act(self.a(x))
        h = self.modules_(torch.tanh(self.b(h)).relu())
        return F.log_softmax(F.softmax(h, dim=-1) ** 2, dim=-1)


def graphs_of(function: Any, *arguments: Any, **options: Any) -> list[list[tuple[str, str]]]:
    torch._dynamo.reset()
    backend = Capture()
    torch.compile(function, backend=backend, fullgraph=True, **options)(*arguments)
    return backend.graphs


@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("gradient", [False, True])
def test_graphs_are_those_of_stock(dynamic: bool | None, gradient: bool) -> None:
    x = sample(CATALOG["pow"], 16, 32).requires_grad_(gradient)
    stock = graphs_of(program, x, dynamic=dynamic)
    with rusttorch.patch(min_numel=0):
        ours = graphs_of(program, x, dynamic=dynamic)
    assert len(stock) == 1 and len(stock[0]) > len(CALLS)
    assert ours == stock


def test_module_graphs_are_those_of_stock() -> None:
    model, x = Net(), torch.randn(4, 8)
    stock = graphs_of(model, x)
    with rusttorch.patch(min_numel=0):
        assert graphs_of(model, x) == stock
        assert graphs_of(Net(), x) == stock
    assert graphs_of(model, x) == stock


def test_explain_counts_no_break() -> None:
    x = sample(CATALOG["pow"], 16, 32)
    stock = torch._dynamo.explain(program)(x)
    torch._dynamo.reset()
    with rusttorch.patch(min_numel=0):
        ours = torch._dynamo.explain(program)(x)
    assert (ours.graph_break_count, ours.graph_count, ours.op_count) == (0, 1, stock.op_count)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_values_and_gradients(backend: str) -> None:
    model = Net()

    def run(x: torch.Tensor) -> torch.Tensor:
        return model(x).square().mean()

    expected = torch.randn(4, 8, requires_grad=True)
    run(expected).backward()
    with rusttorch.patch(min_numel=0):
        compiled = torch.compile(run, backend=backend, fullgraph=True)
        for _ in range(2):
            x = expected.detach().clone().requires_grad_()
            rusttorch.report(reset=True)
            compiled(x).backward()
            ran = [name for name in CATALOG if calls(name)]
            torch.testing.assert_close(x.grad, expected.grad)
    if backend == "aot_eager":
        assert not ran, "compiled code runs stock lowerings"


def test_compiled_before_and_after_the_patch() -> None:
    x = torch.randn(16, 32)

    def function(x: torch.Tensor) -> torch.Tensor:
        return F.softmax(F.relu(x) + torch.tanh(x.relu()), -1)

    expected = function(x)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(function, backend=counter, fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)
    handles = []
    for _ in range(3):
        handles.append(rusttorch.patch(min_numel=0))
        torch.testing.assert_close(compiled(x), expected)
        handles.pop().undo()
        torch.testing.assert_close(compiled(x), expected)
    assert counter.frame_count <= 2, "one for stock, one for patched torch, both kept"
    torch._dynamo.reset()
    with rusttorch.patch(min_numel=0):
        torch.testing.assert_close(compiled(x), expected)
    torch.testing.assert_close(compiled(x), expected)


def test_no_recompilation_while_patched(patched: rusttorch.Handle) -> None:
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(lambda x: F.relu(x).relu(), backend=counter, fullgraph=True)
    for _ in range(4):
        compiled(torch.randn(4))
    assert counter.frame_count == 1


@pytest.mark.parametrize("how", ["argument", "closure", "partial", "list", "dict", "default", "attribute", "wraps"])
def test_functions_as_values(how: str, patched: rusttorch.Handle) -> None:
    x = torch.randn(8)
    expected = x.clamp(min=0)
    act, table, functions = F.relu, {"relu": F.relu, F.gelu: 1}, [torch.relu, F.relu]

    def with_default(x: torch.Tensor, f: Any = F.relu) -> torch.Tensor:
        return f(x)

    def with_argument(x: torch.Tensor, f: Any) -> torch.Tensor:
        return f(x)

    module = nn.Module()
    module.act = torch.relu
    program = {
        "argument": lambda x: with_argument(x, F.relu),
        "closure": lambda x: act(x),
        "partial": functools.partial(F.relu, inplace=False),
        "list": lambda x: functions[1](functions[0](x)),
        "dict": lambda x: table["relu"](x),
        "default": with_default,
        "attribute": lambda x: module.act(x),
        "wraps": functools.wraps(F.relu)(lambda x: torch.Tensor.relu(x)),
    }[how]
    assert torch.equal(torch.compile(program, backend="eager", fullgraph=True)(x), expected)
    if how == "argument":
        assert torch.equal(torch.compile(with_argument, backend="eager", fullgraph=True)(x, F.relu), expected)


def test_function_compiled_itself(patched: rusttorch.Handle) -> None:
    x = torch.randn(8)
    assert torch.equal(torch.compile(F.relu, backend="eager", fullgraph=True)(x), x.clamp(min=0))
    assert torch.equal(torch.compile(F.softmax, backend="eager", fullgraph=True)(x, 0), torch.softmax(x, 0))


def test_patch_inside_compiled_code_is_a_break_not_a_failure() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        with rusttorch.accelerate("relu", min_numel=0, memory=False):
            return F.relu(x) + 1

    x = torch.randn(8)
    assert torch.equal(torch.compile(function, backend="eager")(x), F.relu(x) + 1)


def test_compile_inside_accelerate() -> None:
    compiled = torch.compile(lambda x: F.relu(x) * 2, backend="eager", fullgraph=True)

    @rusttorch.accelerate(min_numel=0)
    def step(x: torch.Tensor) -> torch.Tensor:
        return compiled(x)

    x = torch.randn(8)
    assert torch.equal(step(x), x.clamp(min=0) * 2)
    assert torch.equal(compiled(x), x.clamp(min=0) * 2)


def test_disable_and_allow_in_graph(patched: rusttorch.Handle) -> None:
    x = torch.randn(8)

    @torch._dynamo.disable
    def eager(x: torch.Tensor) -> torch.Tensor:
        return F.relu(x)

    def program(x: torch.Tensor) -> torch.Tensor:
        return eager(x * 1) + 1

    assert torch.equal(torch.compile(program, backend="aot_eager")(x), x.clamp(min=0) + 1)
    assert calls("relu") == 1, "what is not compiled is accelerated"
    torch._dynamo.allow_in_graph(F.relu)
    assert torch.equal(torch.compile(lambda x: F.relu(x), backend="eager", fullgraph=True)(x), x.clamp(min=0))


def test_compiled_autograd(patched: rusttorch.Handle) -> None:
    def gradient(compiled: bool) -> torch.Tensor:
        x = torch.linspace(-2, 2, 32, dtype=torch.float64, requires_grad=True)
        y = F.silu(F.gelu(x)).square().sum()
        if compiled:
            with torch._dynamo.compiled_autograd._enable(torch.compile(backend="eager")):
                y.backward()
        else:
            y.backward()
        return x.grad

    torch.testing.assert_close(gradient(True), gradient(False))


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("c++")), reason="no C++ compiler")
def test_inductor() -> None:
    code = """
        import torch, torch.nn.functional as F, rusttorch
        def f(x):
            return F.softmax(F.relu(x) + torch.tanh(x), -1)
        x = torch.randn(16, 32)
        expected = f(x)
        rusttorch.patch(min_numel=0)
        result = torch.compile(f, fullgraph=True)(x)
        print(sum(row["calls"] for row in rusttorch.report().as_dict()["ops"].values()))
        torch.testing.assert_close(result, expected)
    """
    assert output(code, timeout=280) == "0"


@pytest.mark.parametrize("strict", [False, True])
def test_export(strict: bool) -> None:
    model, x = Net().eval(), torch.randn(4, 8)
    dimension = torch.export.Dim("batch", min=2, max=64)
    stock = torch.export.export(model, (x,), dynamic_shapes={"x": {0: dimension}}, strict=strict)
    torch._dynamo.reset()
    with rusttorch.patch(min_numel=0):
        ours = torch.export.export(model, (x,), dynamic_shapes={"x": {0: dimension}}, strict=strict)
        file = io.BytesIO()
        torch.export.save(ours, file)
        assert nodes(ours.run_decompositions()) == nodes(stock.run_decompositions())
    assert nodes(ours) == nodes(stock)
    assert b"_rusttorch" not in file.getvalue() and b"<rusttorch" not in file.getvalue()
    file.seek(0)
    again = torch.export.load(file)
    for batch in (4, 7):
        y = torch.randn(batch, 8)
        assert torch.equal(ours.module()(y), stock.module()(y))
        assert torch.equal(again.module()(y), stock.module()(y))


def nodes(program: torch.export.ExportedProgram) -> list[tuple[str, str]]:
    return [(node.op, str(node.target)) for node in program.graph.nodes]


def test_exported_program_runs_patched() -> None:
    x = torch.randn(4, 8)
    program = torch.export.export(Net().eval(), (x,)).module()
    expected = program(x)
    with rusttorch.patch(min_numel=0):
        assert torch.equal(program(x), expected)
        assert torch.equal(torch.compile(program, backend="aot_eager")(x), expected)
