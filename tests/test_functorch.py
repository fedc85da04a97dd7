"""Function transforms give what they give with stock torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import CALLS, both, calls, evaluate, sample, without_bits
from torch import func, nn

import rusttorch
from rusttorch.catalog import CATALOG

TRANSFORMS = {
    "vmap": lambda f, x: func.vmap(f)(x),
    "vmap out": lambda f, x: func.vmap(f, in_dims=1, out_dims=-1)(x),
    "grad": lambda f, x: func.grad(lambda v: f(v).sum())(x),
    "grad of grad": lambda f, x: func.grad(lambda w: func.grad(lambda v: f(v).sum())(w).sum())(x),
    "vjp": lambda f, x: func.vjp(f, x)[1](f(x)),
    "jvp": lambda f, x: func.jvp(f, (x,), (x,)),
    "jacrev": lambda f, x: func.jacrev(f)(x),
    "jacfwd": lambda f, x: func.jacfwd(f)(x),
    "vmap of grad": lambda f, x: func.vmap(func.grad(lambda v: f(v).sum()))(x),
    "hessian": lambda f, x: func.hessian(lambda v: f(v).sum())(x),
    "linearize": lambda f, x: func.linearize(f, x)[1](x),
    "functionalize": lambda f, x: func.functionalize(lambda v: F.relu_(f(v) * 1))(x),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms(transform: str) -> None:
    def run() -> Any:
        found = []
        for name, text in CALLS:
            x = sample(CATALOG[name], 2, 4)
            try:
                value = TRANSFORMS[transform](lambda v, text=text: evaluate(text, v), x)
                found.append((text, value))
            except Exception as error:
                found.append((text, type(error), str(error)))
        return found

    rusttorch.report(reset=True)
    stock, ours = both(run, warm=True)
    if transform == "vjp":  # whose `f(x)` is outside of the transform
        assert without_bits(stock) == without_bits(ours)
    elif transform in ("jvp", "linearize"):  # stock torch compiles parts of these at their second run
        assert without_bits(stock) == without_bits(ours)
        assert transform == "linearize" or all(calls(name) == 0 for name in CATALOG)
    else:
        assert stock == ours
        assert all(calls(name) == 0 for name in CATALOG)


def test_per_sample_gradients_and_functional_call() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2), nn.LogSoftmax(-1))
    x, y = torch.randn(6, 4), torch.tensor([0, 1] * 3)

    def run() -> Any:
        parameters = {name: p.detach() for name, p in model.named_parameters()}

        def loss(parameters: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return F.nll_loss(func.functional_call(model, parameters, (x[None],)), y[None])

        return list(func.vmap(func.grad(loss), in_dims=(None, 0, 0))(parameters, x, y).values())

    stock, ours = both(run)
    assert stock == ours


def test_kernels_are_back_after_a_transform(patched: rusttorch.Handle) -> None:
    func.grad(lambda x: F.relu(x).sum())(torch.randn(4))
    assert calls("relu") == 0
    F.relu(torch.randn(4))
    assert calls("relu") == 1


def test_old_style_vmap_of_a_backward(patched: rusttorch.Handle) -> None:
    x = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    y = F.softmax(x, -1)
    basis = torch.eye(16, dtype=torch.float64).view(16, 4, 4)
    rows = func.vmap(lambda v: torch.autograd.grad(y, x, v, retain_graph=True)[0])(basis)
    patched.undo()
    expected = torch.autograd.functional.jacobian(lambda x: F.softmax(x, -1), x)
    torch.testing.assert_close(rows.view(4, 4, 4, 4), expected)
