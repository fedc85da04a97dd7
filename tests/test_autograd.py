"""Gradients under the patch: values, higher orders, hooks, modes and errors as with stock torch."""

from __future__ import annotations

import copy
import dataclasses
import io
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import (
    TRAINED,
    both,
    calls,
    comparable,
    declined,
    evaluate,
    outcome,
    output,
    sample,
    trained_runs,
    without_bits,
)
from torch import nn
from torch.autograd import forward_ad
from torch.autograd.gradcheck import gradcheck, gradgradcheck
from torch.utils.checkpoint import checkpoint

import rusttorch
from rusttorch.catalog import CATALOG, FLOATS
from rusttorch.patching import built
from rusttorch.runtime import AUTOCAST, torch_version
from rusttorch.selfcheck import untouched

every_call = pytest.mark.parametrize(("name", "text"), TRAINED)
#: One row for each kind of shape and of saved tensor.
FEW = [("relu", "F.relu(x)"), ("gelu", "F.gelu(x)"), ("softmax", "F.softmax(x, -1)"),
       ("logsumexp", "torch.logsumexp(x, -1)"), ("glu", "F.glu(x, -1)")]
few_calls = pytest.mark.parametrize(("name", "text"), FEW)


def leaf(name: str, *sizes: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    # Kernels that work along a dimension leave short ones to stock torch.
    usual = (4, 6) if CATALOG[name].shape == "pointwise" else (16, 32)
    return sample(CATALOG[name], *(sizes or usual), dtype=dtype).requires_grad_()


@every_call
@pytest.mark.parametrize("transposed", [False, True])
def test_gradcheck(name: str, text: str, transposed: bool, patched: rusttorch.Handle) -> None:
    x = leaf(name)
    fast = CATALOG[name].shape != "pointwise"
    assert gradcheck(lambda x: evaluate(text, x.t() if transposed else x), x, fast_mode=fast)
    if not transposed or not (fast or CATALOG[name].strides == "contiguous"):
        assert calls(name) > 0 or "float64" not in CATALOG[name].dtypes


@every_call
def test_gradgradcheck(name: str, text: str) -> None:
    def check() -> bool:
        fast = CATALOG[name].shape != "pointwise"
        return gradgradcheck(lambda x: evaluate(text, x), leaf(name), fast_mode=fast)

    rusttorch.report(reset=True)
    stock, ours = both(check)  # where stock torch has no second derivative, the same error
    assert stock == ours
    assert calls(name) > 0 or "float64" not in CATALOG[name].dtypes


@few_calls
def test_gradcheck_batched_and_forward(name: str, text: str, patched: rusttorch.Handle) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert gradcheck(
            lambda x: evaluate(text, x), leaf(name), check_batched_grad=True, check_forward_ad=True, fast_mode=True
        )


@every_call
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_is_near_stock(name: str, text: str, dtype: torch.dtype) -> None:
    x = sample(CATALOG[name], 16, 32, dtype=dtype)

    def run(kind: torch.dtype = dtype) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = x.to(kind).clone().requires_grad_()
        y = evaluate(text, leaf)
        y.backward(torch.linspace(-1, 1, y.numel(), dtype=dtype).view(y.shape).to(kind))
        return y, leaf.grad

    stock = run()
    rusttorch.report(reset=True)
    with rusttorch.patch(min_numel=0):
        ours = run()
    assert calls(name) == trained_runs(name), "the forward and the backward kernel"
    for a, b, c in zip(stock, ours, run(torch.float64), strict=True):
        assert a.dtype == b.dtype and a.stride() == b.stride()
        # Stock torch rounds between the steps of bfloat16 formulas, so that both are compared with float64.
        errors = [(value.double() - c).abs().max().item() for value in (a, b)]
        assert errors[1] <= 1.5 * errors[0] + torch.finfo(dtype).eps * c.abs().max().item()
    if CATALOG[name].exactness == "bits":
        assert torch.equal(stock[0], ours[0]) and torch.equal(stock[1], ours[1])


@every_call
def test_graph_looks_as_stock(name: str, text: str) -> None:
    def facts() -> Any:
        x = leaf(name)
        y = evaluate(text, x)
        node = y.grad_fn
        saved = sorted(key for key in dir(node) if key in ("_saved_self", "_saved_result", "_saved_indices"))
        return (
            y.requires_grad, y.is_leaf, y.output_nr, y._is_view(), y._version, node.name(),
            [(type(n).__name__, i) for n, i in node.next_functions], saved,
        )

    stock, ours = both(facts)
    if name in ("softsign", "alpha_dropout", "feature_alpha_dropout"):  # several nodes in stock torch
        stock, ours = stock[1][1][:6], ours[1][1][:6]
    assert stock == ours


@pytest.mark.parametrize("name", [name for name, text in FEW])
def test_saved_tensors_are_those_of_stock(name: str) -> None:
    attribute = "_saved_result" if CATALOG[name].saves == "result" else "_saved_self"
    text = dict(FEW)[name]

    def saved() -> torch.Tensor:
        x = leaf(name)
        y = evaluate(text, x)
        node = y.grad_fn
        tensor = getattr(node, attribute)
        return tensor is (y if attribute == "_saved_result" else x), tensor.shape

    assert both(saved)[0] == both(saved)[1]


@few_calls
def test_saved_tensor_hooks(name: str, text: str) -> None:
    def run() -> Any:
        seen = []

        def pack(x: torch.Tensor) -> Any:
            seen.append(("pack", type(x), tuple(x.shape), x.dtype, x.requires_grad, x._version))
            return x.clone()

        def unpack(x: torch.Tensor) -> torch.Tensor:
            seen.append(("unpack", tuple(x.shape)))
            return x

        x = leaf(name)
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            y = evaluate(text, x)
        y.sum().backward()
        return seen

    stock, ours = both(run)
    assert stock[1][1] and stock == ours


def test_save_on_cpu_and_disabled_hooks(patched: rusttorch.Handle) -> None:
    x = leaf("relu")
    with torch.autograd.graph.save_on_cpu():
        y = F.gelu(x)
    y.backward(torch.ones_like(y))
    assert x.grad is not None and calls("gelu") == 2


@few_calls
def test_modified_saved_tensor_raises(name: str, text: str) -> None:
    def run(which: str) -> Any:
        x = leaf(name)
        h = x * 1
        y = evaluate(text, h)
        with torch.no_grad():
            (h if which == "input" else y).add_(1)
        y.sum().backward()
        return "passed"

    for which in ("input", "result"):
        stock, ours = both(lambda which=which: run(which))
        assert stock == ours, which


@pytest.mark.parametrize("op", ["F.relu_(h)", "torch.exp_(h)", "h.sigmoid_()", "F.elu(h, 1.0, True)", "h.tanh_()"])
def test_inplace_with_gradient(op: str) -> None:
    def on_result() -> Any:
        x = leaf("relu")
        h = x * 2
        y = eval(op, {"F": F, "torch": torch, "h": h})
        y.sum().backward()
        return y is h, h._version, x.grad, type(h.grad_fn).__name__

    def on_leaf() -> Any:
        return eval(op, {"F": F, "torch": torch, "h": leaf("relu")})

    def on_view_of_leaf() -> Any:
        return eval(op, {"F": F, "torch": torch, "h": leaf("relu")[1:]})

    def on_saved() -> Any:
        x = leaf("relu")
        h = x * 2
        z = h.exp()
        eval(op, {"F": F, "torch": torch, "h": z.detach()})
        z.sum().backward()

    def on_view() -> Any:
        x = leaf("relu")
        h = x * 2
        eval(op, {"F": F, "torch": torch, "h": h[1:3]})
        h.sum().backward()
        return x.grad, h._version

    for run in (on_result, on_leaf, on_view_of_leaf, on_saved, on_view):
        stock, ours = both(run)
        assert stock == ours, run


def test_inplace_on_a_saved_result_raises() -> None:
    def run() -> None:
        x = leaf("relu")
        y = x.exp()  # saves its result
        with torch.no_grad():
            F.relu_(y)
        y.sum().backward()

    stock, ours = both(run)
    assert stock[0] == "raised" and "modified by an inplace operation" in stock[2]
    assert stock == ours


def test_no_grad_and_inference_mode() -> None:
    def run() -> Any:
        found = []
        x = leaf("relu")
        with torch.no_grad():
            y = F.relu(x)
            found.append((y.requires_grad, y.grad_fn is None, y.is_inference()))
            with torch.enable_grad():
                found.append(F.relu(x).requires_grad)
        with torch.inference_mode():
            z = F.relu(x.detach())
            found.append((z.requires_grad, z.is_inference(), F.relu(z).is_inference()))
            version = outcome(lambda: z._version)
            F.relu_(z)
        w = torch.softmax(z, -1)
        found.append((version[1:3], w.is_inference(), w.requires_grad))
        found.append(outcome(lambda: F.relu_(z))[1:3])
        found.append(outcome(lambda: F.relu(z * x).sum().backward())[1:3])
        found.append(outcome(lambda: F.relu(z).requires_grad_())[0])
        with torch.inference_mode():
            found.append(outcome(lambda: F.relu_(torch.ones(3)))[0])
        found.append(outcome(lambda: F.gelu(z.view(-1)).is_inference())[1])
        ordinary = torch.randn(4)
        with torch.inference_mode():
            F.relu_(ordinary)
            view = ordinary[1:]
            F.relu_(view)
        found.append((ordinary._version, ordinary.is_inference()))
        return found

    rusttorch.report(reset=True)
    stock, ours = both(run)
    assert stock == ours
    assert calls("relu") >= 6


def test_anomaly_mode() -> None:
    def run(name: str) -> Any:
        x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        with torch.autograd.detect_anomaly(check_nan=True):
            y = {"log": torch.log, "pow": lambda x: torch.pow(x, -0.5), "relu": F.relu}[name](x)
            (y * 0).sum().backward()
        return x.grad

    for name in ("log", "pow", "relu"):
        stock, ours = both(lambda name=name: run(name))
        assert stock[:3] == ours[:3]
        # The traceback of the forward call is in a warning and names this file.
        assert [w[0] for w in stock[-1]] == [w[0] for w in ours[-1]]
        assert ["in run" in w[1] for w in stock[-1]] == ["in run" in w[1] for w in ours[-1]]


@few_calls
def test_second_backward_needs_retain_graph(name: str, text: str) -> None:
    def run(retain: bool) -> Any:
        x = leaf(name)
        y = evaluate(text, x).sum()
        y.backward(retain_graph=retain)
        y.backward()
        return x.grad.shape

    for retain in (False, True):
        stock, ours = both(lambda retain=retain: run(retain))
        assert stock == ours


@few_calls
def test_node_hooks(name: str, text: str) -> None:
    def run() -> Any:
        seen = []
        x = leaf(name)
        y = evaluate(text, x)
        y.retain_grad()
        y.register_hook(lambda grad: seen.append(("tensor", grad.shape)))
        y.grad_fn.register_hook(lambda inputs, outputs: seen.append(("post", len(inputs), len(outputs))))
        y.grad_fn.register_prehook(lambda outputs: seen.append(("pre", len(outputs))))
        edge = torch.autograd.graph.get_gradient_edge(y)
        (gradient,) = torch.autograd.grad(edge, x, torch.ones_like(y), retain_graph=True)
        y.sum().backward()
        return seen, y.grad.shape, gradient.shape, edge.output_nr

    stock, ours = both(run)
    assert stock == ours


@few_calls
def test_grad_is_zero_where_the_result_is_unused(name: str, text: str) -> None:
    def run() -> Any:
        x, other = leaf(name), leaf(name)
        evaluate(text, x)
        (other * 1).sum().backward()
        return x.grad, torch.autograd.grad((x * 1).sum(), other, allow_unused=True)

    stock, ours = both(run)
    assert stock == ours


@few_calls
def test_expanded_and_strided_gradients(name: str, text: str, patched: rusttorch.Handle) -> None:
    x = leaf(name, 4, 6)
    y = evaluate(text, x)
    weights = torch.randn(*y.shape, dtype=torch.float64)
    for grad in (torch.ones((), dtype=torch.float64).expand(y.shape), weights.t().contiguous().t(),
                 torch.cat([weights, weights])[:: 2][: y.shape[0]]):
        (ours,) = torch.autograd.grad(y, x, grad.reshape(y.shape) if grad.shape != y.shape else grad, retain_graph=True)
        patched.undo()
        (stock,) = torch.autograd.grad(evaluate(text, x), x, grad)
        patched.apply()
        torch.testing.assert_close(ours, stock)


@few_calls
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint(name: str, text: str, reentrant: bool) -> None:
    x = sample(CATALOG[name], 16, 32, dtype=torch.float64)

    def run(wrapped: bool) -> torch.Tensor:
        leaf = x.clone().requires_grad_()

        def block(h: torch.Tensor) -> torch.Tensor:
            return evaluate(text, h * 2).exp()

        y = checkpoint(block, leaf, use_reentrant=reentrant) if wrapped else block(leaf)
        y.sum().backward()
        return leaf.grad

    stock = run(True)
    rusttorch.report(reset=True)
    with rusttorch.patch(min_numel=0):
        torch.testing.assert_close(run(True), stock)
        torch.testing.assert_close(run(False), run(True), rtol=0, atol=0)
    assert calls(name) > 0


def test_checkpoint_across_the_switch() -> None:
    for first, second in ((None, []), ([], None)):
        x = leaf("gelu")
        with rusttorch.patch(first, min_numel=0):
            y = checkpoint(lambda h: F.gelu(h).relu(), x, use_reentrant=False)
        with rusttorch.patch(second, min_numel=0):
            y.sum().backward()
        assert x.grad is not None


@few_calls
def test_graph_outlives_the_patch(name: str, text: str) -> None:
    x = leaf(name)
    with rusttorch.patch(min_numel=0):
        y = evaluate(text, x)
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    first.square().sum().backward()
    ours, x.grad = x.grad, None
    (first,) = torch.autograd.grad(evaluate(text, x).sum(), x, create_graph=True)
    first.square().sum().backward()
    torch.testing.assert_close(ours, x.grad)


@few_calls
def test_double_backward_graph_and_values(name: str, text: str) -> None:
    x = sample(CATALOG[name], 4, 6, dtype=torch.float64)

    def run() -> list[torch.Tensor]:
        leaf = x.clone().requires_grad_()
        y = evaluate(text, leaf)
        (g,) = torch.autograd.grad(y.square().sum(), leaf, create_graph=True)
        (gg,) = torch.autograd.grad(g.square().sum(), leaf, create_graph=True)
        (ggg,) = torch.autograd.grad(gg.square().sum(), leaf, allow_unused=True)
        return [g, gg, ggg]

    stock = run()
    with rusttorch.patch(min_numel=0):
        ours = run()
    for a, b in zip(stock, ours, strict=True):
        torch.testing.assert_close(a, b)


def test_forward_mode_is_stock(patched: rusttorch.Handle) -> None:
    x, tangent = torch.randn(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, tangent)
        primal, derivative = forward_ad.unpack_dual(F.silu(dual))
    assert declined("silu") == {"forward-mode differentiation": 1}
    expected = torch.autograd.functional.jvp(lambda x: x * torch.sigmoid(x), x, tangent)
    torch.testing.assert_close((primal, derivative), expected)


def test_forward_over_reverse(patched: rusttorch.Handle) -> None:
    x = leaf("gelu", 5)
    y = F.gelu(x)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.ones(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64))
        (g,) = torch.autograd.grad(y, x, dual)
        assert forward_ad.unpack_dual(g).tangent is not None


@pytest.mark.parametrize("vectorize", [False, True])
def test_functional_jacobian_and_hessian(vectorize: bool) -> None:
    x = torch.randn(5, dtype=torch.float64)

    def run() -> Any:
        functional = torch.autograd.functional
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return (
                functional.jacobian(lambda x: F.softmax(x, 0), x, vectorize=vectorize),
                functional.hessian(lambda x: F.gelu(x).sum(), x, vectorize=vectorize),
                functional.vhp(lambda x: F.silu(x).sum(), x, x)[1],
                functional.jvp(torch.tanh, x, x)[1],
            )

    stock = run()
    with rusttorch.patch(min_numel=0):
        torch.testing.assert_close(run(), stock)


def test_batched_gradients(patched: rusttorch.Handle) -> None:
    x = leaf("tanh", 5)
    y = torch.tanh(x)
    (rows,) = torch.autograd.grad(y, x, torch.eye(5, dtype=torch.float64), is_grads_batched=True)
    torch.testing.assert_close(rows, torch.diag(1 - y.detach() ** 2))


def test_second_order_through_parameters() -> None:
    def run() -> Any:
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 2), nn.LogSoftmax(-1)).double()
        x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
        loss = F.nll_loss(model(x), torch.tensor([0, 1] * 3))
        (penalty,) = torch.autograd.grad(loss, x, create_graph=True)
        (loss + penalty.square().sum()).backward()
        return [p.grad for p in model.parameters()]

    stock = run()
    rusttorch.report(reset=True)
    with rusttorch.patch(min_numel=0):
        torch.testing.assert_close(run(), stock)
    assert calls("silu") > 0 and calls("log_softmax") > 0


def test_training_gives_the_same_model() -> None:
    def run() -> dict[str, torch.Tensor]:
        torch.manual_seed(2)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 4))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(10):
            x = torch.randn(32, 8)
            optimizer.zero_grad()
            F.cross_entropy(model(x), torch.arange(32) % 4).backward()
            optimizer.step()
        return model.state_dict()

    stock = run()
    rusttorch.report(reset=True)
    with rusttorch.patch(min_numel=0):
        torch.testing.assert_close(run(), stock)
    assert calls("relu") == 20


def test_parameters_in_and_plain_tensors_out() -> None:
    def run() -> Any:
        p = nn.Parameter(torch.randn(4, 6))
        frozen = nn.Parameter(torch.randn(4, 6), requires_grad=False)
        buffer = nn.Buffer(torch.randn(4, 6)) if hasattr(nn, "Buffer") else torch.randn(4, 6)
        found = []
        for x in (p, frozen, buffer):
            y = F.relu(x)
            found.append((type(y), y.requires_grad, y.is_leaf))
        F.relu_(frozen)
        found.append((frozen._version, type(F.relu(frozen, inplace=True))))
        return found

    stock, ours = both(run)
    assert stock == ours


def test_autocast() -> None:
    x = torch.randn(8, 8)

    def run() -> Any:
        found = []
        for dtype in (torch.bfloat16, torch.float16):
            with torch.autocast("cpu", dtype=dtype):
                half = x.to(dtype)
                for f in (lambda v: F.softmax(v, -1), F.gelu, F.relu, lambda v: torch.pow(v, 2), F.logsigmoid):
                    found += [f(x), f(half)]
                with torch.autocast("cpu", enabled=False):
                    found.append(F.relu(half))
        leaf = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = F.gelu(F.linear(leaf, x))
        y.sum().backward()
        return [*found, leaf.grad]

    stock, ours = both(run)
    assert without_bits(stock) == without_bits(ours)


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16], ids=str)
@every_call
def test_autocast_leaves_the_catalogue_alone(name: str, text: str, low: torch.dtype) -> None:
    row = CATALOG[name]
    dtypes = [getattr(torch, dtype) for dtype in row.dtypes if dtype in FLOATS]
    inputs = [sample(row, 16, 32, dtype=dtype) for dtype in dtypes]

    def run(inside: bool, enabled: bool = True) -> list[torch.Tensor]:
        found = []
        for x in inputs:
            leaf = x.clone().requires_grad_()
            with torch.autocast("cpu", dtype=low, enabled=enabled):
                plain, result = evaluate(text, x), evaluate(text, leaf)
                gradient = torch.linspace(-1, 1, result.numel()).to(result.dtype).view(result.shape)
                if inside:
                    result.backward(gradient)
            if not inside:
                result.backward(gradient)
            found += [plain, result, leaf.grad]
        return found

    stock = [run(inside) for inside in (True, False)]
    with rusttorch.patch(min_numel=0):
        alone = run(True, enabled=False)
        rusttorch.report(reset=True)
        ours = [run(inside) for inside in (True, False)]
        assert calls(name) == 2 * (1 + trained_runs(name)) * len(inputs) and declined(name) == {}, "backward as well"
        with torch.autocast("cpu", dtype=low), torch.autocast("cpu", enabled=False):
            assert comparable([evaluate(text, x) for x in inputs]) == comparable(alone[::3])
    for under, expected in zip(ours, stock, strict=True):
        assert without_bits(comparable(under)) == without_bits(comparable(expected))
        assert comparable(under) == comparable(alone), "the kernels', forward and backward"


@pytest.mark.skipif(torch_version() < AUTOCAST, reason="this torch's autocast is not probed")
def test_autocast_is_explained(patched: rusttorch.Handle) -> None:
    x, leaf = torch.randn(8, 8), torch.randn(8, 8, requires_grad=True)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            for value in (x, leaf, x.to(dtype)):
                assert rusttorch.explain(F.relu, value) == "accelerated"
                assert rusttorch.explain(F.softmax, value, -1) == "accelerated"
            with torch.no_grad(), torch.inference_mode():
                assert rusttorch.explain(F.relu, leaf) == "accelerated"
            with torch.overrides.BaseTorchFunctionMode():
                assert rusttorch.explain(F.relu, x) == "function mode"


@pytest.mark.skipif(torch_version() < AUTOCAST, reason="this torch's autocast is not probed")
def test_autocast_is_asked_about_when_it_is_met() -> None:
    """Of the operation that is called, once; and who cannot find out declines."""
    assert output("""
        import torch, rusttorch
        import torch.nn.functional as F
        from rusttorch import patching

        asked, untouched = [], patching.untouched

        def spy(operations):
            asked.extend(operations)
            if "gelu" in asked:
                raise RuntimeError
            return untouched(operations)

        patching.untouched = spy
        x, outer = torch.randn(4, 8), rusttorch.patch(min_numel=0)
        F.relu(x)
        assert asked == []
        with rusttorch.accelerate("relu", min_numel=0), torch.autocast("cpu", torch.bfloat16):
            with torch.inference_mode(), torch.no_grad():
                F.relu(x), torch.relu(x)
            F.softmax(x, -1), F.relu(x), x.relu_(), F.gelu(x), F.gelu(x)
            assert torch.get_autocast_dtype("cpu") == torch.bfloat16 and torch.is_autocast_enabled("cpu")
            assert torch.is_autocast_cache_enabled()
        F.gelu(x)
        assert asked == ["relu", "softmax", "gelu"], asked
        ops = rusttorch.report().as_dict()["ops"]
        assert [ops[name]["calls"] for name in asked] == [5, 1, 1], ops
        assert list(ops["gelu"]["declined"].values()) == [2] and not ops["relu"]["declined"], ops
        outer.undo()
        F.relu(x)
        print(rusttorch.report().as_dict()["ops"]["relu"]["calls"])
    """) == "5"


def test_what_autocast_touches_is_found() -> None:
    """The probe sees a cast, of the result or of what is computed."""
    operation = built()["softmax"]
    assert untouched({"softmax": operation}) == {"softmax": set(CATALOG["softmax"].dtypes)}

    def product(x: torch.Tensor, dim: int) -> torch.Tensor:
        return torch.mm(x, x.t())  # cast to the lower precision

    def loss(x: torch.Tensor, dim: int) -> torch.Tensor:
        return F.mse_loss(x, x * 2)  # cast to single precision

    for function, alone in ((product, {"float64"}), (loss, {"float32", "float64"})):
        sites = [dataclasses.replace(operation.sites[0], stock=function)]
        assert untouched({"softmax": dataclasses.replace(operation, sites=sites)}) == {"softmax": alone}
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("order", [(2, 1, 0), (1, 0, 2), (0, 2, 1)])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_rows_of_permuted_inputs(name: str, order: tuple[int, ...], dim: int) -> None:
    """Forward runs on a copy; the node, what it saves and the gradient lie in memory as stock torch's."""

    def run() -> Any:
        base = torch.linspace(-3, 3, 36 * 40 * 32).sin().view(36, 40, 32).requires_grad_()
        found = []
        for x in (base.detach().permute(order).requires_grad_(), base.permute(order)):
            seen = []
            x.register_hook(lambda gradient, seen=seen: seen.append(gradient.stride()))
            y = getattr(torch, name)(x, dim)
            node, saved = y.grad_fn, y.grad_fn._saved_result
            following = [next_.name() for next_, _ in node.next_functions]
            y.backward(torch.ones(y.shape).cumsum(1), retain_graph=True)
            y.backward(torch.ones(y.shape[::-1]).permute(*reversed(range(y.dim()))))
            found.append([y, node.name(), following, saved.stride(), seen, x._version])
        return [*found, base.grad]

    rusttorch.report(reset=True)
    stock, ours = both(run)
    assert without_bits(stock) == without_bits(ours)
    backward = 0 if name == "logsumexp" else 2
    assert declined(name) == {} and calls(name) >= 2 + backward, "forward, and backward of a row-major gradient"


def test_rows_of_permuted_inputs_have_the_right_values(patched: rusttorch.Handle) -> None:
    for function in (torch.softmax, torch.log_softmax, torch.logsumexp):
        x = torch.randn(4, 6, 8, dtype=torch.float64).transpose(0, 2).requires_grad_()
        assert gradcheck(lambda x, function=function: function(x, 1), x)
        assert gradgradcheck(lambda x, function=function: function(x, 1), x)


def test_multithreaded_backward(patched: rusttorch.Handle) -> None:
    import threading

    x = torch.randn(64, 64, dtype=torch.float64)
    results: list[torch.Tensor] = []

    def work() -> None:
        leaf = x.clone().requires_grad_()
        for _ in range(5):
            leaf.grad = None
            F.softmax(F.gelu(leaf), -1).square().sum().backward()
        results.append(leaf.grad)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(results) == 6
    assert all(torch.equal(results[0], other) for other in results)


def test_custom_function_inside_and_around() -> None:
    class Mine(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return F.relu(x)

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            (x,) = ctx.saved_tensors
            return grad * torch.sigmoid(x)

    def run() -> Any:
        x = torch.ones(8, dtype=torch.float64, requires_grad=True)
        y = F.relu(Mine.apply(F.relu(x)))
        y.sum().backward()
        return type(y.grad_fn).__name__, x.grad.shape

    rusttorch.report(reset=True)
    stock, ours = both(run)
    assert stock == ours
    assert calls("relu") >= 4 and calls("sigmoid") == 1


def test_module_with_backward_hooks_and_deepcopy(patched: rusttorch.Handle) -> None:
    seen = []
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model[1].register_full_backward_hook(lambda module, grads, outputs: seen.append(len(grads)))
    model(torch.randn(2, 4)).sum().backward()
    assert seen == [1]
    again = copy.deepcopy(model)
    file = io.BytesIO()
    torch.save(again.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file))
    assert torch.equal(again(torch.ones(2, 4)), model(torch.ones(2, 4)))


def test_out_of_place_result_does_not_share_the_input() -> None:
    with rusttorch.patch(min_numel=0):
        x = torch.ones(4, requires_grad=True)
        with torch.no_grad():
            y = F.relu(x)
            y.add_(1)
        assert torch.equal(x, torch.ones(4)) and x._version == 0
