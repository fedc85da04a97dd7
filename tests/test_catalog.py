"""The catalogue's rows fit the kernels, this torch's functions and the shipped thresholds."""

from __future__ import annotations

import inspect
import json
import math
import re
from importlib import resources
from typing import Any

import pytest
import torch

from rusttorch import _rusttorch, patching, thresholds
from rusttorch.catalog import CATALOG, DTYPES, EVERY, ROWS, TENSOR_OPS, Along, Entrance, Op

ENTRANCES = [(op, entrance) for op in ROWS for entrance in op.parsed()]

#: Entrances that torch 2.0 lacks; none so far.
NEWER: set[str] = set()

all_ops = pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
all_entrances = pytest.mark.parametrize(("op", "entrance"), ENTRANCES, ids=[entrance.path for _, entrance in ENTRANCES])


def stock(entrance: Entrance) -> Any:
    if entrance.path in NEWER and not hasattr(entrance.holder(), entrance.attribute):
        pytest.skip("this torch is older")
    return getattr(entrance.holder(), entrance.attribute)


def test_names_are_unique() -> None:
    assert len(CATALOG) == len(ROWS)
    paths = [entrance.path for _, entrance in ENTRANCES]
    assert len(set(paths)) == len(paths)
    calls = [call for op in ROWS for call in op.calls]
    assert len(set(calls)) == len(calls)


@all_ops
def test_kernels_exist(op: Op) -> None:
    assert (op.kernel or op.name) in _rusttorch.kernels()


def test_kernels_are_used() -> None:
    assert {row.kernel or row.name for row in EVERY.values()} == set(_rusttorch.kernels())


@all_ops
def test_rows_are_complete(op: Op) -> None:
    assert op.calls
    assert set(op.dtypes) <= set(DTYPES)
    assert op.flops > 0
    assert set(op.choices) <= set(op.numbers)
    roles = ("number", "integer", "flag", "overload")
    numbers = {p.name for entrance in op.parsed() for p in entrance.parameters if p.role in roles}
    assert numbers == set(op.numbers), "numbers that no entrance has"
    assert (op.noise is not None) == (op.saves == "mask")
    assert op.trains == (op.backward is not None)
    if op.backward is None:
        return
    assert re.search(r"Backward\d$", op.node)
    parameters = list(inspect.signature(op.backward).parameters.values())
    # The gradient, what was saved, one or two, the dimension and the numbers.
    given = 3 + (op.saves == "both") + len(op.numbers)
    if isinstance(op, Along):  # gradients, what was saved, the input's sizes
        given = 4 + len(op.numbers)
    assert len(parameters) >= given, "the formula takes the numbers"
    assert all(p.default is not inspect.Parameter.empty for p in parameters[given:])


@all_entrances
def test_entrances_exist(op: Op, entrance: Entrance) -> None:
    function = stock(entrance)
    assert callable(function)
    assert patching._is_stock(function)
    assert entrance.inplace == (re.search(r"[^_]_$", entrance.attribute) is not None)
    first = entrance.parameters[0]
    assert first.role == "input" and first.required
    assert first.name == ("self" if entrance.owner else "input")


@all_entrances
def test_sites_are_built(op: Op, entrance: Entrance) -> None:
    stock(entrance)
    assert entrance.path in [site.entrance.path for site in patching.operations()[op.name].sites]


def signature(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except ValueError:
        return None  # a C function without a text signature


WRITTEN = [(op, e) for op, e in ENTRANCES if hasattr(e.holder(), e.attribute) and signature(stock(e))]


@pytest.mark.parametrize(("op", "entrance"), WRITTEN, ids=[entrance.path for _, entrance in WRITTEN])
def test_signatures_are_torchs(op: Op, entrance: Entrance) -> None:
    """Names, order, kinds and defaults, where torch says them; `test_defaults` asks the others by calling."""
    theirs = signature(stock(entrance))
    assert theirs is not None
    parameters = list(theirs.parameters.values())
    assert [p.name for p in parameters] == [p.name for p in entrance.parameters]
    for own, p in zip(entrance.parameters, parameters, strict=True):
        assert own.keyword_only == (p.kind is p.KEYWORD_ONLY), own.name
        # What is off by default is stock torch's.
        assert own.required == (p.default is p.empty) or own.role == "true", own.name
        if p.default is not p.empty:
            assert own.default == p.default, own.name


def sample(op: Op, entrance: Entrance | None = None) -> torch.Tensor:
    x = torch.linspace(-3, 3, 64, dtype=torch.float64).view(2, 32)
    if entrance and entrance.dims:
        x = x.view(*x.shape, *[1] * (entrance.dims - x.dim()))
    return x.abs() + 0.1 if op.domain == "positive" else x


def required(op: Op, entrance: Entrance) -> dict[str, Any]:
    """A value for each parameter that must be given."""
    numbers = {name: 2 if name in op.integers else 0.25 if op.random or name == "q" else 2.0 for name in op.numbers}
    values = {"dim": -1, "train": True, "training": True, **numbers}
    return {p.name: values[p.name] for p in entrance.parameters[1:] if p.required}


def same(function: Any, *args: Any, **kwargs: Any) -> Any:
    """The result of a call, or the first of several, with the same random numbers each time."""
    torch.manual_seed(0)
    result = function(*args, **kwargs)
    return result[0] if isinstance(result, tuple) else result


@all_entrances
def test_defaults(op: Op, entrance: Entrance) -> None:
    """Spelling a default out changes nothing in stock torch; nor does where a parameter stands."""
    function, given = stock(entrance), required(op, entrance)
    defaults = {
        p.name: p.default
        for p in entrance.parameters[1:]
        if not p.required and not (p.default is None and p.role in ("dim", "absent"))
    }
    if entrance.path.startswith("F.") and any(p.role == "dim" and p.default is None for p in entrance.parameters):
        given["dim"] = -1
    plain = same(function, sample(op, entrance), **given)
    for name, value in defaults.items():
        assert torch.equal(same(function, sample(op, entrance), **given, **{name: value}), plain), name
    positional = []
    for p in entrance.parameters[1:]:
        if p.keyword_only:
            break
        positional.append(given.get(p.name, p.default))
    assert torch.equal(same(function, sample(op, entrance), *positional), plain)


@all_entrances
def test_choices_are_torchs(op: Op, entrance: Entrance) -> None:
    for name, choices in op.choices.items():
        if any(p.name == name for p in entrance.parameters):
            for choice in choices:
                stock(entrance)(sample(op), **required(op, entrance), **{name: choice})
            with pytest.raises((RuntimeError, ValueError, TypeError)):
                stock(entrance)(sample(op), **required(op, entrance), **{name: "something else"})


@pytest.mark.parametrize("op", [op for op in ROWS if op.trains], ids=lambda op: op.name)
def test_nodes_are_torchs(op: Op) -> None:
    x = sample(op).requires_grad_()
    # A call that says whether it is to be stable is another overload.
    result = eval(op.calls[0].replace(", stable=True", ""), {"torch": torch, "F": torch.nn.functional, "x": x})
    assert result.grad_fn.name() == op.node


@all_ops
def test_numbers_default_to_torchs(op: Op) -> None:
    """Where an entrance lacks a parameter, the kernel gets what the others have as default."""
    for entrance in op.parsed():
        for p in entrance.parameters:
            if p.role in ("number", "flag") and not p.required:
                default = op.choices[p.name].index(p.default) if p.name in op.choices else p.default
                number = op.numbers[p.name]
                # What is no number says that nothing was given.
                assert float(default) == number or math.isnan(number), entrance.path


def test_thresholds_name_what_exists() -> None:
    table = json.loads(resources.files("rusttorch").joinpath("thresholds.json").read_text("utf-8"))
    assert set(table) <= {"amd", "intel"}
    for isa, ops in (both for isas in table.values() for both in isas.items()):
        assert isa in ("avx512", "avx2")
        for name, dtypes in ops.items():
            op = name.partition(".")[0]
            assert op in TENSOR_OPS and name in TENSOR_OPS[op].sized, f"{isa}: {name}"
            for dtype, modes in dtypes.items():
                assert dtype in TENSOR_OPS[op].dtypes, f"{isa}: {name}: {dtype}"
                for mode, window in modes.items():
                    where = f"{isa}: {name}: {dtype}: {mode}"
                    assert mode in thresholds.MODES, where
                    if window is not None:
                        low, high = window
                        assert isinstance(low, int) and low >= 0, where
                        assert high is None or (isinstance(high, int) and high >= low), where
