"""Functions of torch's names on explicit tensors, NumPy arrays and torch tensors, against stock torch."""

from __future__ import annotations

import ast
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import rusttorch
from rusttorch import Tensor, _functions
from rusttorch.catalog import EVERY, Index, Nary, Op, Select

FLOATS = ["float32", "float64", "bfloat16", "float16"]
#: How far results may be from those of a float64 reference, in units of the dtype's last place.
PLACES = 8
#: The same of sums of many products.
PRODUCTS = 200

#: Representative calls of the catalogue whose function there is one for, by its name.
CALLS = [
    (name, text)
    for name, row in EVERY.items()
    if isinstance(row, (Op, Nary, Index, Select)) and _functions.find(name) is not None
    for text in row.calls
    if text.startswith((f"F.{name}(", f"torch.{name}(")) and not getattr(row, "random", False)
]


def ours_of(value: Any) -> Any:
    """A call's values as explicit tensors."""
    if isinstance(value, torch.Tensor):
        return Tensor.from_torch(value)
    return value


def theirs_of(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone().to_torch()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value))
    return tuple(theirs_of(each) for each in value) if isinstance(value, tuple) else value


class _Names(ast.NodeTransformer):
    """Calls of torch's functions as those of this package."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        match node.func:
            case ast.Attribute(value=ast.Name(id="F" | "torch"), attr=name) if _functions.find(name) is not None:
                node.func.value = ast.Name(id="rusttorch", ctx=ast.Load())
        return node


def evaluate(row: Any, text: str, x: torch.Tensor, world: str) -> Any:
    """The call on what `world` says."""
    scope = row.scope(x)
    if world != "torch":
        convert = ours_of if world == "ours" else lambda value: value.numpy() if hasattr(value, "numpy") else value
        scope = {name: convert(value) if isinstance(value, torch.Tensor) else value for name, value in scope.items()}
        text = ast.unparse(_Names().visit(ast.parse(text, mode="eval")))
    return eval(text, {**scope, "rusttorch": rusttorch})


def close(found: Any, expected: Any, exact: bool, places: int = PLACES) -> None:
    """Equal, or close to what is expected where that is of floating-point numbers."""
    if isinstance(expected, tuple):
        for a, b in zip(found, expected, strict=True):
            close(a, b, exact, places)
        return
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if exact or not found.is_floating_point():
        assert torch.equal(torch.nan_to_num(found), torch.nan_to_num(expected.contiguous()))
        return
    bound = places * torch.finfo(found.dtype).eps
    # Where stock torch's sums of half precision overflow, ours need not.
    finite = expected.isfinite()
    torch.testing.assert_close(found[finite], expected[finite], rtol=bound, atol=bound)


def values(row: Any, *sizes: int, dtype: torch.dtype) -> torch.Tensor:
    x = torch.randn(sizes, dtype=torch.float64) * 1.3 + 0.0371
    if not dtype.is_floating_point:
        return torch.randint(0, 100, sizes).to(dtype)
    domain = getattr(row, "domain", "any")
    if domain == "probability":
        return x.sigmoid().to(dtype)
    return (x.abs() + 0.3 if domain == "positive" else x).to(dtype)


@pytest.mark.parametrize(("name", "text"), CALLS, ids=str)
@pytest.mark.parametrize("world", ["ours", "numpy"])
def test_calls_of_the_catalogue(name: str, text: str, world: str) -> None:
    row = EVERY[name]
    methods = ("unsqueeze", "contiguous", ".t()", ".view(")
    if "as_tuple" in text or (world == "numpy" and any(method in text for method in methods)):
        return  # not for these tensors
    for dtype in row.dtypes:
        if world == "numpy" and dtype == "bfloat16":
            continue
        for sizes in ((6, 8), (4, 40), (128, 96)):
            x = values(row, *sizes, dtype=getattr(torch, dtype))
            # What is subtracted from sums of squares in a product of matrices loses too many digits to compare with.
            whole = "compute_mode='donot_use_mm_for_euclid_dist'"
            expected = evaluate(row, text.replace("cdist(y, z)", f"cdist(y, z, {whole})"), x, "torch")
            found = evaluate(row, text, x, world)
            assert isinstance(found, Tensor if world == "ours" else np.ndarray)
            places = PRODUCTS if getattr(row, "multiplies", False) else PLACES
            close(theirs_of(found), expected, row.exactness == "bits", places)


@pytest.mark.parametrize("name", ["relu", "gelu", "softmax", "layer_norm", "sum", "max", "mse_loss", "add", "matmul"])
def test_torch_tensors_go_to_torch(name: str) -> None:
    x = torch.randn(4, 4, requires_grad=True)
    others = {"softmax": (-1,), "layer_norm": ((4,),), "mse_loss": (x.detach(),), "add": (x,), "matmul": (x,)}
    result = getattr(rusttorch, name)(x, *others.get(name, ()))
    assert isinstance(result, torch.Tensor)
    result.sum().backward()
    assert x.grad is not None
    with torch.device("meta"):
        assert rusttorch.relu(torch.ones(3)).is_meta
    with rusttorch.patch(ops=["relu"], min_numel=0):
        rusttorch.report(reset=True)
        rusttorch.relu(torch.ones(3))
        assert "relu" in str(rusttorch.report())


SHAPES = [(), (5,), (3, 4), (2, 3, 5), (2, 0, 3), (300, 200), (2, 1, 4)]


@pytest.mark.parametrize("name", ["sum", "mean"])
@pytest.mark.parametrize("dtype", [*FLOATS, "int64", "int32", "int16", "int8", "uint8", "bool"])
def test_sums(name: str, dtype: str) -> None:
    stock, ours = getattr(torch, name), getattr(rusttorch, name)
    for shape in SHAPES:
        x = values(None, *shape, dtype=getattr(torch, dtype))
        for turned in (x, x.permute(tuple(reversed(range(x.dim()))))):
            if name == "mean" and not x.is_floating_point():
                with pytest.raises(TypeError, match="mean: expected floating-point numbers"):
                    ours(Tensor.from_torch(turned))
                continue
            dims = (*range(-x.dim(), x.dim()), None, (0, -1)[: x.dim()])
            calls: list[dict[str, Any]] = [{"dim": dim, "keepdim": keep} for keep in (False, True) for dim in dims]
            for words in ({}, *calls):
                if x.dim() == 1 and words.get("dim") == (0, -1):
                    continue
                expected = stock(turned.double() if turned.is_floating_point() else turned, **words)
                found = theirs_of(ours(Tensor.from_torch(turned), **words))
                if turned.is_floating_point():
                    scale = turned.double().abs().sum() if turned.numel() else torch.tensor(1.0)
                    assert found.dtype == turned.dtype
                    assert found.shape == expected.shape
                    error = (found.double() - expected).abs().nan_to_num()
                    # Of terms of both signs, and of the reference, whose own sums are no better than those of float64.
                    size = stock(turned.double().abs(), **words).nan_to_num() + (scale if dtype == "float64" else 0)
                    assert (error <= torch.finfo(found.dtype).eps * size).all()
                else:
                    assert torch.equal(found, expected)
    same = rusttorch.sum(Tensor.ones(3, dtype="int32"), dtype="float64")
    assert (same.dtype, same.item()) == (rusttorch.float64, 3.0)


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
@pytest.mark.parametrize("dtype", [*FLOATS, "int64", "int32", "uint8", "bool"])
def test_extremes(name: str, dtype: str) -> None:
    for shape in ((5,), (3, 4), (2, 3, 5), (300, 20), (2, 1, 4), (7, 600)):
        x = values(None, *shape, dtype=getattr(torch, dtype))
        if dtype == "bool" and name.startswith("arg"):
            continue  # stock torch has none
        ours = Tensor.from_torch(x)
        close(theirs_of(getattr(rusttorch, name)(ours)), getattr(torch, name)(x), True)
        for dim in range(-x.dim(), x.dim()):
            for keepdim in (False, True):
                expected = getattr(torch, name)(x.double(), dim, keepdim)
                found = getattr(rusttorch, name)(ours, dim, keepdim)
                if isinstance(expected, torch.Tensor):
                    close(theirs_of(found), expected, True)
                else:
                    assert type(found).__name__ == name
                    close(theirs_of(found.values), expected.values.to(x.dtype), True)
                    indices = found.indices if keepdim else found.indices.unsqueeze(dim)
                    gathered = torch.gather(x, dim, theirs_of(indices))
                    close(gathered if keepdim else gathered.squeeze(dim), expected.values.to(x.dtype), True)


@pytest.mark.parametrize("dtype", FLOATS)
def test_products(dtype: str) -> None:
    kind = getattr(torch, dtype)
    cases = [
        ((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((70, 80), (80, 90)), ((5, 2, 3), (3, 4)),
        ((5, 2, 3), (5, 3, 4)), ((5, 1, 2, 3), (6, 3, 4)), ((2, 3), (5, 3, 4)), ((3,), (5, 3, 4)), ((5, 2, 3), (3,)),
        ((0, 3), (3, 4)), ((2, 0), (0, 4)), ((1, 1), (1, 1)), ((200, 1), (1, 30)), ((1, 500), (500, 300)),
    ]  # fmt: skip
    for a, b in cases:
        for turn in (False, True):
            x, y = torch.randn(a, dtype=torch.float64).to(kind), torch.randn(b, dtype=torch.float64).to(kind)
            if turn and len(a) > 1:
                x = x.transpose(-1, -2).contiguous().transpose(-1, -2)
            if turn and len(b) > 1:
                y = y.transpose(-1, -2).contiguous().transpose(-1, -2)
            expected = torch.matmul(x.double(), y.double())
            size = torch.matmul(x.double().abs(), y.double().abs())
            for found in (rusttorch.matmul(Tensor.from_torch(x), Tensor.from_torch(y)),
                          Tensor.from_torch(x) @ Tensor.from_torch(y)):  # fmt: skip
                got = theirs_of(found)
                assert got.dtype == kind
                assert got.shape == expected.shape
                assert ((got.double() - expected).abs() <= 2 * torch.finfo(kind).eps * (size + 1e-30)).all()


def test_arithmetic_by_name() -> None:
    x, y = torch.randn(3, 4), torch.randn(4)
    ours, others = Tensor.from_torch(x), Tensor.from_torch(y)
    for name in ("add", "sub", "mul", "div", "eq", "ne", "lt", "le", "gt", "ge"):
        for second, stock in ((others, y), (2, 2), (0.5, 0.5)):
            expected = getattr(torch, name)(x, stock)
            close(theirs_of(getattr(rusttorch, name)(ours, second)), expected, True)
            array = rusttorch.__getattr__(name)(x.numpy(), second if second is not others else y.numpy())
            assert isinstance(array, np.ndarray)
            close(theirs_of(array), expected, True)
    for name in ("add", "sub"):
        found = getattr(rusttorch, name)(ours, others, alpha=0.3)
        close(theirs_of(found), getattr(torch, name)(x, y, alpha=0.3), False)
    assert rusttorch.transpose(ours, 0, 1).shape == (4, 3)
    assert rusttorch.reshape(ours, (2, 6)).shape == rusttorch.reshape(x.numpy(), (2, -1)).shape == (2, 6)


def test_methods() -> None:
    ours = Tensor.arange(6, dtype="float32").reshape(2, 3)
    assert ours.sum().item() == 15
    assert ours.mean(dim=0).tolist() == [1.5, 2.5, 3.5]
    assert ours.max(1).values.tolist() == [2, 5]
    assert ours.argmax().item() == 5
    assert ours.softmax(dim=-1).shape == (2, 3)
    assert ours.matmul(ours.T).tolist() == [[5, 14], [14, 50]]
    assert rusttorch.swish(ours).tolist() == rusttorch.silu(ours).tolist()


def test_in_place() -> None:
    ours = Tensor.from_numpy(np.array([-1.0, 2.0], dtype="float32"))
    assert rusttorch.relu(ours, inplace=True) is ours
    assert ours.tolist() == [0, 2]
    array = np.array([[-1.0, 2.0]])
    assert rusttorch.relu(array.T, inplace=True).base is array
    assert array.tolist() == [[0, 2]]
    array.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        rusttorch.relu(array, inplace=True)


def test_random_rows() -> None:
    ours = Tensor.ones(10_000)
    rusttorch.manual_seed(5)
    first = rusttorch.dropout(ours, 0.25)
    kept = sum(value != 0 for value in first.tolist())
    assert 7_000 < kept < 8_000
    assert max(first.tolist()) == pytest.approx(4 / 3)
    rusttorch.manual_seed(5)
    assert rusttorch.dropout(ours, 0.25).tolist() == first.tolist()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "uint8", "bool"])
def test_unique(dtype: str) -> None:
    x = (torch.randn(30, 20) * 3).to(getattr(torch, dtype))
    expected = torch.unique(x, return_inverse=True, return_counts=True)
    found = rusttorch.unique(Tensor.from_torch(x), return_inverse=True, return_counts=True)
    assert isinstance(found, tuple) and len(found) == 3
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(theirs_of(mine), theirs)
    values, counts = rusttorch.unique(Tensor.from_torch(x), return_counts=True)
    assert values.tolist() == expected[0].tolist() and counts.tolist() == expected[2].tolist()
    assert rusttorch.unique(x[:0].to(torch.float32).numpy(), return_inverse=True)[1].shape == (0, 20)
    if dtype != "bfloat16":
        assert isinstance(rusttorch.unique(x.numpy()), np.ndarray)
        assert rusttorch.unique(x.t().numpy()).tolist() == expected[0].tolist()


def test_unique_of_zeros_and_nan() -> None:
    x = np.array([math.nan, 0.0, -0.0, math.nan, 1.0])
    values, inverse, counts = rusttorch.unique(x, return_inverse=True, return_counts=True)
    assert values[:2].tolist() == [0.0, 1.0] and np.isnan(values[2:]).all()
    assert counts.tolist() == [2, 1, 1, 1] and sorted(inverse.tolist()) == [0, 0, 1, 2, 3]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_multinomial(dtype: str) -> None:
    p = Tensor.from_torch(torch.tensor([[0.1, 0.0, 0.4, 0.5], [0.0, 1.0, 0.0, 0.0]], dtype=getattr(torch, dtype)))
    rusttorch.manual_seed(3)
    places = rusttorch.multinomial(p, 20_000, replacement=True)
    assert places.shape == (2, 20_000) and places.dtype == rusttorch.int64
    shares = np.bincount(np.asarray(places[0]), minlength=4) / 20_000
    assert abs(shares - [0.1, 0.0, 0.4, 0.5]).max() < 0.02 and shares[1] == 0 and set(places[1].tolist()) == {1}
    rusttorch.manual_seed(3)
    assert rusttorch.multinomial(p, 20_000, True).tolist() == places.tolist()
    assert sorted(rusttorch.multinomial(p[0], 4).tolist()) == [0, 1, 2, 3]
    assert p[0].multinomial(1).shape == (1,)


def test_running_statistics_are_updated() -> None:
    x = torch.randn(64, 5)
    means = [torch.zeros(5), torch.zeros(5)]
    variances = [torch.ones(5), torch.ones(5)]
    expected = F.batch_norm(x, means[0], variances[0], training=True)
    found = rusttorch.batch_norm(
        Tensor.from_torch(x), Tensor.from_torch(means[1]), Tensor.from_torch(variances[1]), training=True
    )
    close(theirs_of(found), expected, False)
    torch.testing.assert_close(means[0], means[1])
    torch.testing.assert_close(variances[0], variances[1])


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda x: rusttorch.relu(Tensor.arange(3)), TypeError, r"relu: expected floating.*int64.*to\("),
        (lambda x: rusttorch.relu(np.arange(3)), TypeError, "relu: expected floating-point"),
        (lambda x: rusttorch.relu([1.0]), TypeError, "relu: input must be a rusttorch.Tensor.*list"),
        (lambda x: rusttorch.relu(), TypeError, "relu: input"),
        (lambda x: rusttorch.relu(x, 1, 2), TypeError, "takes 2 positional arguments but 3"),
        (lambda x: rusttorch.relu(x, inplaced=True), TypeError, "unexpected keyword argument 'inplaced'"),
        (lambda x: rusttorch.relu(x, input=x), TypeError, "multiple values for argument 'input'"),
        (lambda x: rusttorch.exp(x, out=x), TypeError, "out= is for torch's tensors alone"),
        (lambda x: rusttorch.softmax(x), TypeError, "softmax: dim must be given"),
        (lambda x: rusttorch.softmax(x, dim=2), IndexError, "dim 2 is out of range"),
        (lambda x: rusttorch.softmax(x, dim="a"), TypeError, "dim must be an integer"),
        (lambda x: rusttorch.sum(x, dim=(0, 0)), ValueError, "sum: dim 0 is given twice"),
        (lambda x: rusttorch.sum(x, dim=5), IndexError, "dim 5 is out of range"),
        (lambda x: rusttorch.max(Tensor.zeros(0)), ValueError, "no elements"),
        (lambda x: rusttorch.argmax(Tensor.zeros(2, 0), dim=1), ValueError, "no elements"),
        (lambda x: rusttorch.gelu(x, approximate="x"), ValueError, "approximate must be one of"),
        (lambda x: rusttorch.leaky_relu(x, "a"), TypeError, "negative_slope must be a number"),
        (lambda x: rusttorch.layer_norm(x, (3,)), ValueError, r"normalized_shape \[3\].*ends with"),
        (lambda x: rusttorch.layer_norm(x, (4,), weight=Tensor.ones(3)), ValueError, "sizes differ"),
        (lambda x: rusttorch.mse_loss(x, Tensor.ones(2, 4)), ValueError, "sizes of input and target differ"),
        (lambda x: rusttorch.mse_loss(x, Tensor.ones(3, 4, dtype="float64")), ValueError, "element types differ"),
        (lambda x: rusttorch.mse_loss(x, 1.0), TypeError, "target must be a tensor"),
        (lambda x: rusttorch.mse_loss(x, x, reduction="all"), ValueError, "reduction must be one of"),
        (lambda x: rusttorch.cross_entropy(x, Tensor.full([3], 9)), IndexError, "class out of range"),
        (lambda x: rusttorch.binary_cross_entropy(x + 5, x), ValueError, "elements that have no loss"),
        (lambda x: rusttorch.matmul(x, Tensor.ones(4, 2, dtype="float64")), TypeError, "dtypes differ"),
        (lambda x: rusttorch.matmul(x, Tensor.ones(4, 2, dtype="int64")), TypeError, "floating-point"),
        (lambda x: rusttorch.matmul(x, Tensor.full([], 1.0)), ValueError, "a dimension at least"),
        (lambda x: rusttorch.matmul(x, 2), TypeError, "expected a tensor, not a number"),
        (lambda x: rusttorch.add(x), TypeError, "missing a required argument: 'other'"),
        (lambda x: rusttorch.add(x, "a"), TypeError, "add: expected a tensor or a number"),
        (lambda x: rusttorch.add(Tensor.arange(3), 1, alpha=0.5), TypeError, "alpha must be an integer"),
        (lambda x: rusttorch.div(x, 2, rounding_mode="floor"), TypeError, "rounding_mode= is for torch's"),
        (lambda x: rusttorch.gather(x, 0, Tensor.full([1, 1], 7)), IndexError, "out of range"),
        (lambda x: rusttorch.topk(x, 5), ValueError, "more than there are"),
        (lambda x: rusttorch.var(x, unbiased=True, correction=1), ValueError, "unbiased and a correction"),
        (lambda x: rusttorch.masked_select(x, x), TypeError, "mask must be of bool"),
        (lambda x: rusttorch.dropout(x, 1.5), ValueError, "between 0 and 1"),
        (lambda x: rusttorch.unique(x, dim=0), TypeError, "dim= is for torch's tensors alone"),
        (lambda x: rusttorch.multinomial(x, 5), ValueError, "num_samples is .* at most the 4 probabilities"),
        (lambda x: rusttorch.multinomial(x, 0), ValueError, "num_samples is at least 1"),
        (lambda x: rusttorch.multinomial(x, -1), ValueError, "num_samples must be a positive integer"),
        (lambda x: rusttorch.multinomial(x * 0, 1), ValueError, "must be finite and not negative"),
        (lambda x: rusttorch.multinomial(x[None], 1), ValueError, "one or two dimensions"),
        (lambda x: rusttorch.multinomial(Tensor.arange(3), 1), TypeError, "floating-point"),
        (lambda x: rusttorch.nothing(x), AttributeError, "nothing"),
    ],
)  # fmt: skip
def test_what_is_refused(wrong: Any, error: type[Exception], message: str) -> None:
    x = Tensor.ones(3, 4)
    with pytest.raises(error, match=message):
        wrong(x)
    assert x.tolist() == [[1.0] * 4] * 3


@pytest.mark.parametrize("name", [*_functions.names()])
def test_every_function_says_what_it_is(name: str) -> None:
    function = getattr(rusttorch, name)
    stock = _functions.ALIASES.get(name, name)
    assert function.__name__ == stock
    assert f"{stock}(" in function.__doc__
    assert "Raises TypeError" in function.__doc__
    assert pickle.loads(pickle.dumps(function)) is getattr(rusttorch, stock)
    assert name in dir(rusttorch)
    for junk in ((), (None,), (object(), 3), (Tensor.ones(3), object(), object())):
        with pytest.raises((TypeError, ValueError, IndexError)):
            function(*junk)


def parameters(dtype: str) -> dict[str, torch.Tensor]:
    made = {name: torch.randn(30, 7, dtype=torch.float64) for name in ("param", "grad", "first", "second")}
    # Squares that half precision holds.
    made["grad"] += 0.1 * made["grad"].sign()
    return {name: tensor.to(getattr(torch, dtype)) for name, tensor in made.items()}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("world", ["ours", "numpy", "torch"])
def test_optimizers(dtype: str, world: str) -> None:
    if world == "numpy" and dtype == "bfloat16":
        return
    convert = {"ours": Tensor.from_torch, "numpy": lambda x: x.numpy(), "torch": lambda x: x}[world]
    cases: list[tuple[Any, Any, dict[str, Any]]] = [
        (rusttorch.optim.adam_, torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.1}),
        (rusttorch.optim.adamw_, torch.optim.AdamW, {"lr": 0.01, "betas": (0.8, 0.9), "maximize": True}),
        (rusttorch.optim.sgd_, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        (rusttorch.optim.sgd_, torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.2}),
    ]
    for rule, optimizer, words in cases:
        mine = parameters(dtype)
        reference = mine["param"].double().clone().requires_grad_()
        stock = optimizer([reference], foreach=False, **words)
        state = ["first", "second"] if optimizer is not torch.optim.SGD else ["first"]
        for name in state:
            mine[name].zero_()
        for step in range(1, 4):
            reference.grad = mine["grad"].double()
            stock.step()
            if optimizer is not torch.optim.SGD:
                words["step"] = step
            param = convert(mine["param"])
            result = rule(param, convert(mine["grad"]), *(convert(mine[name]) for name in state), **words)
            assert result is param
        unit = torch.finfo(mine["param"].dtype).eps
        torch.testing.assert_close(mine["param"].double(), reference.detach(), rtol=30 * unit, atol=30 * unit)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"grad": Tensor.ones(4)}, ValueError, r"grad is \[4\] of float32, and the parameter \[3\]"),
        ({"grad": Tensor.ones(3, dtype="float64")}, ValueError, "grad is .* of float64"),
        ({"grad": [1.0]}, TypeError, "grad must be a tensor, not"),
        ({"param": Tensor.arange(3)}, TypeError, "adam: expected floating-point"),
        ({"step": 0}, ValueError, "step counts from 1"),
        ({"lr": -1.0}, ValueError, "lr must not be negative"),
        ({"betas": (0.9, 1.0)}, ValueError, "betas must be"),
        ({"exp_avg": Tensor.ones(6)[::2]}, ValueError, "exp_avg must be contiguous"),
    ],
)
def test_steps_that_are_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    words = {name: Tensor.ones(3) for name in ("param", "grad", "exp_avg", "exp_avg_sq")} | {"step": 1}
    with pytest.raises(error, match=message):
        rusttorch.optim.adam_(**{**words, **change})
    assert words["param"].tolist() == words["exp_avg"].tolist() == [1] * 3
    shared = Tensor.ones(3)
    with pytest.raises(ValueError, match="shares memory"):
        rusttorch.optim.adam_(shared, shared, Tensor.ones(3), Tensor.ones(3), step=1)
    with pytest.raises(TypeError, match="momentum_buffer"):
        rusttorch.optim.sgd_(Tensor.ones(3), Tensor.ones(3), momentum=0.9)


def test_sums_are_close_to_the_truth() -> None:
    x = torch.rand(1_000_003, dtype=torch.float32)
    truth = math.fsum(x.tolist())
    assert abs(rusttorch.sum(Tensor.from_torch(x)).item() - truth) <= truth * 2.0**-24
