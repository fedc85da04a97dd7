"""Gradients: an autograd function for each row of the catalogue.

The forward pass saves what stock torch saves. The backward pass runs the backward kernel; where that declines, and
under ``create_graph``, it is stock torch's own differentiable formula from the row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from .catalog import Op

#: What a call's forward pass needs beside its input. The node takes the input alone, and so has stock torch's edges.
_call = threading.local()


def make_apply(op: Op, native: Any) -> Callable[..., Any]:
    """``apply(input, dim, *numbers)`` of the row's autograd function."""
    import torch

    saves_result, saves_both = op.saves == "result", op.shape == "reduce"
    formula = op.backward
    backward_kernel = native.backward
    forward_kernel = native.forward

    def forward(ctx: Any, input: Any) -> Any:
        ctx.dim, ctx.numbers = dim, numbers = _call.arguments
        result = forward_kernel(input, dim, numbers)
        if result is None:
            # The call was accepted, so that only memory can be short: this raises torch's own error.
            result = torch.empty_like(input)
            raise MemoryError(f"rusttorch: {op.name} could not run")
        if saves_both:
            ctx.save_for_backward(input, result)
        else:
            ctx.save_for_backward(result if saves_result else input)
        return result

    def backward(ctx: Any, grad: Any) -> Any:
        saved = ctx.saved_tensors
        gradient = backward_kernel(grad, saved[0], ctx.dim, ctx.numbers)
        if gradient is None:
            gradient = formula(grad, *saved, ctx.dim, *ctx.numbers[: len(op.numbers)])
        return gradient

    function = type(
        op.node,
        (torch.autograd.Function,),
        {"forward": staticmethod(forward), "backward": staticmethod(backward)},
    )
    # Seen as `grad_fn`: named as stock torch's node, with its names for what it saves.
    node = getattr(function, "_backward_cls", None)
    if node is not None:
        node.__name__ = node.__qualname__ = op.node
        names = ("self", "result") if saves_both else (("result",) if saves_result else ("self",))
        for index, name in enumerate(names):
            setattr(node, f"_saved_{name}", property(lambda ctx, index=index: ctx.saved_tensors[index]))
            setattr(node, f"_raw_saved_{name}", property(lambda ctx, index=index: ctx._raw_saved_tensors[index]))
    # The base's `apply` looks for functorch first, which the guards have done.
    apply_input = super(torch.autograd.Function, function).apply

    def apply(input: Any, dim: int | None, *numbers: float) -> Any:
        _call.arguments = dim, numbers
        return apply_input(input)

    return apply
