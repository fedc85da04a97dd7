"""A few calls compared with stock torch, before anything is patched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
            mine, stock = relu.forward(view, None, ()), torch.relu(view)
            if mine is None or not _same(torch, mine, stock):
                wrong.append(f"relu {dtype}")
                break
    x = base.view(4, 6)
    rows = operations["softmax"].native.forward(x, -1, ())
    if rows is None or not torch.allclose(rows, torch.softmax(x, -1), rtol=1e-5):
        wrong.append("softmax")
    with torch.no_grad():
        gradient = relu.backward(torch.ones_like(base), torch.relu(base), None, ())
    if gradient is None or not _same(torch, gradient, (base > 0).to(base.dtype)):
        wrong.append("relu backward")
    version = base._version
    torch.autograd.graph.increment_version(base)
    if base._version != version + 1:
        wrong.append("version counter")
    return wrong


def _same(torch: Any, a: Any, b: Any) -> bool:
    return type(a) is torch.Tensor and a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(a, b)
