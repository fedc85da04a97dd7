"""A few calls compared with stock torch, while nothing that they call is patched."""

from __future__ import annotations

import functools
import itertools
import warnings
from typing import TYPE_CHECKING, Any

from . import _rusttorch
from .catalog import Entrance, Index, Nary, Op, Sample, Select
from .thresholds import MODES

if TYPE_CHECKING:
    from .patching import Operation


def failures(operations: dict[str, Operation]) -> list[str]:
    """The doors' checks that fail: reading, making, shapes, strides, versions and gradients."""
    import torch

    wrong = []
    relu = operations["relu"].native
    base = torch.linspace(-2.0, 2.0, 24)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        for view in (base.to(dtype).view(2, 3, 4), base.to(dtype).view(2, 3, 4).transpose(0, 2), base.to(dtype)[3:7]):
            try:
                stock = torch.relu(view)
            except RuntimeError:
                continue  # see `missing`
            mine = relu.forward(view, None, ())
            if mine is None or not _same(torch, mine, stock):
                wrong.append(f"relu {dtype}")
                break
    x = base.view(4, 6)
    rows = operations["softmax"].native.forward(x, -1, ())
    if rows is None or not torch.allclose(rows, torch.softmax(x, -1), rtol=1e-5):
        wrong.append("softmax")
    with torch.no_grad():
        gradient = relu.backward(torch.ones_like(base), torch.relu(base), None, ())
    # Declined where forward-mode differentiation is on, in any thread.
    if gradient is not None and not _same(torch, gradient, (base > 0).to(base.dtype)):
        wrong.append("relu backward")
    # In place is only what a callable does, and it counts up once whoever takes the call.
    for site in operations["relu"].sites:
        if site.entrance.inplace:
            version, view = base._version, base[1:]
            _rusttorch.set_active(site.callable, True)
            site.callable(base)
            _rusttorch.set_active(site.callable, False)
            if base._version != version + 1 or view._version != version + 1 or base.min() < 0:
                wrong.append("in place")
                break
    return wrong


def missing(row: Op | Nary | Select | Index) -> set[tuple[str, str]]:
    """``(mode, dtype)`` that this torch does not have on the CPU: its own error is what the program shall see."""
    import torch

    found = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of stock torch, of what nobody called
        for dtype in row.dtypes:
            kind = getattr(torch, dtype)
            x = torch.full((2, 2), 0.5).to(kind).requires_grad_(kind.is_floating_point)
            for call in row.calls:
                try:
                    result = eval(call, row.scope(x))
                except (AttributeError, TypeError):
                    continue  # this torch lacks the function or an argument
                except RuntimeError:
                    found |= {(mode, dtype) for mode in MODES}
                    break
                if not row.trains or not x.requires_grad:
                    continue
                try:
                    result.backward(torch.ones_like(result))
                except RuntimeError:
                    found.add(("training", dtype))
    return found


def different(operation: Operation) -> set[tuple[str, str]]:
    """``(mode, dtype)`` of an op whose random numbers are not stock torch's here: its generator has several."""
    import torch

    found, generator = set(), torch.default_generator
    before, native, row = generator.get_state(), operation.native, operation.row
    site = next(site for site in operation.sites if site.entrance.path == row.calls[0].partition("(")[0])
    needed = _needed(row, site.entrance)
    try:
        # Roundings that one probability shows another does not.
        for dtype, share in itertools.product(row.dtypes, (1.0,) if isinstance(row, Sample) else (1.0, 0.2)):
            numbers = {name: share * value for name, value in row.numbers.items()}
            if isinstance(row, Sample):
                numbers = {name: int(row.numbers[name]) for name in row.integers}
            # Enough elements to renew the generator's state, from where a word has been drawn that makes no pair.
            x = torch.linspace(-2.0, 2.0, 1500).to(getattr(torch, dtype))
            x = x.abs().view(30, 50) if isinstance(row, Sample) else x
            if row.shape == "features":
                x = x.view(30, 50, 1).expand(30, 50, 2).contiguous()
            torch.rand(1)
            state = generator.get_state()
            try:
                expected, after = site.stock(x, **{**needed, **numbers}), generator.get_state()
            except RuntimeError:
                continue  # see `missing`
            generator.set_state(state)
            mine = native.forward(x, None, tuple(numbers.values()))
            if mine is None or not _same(torch, mine, expected) or not torch.equal(generator.get_state(), after):
                found |= {(mode, dtype) for mode in MODES}
    finally:
        generator.set_state(before)
    return found


def _needed(row: Op, entrance: Entrance) -> dict[str, Any]:
    """A value for each argument that a call by a kernel has to have, but the input."""
    values = {"dim": -1, "true": True, "integer": 1}
    return {
        p.name: values[p.role] if p.role in values else row.numbers[p.name]
        for p in entrance.parameters[1:]
        if p.required or p.role == "dim"
    }


def untouched(operations: dict[str, Operation]) -> dict[str, set[str]]:
    """The dtypes, by operation, of which stock torch's autocast leaves inputs, results and gradients as they are."""
    import torch

    def everything(operation: Operation, dtype: str) -> list[Any]:
        row, results = operation.row, []
        torch.default_generator.set_state(state)
        x = torch.linspace(0.25, 0.75, 24).to(getattr(torch, dtype)).view(2, 12)
        for site in operation.sites if not isinstance(row, Index) else ():
            more = (site.entrance.dims or x.dim()) - x.dim()
            result = site.stock(x.view(*x.shape, *[1] * more).clone(), **_needed(row, site.entrance))
            results += result if isinstance(result, tuple) else (result,)
        leaf = x.clone().requires_grad_(row.trains and x.is_floating_point())
        result = eval(row.calls[0], row.scope(leaf))
        results.append(result.detach())
        if result.requires_grad:
            results += _gradients(result.grad_fn, torch.ones_like(result))
        return results

    found: dict[str, set[str]] = {}
    state = torch.default_generator.get_state()
    before = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)  # the cache is one for all threads
    for name, operation in operations.items():
        for dtype in operation.row.dtypes:
            try:
                torch.set_autocast_enabled("cpu", False)
                plain = everything(operation, dtype)
                torch.set_autocast_enabled("cpu", True)
                for low in (torch.bfloat16, torch.float16):
                    torch.set_autocast_dtype("cpu", low)
                    if not all(map(functools.partial(_same, torch), everything(operation, dtype), plain)):
                        break
                else:
                    found.setdefault(name, set()).add(dtype)
            except RuntimeError:
                continue  # see `missing`
            finally:
                torch.set_autocast_enabled("cpu", before[0])
                torch.set_autocast_dtype("cpu", before[1])
    torch.default_generator.set_state(state)
    torch.set_autocast_cache_enabled(cached)
    return found


def _gradients(node: Any, gradient: Any) -> list[Any]:
    """The leaves' gradients, node by node: the engine would import half of torch."""
    gradients = node(gradient)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    found = []
    for (following, _), one in zip(node.next_functions, gradients, strict=True):
        if following is not None:
            found += [one] if hasattr(following, "variable") else _gradients(following, one)
    return found


def _same(torch: Any, a: Any, b: Any) -> bool:
    return type(a) is torch.Tensor and a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(a, b)
