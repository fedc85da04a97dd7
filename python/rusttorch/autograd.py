"""Gradients: an autograd function for each row of the catalogue.

The forward pass saves what stock torch saves. The backward pass runs the backward kernel; where that declines, and
under ``create_graph``, it is stock torch's own differentiable formula from the row.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

from .catalog import Along, Index, Nary, Op, Row, Select

#: What a call's forward pass needs beside its input. The node takes the input alone, and so has stock torch's edges.
_call = threading.local()


def make_apply(op: Row, native: Any) -> Callable[..., Any]:
    """``apply(input, dim, *numbers)`` of the row's autograd function; for several tensors ``input`` are those."""
    if isinstance(op, Nary):
        return _make_nary(op, native)
    if isinstance(op, Index):
        return _make_index(op, native)
    if isinstance(op, Select):
        return _make_select(op, native)
    if isinstance(op, Along):
        return _make_along(op, native)
    assert isinstance(op, Op)
    return _make_masked(op, native) if op.random else _make_plain(op, native)


def _make_plain(op: Op, native: Any) -> Callable[..., Any]:
    saves_result, saves_both = op.saves == "result", op.saves == "both"
    formula = op.backward
    backward_kernel = native.backward
    forward_kernel = native.forward

    def forward(ctx: Any, input: Any) -> Any:
        ctx.dim, ctx.numbers = dim, numbers = _call.arguments
        result = _given(op, input, forward_kernel(input, dim, numbers))
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

    names = ("self", "result") if saves_both else (("result",) if saves_result else ("self",))
    return _function(op, forward, backward, names)


#: What an `Along` row's node has, by what it saves.
_SAVED_ALONG = {
    "indices": ("indices",),
    "input": ("self",),
    "both": ("self", "result"),
    "places": ("self", "indices"),
    "nothing": (),
}


def _make_along(op: Along, native: Any) -> Callable[..., Any]:
    """Saves what stock torch saves; the gradient is its formula."""
    import torch

    formula, forward_kernel = op.backward, native.forward
    pack = getattr(torch.return_types, op.pack) if op.pack else tuple
    names = _SAVED_ALONG[op.saves]

    def forward(ctx: Any, input: Any) -> Any:
        ctx.dim, ctx.numbers = dim, numbers = _call.arguments
        results = _given(op, input, forward_kernel(input, dim, numbers))
        results = results if isinstance(results, tuple) else (results,)
        indices = [result for result in results if not result.dtype.is_floating_point]
        ctx.mark_non_differentiable(*indices)
        ctx.set_materialize_grads(False)
        ctx.sizes, ctx.differentiable = input.shape, len(results) - len(indices)
        kinds = {"self": (input,), "result": results, "indices": indices}
        ctx.save_for_backward(*(tensor for name in names for tensor in kinds[name]))
        return tuple(results) if len(results) > 1 else results[0]

    def backward(ctx: Any, *grads: Any) -> Any:
        grads = grads[: ctx.differentiable]
        if all(grad is None for grad in grads):
            return None
        return formula(grads, ctx.saved_tensors, ctx.sizes, ctx.dim, *ctx.numbers[: len(op.numbers)])

    applies = [_function(op, forward, backward, names)]
    if op.overload:
        overload = list(op.numbers).index(op.overload)
        applies.append(_function(op, forward, backward, names, node=f"{op.node.removesuffix('0')}1"))

    def packed(input: Any, dim: int | None, *numbers: float) -> Any:
        apply = applies[bool(op.overload) and not math.isnan(numbers[overload])]
        results = apply(input, dim, *numbers)
        return pack(results) if isinstance(results, tuple) else results

    return packed


def _make_masked(op: Op, native: Any) -> Callable[..., Any]:
    """Saves a byte for each number of the noise, in the order of memory, where stock torch saves the noise itself."""
    import torch

    formula, make_noise, features = op.backward, op.noise, op.shape == "features"
    backward_kernel = native.backward_masked
    forward_kernel = native.forward_masked

    def forward(ctx: Any, input: Any, mask: Any) -> Any:
        ctx.dim, ctx.numbers = _, numbers = _call.arguments
        result = _given(op, input, forward_kernel(input, mask, numbers))
        ctx.sizes, ctx.strides, ctx.dtype = result.size(), result.stride(), result.dtype
        ctx.save_for_backward(mask)
        return result

    def noise(ctx: Any, mask: Any) -> Any:
        """Stock torch's, from the mask."""
        made = make_noise(mask.to(ctx.dtype), *ctx.numbers)
        if features:
            return made.view(*ctx.sizes[:2], *[1] * (len(ctx.sizes) - 2))
        return made.as_strided(ctx.sizes, ctx.strides)

    def backward(ctx: Any, grad: Any) -> tuple[Any, None]:
        (mask,) = ctx.saved_tensors
        gradient = None
        # A hook may have made another tensor of it.
        if mask.dtype is torch.uint8 and mask.is_cpu and mask.is_contiguous():
            gradient = backward_kernel(grad, mask, ctx.sizes, ctx.strides, ctx.numbers)
        if gradient is None:
            gradient = formula(grad, noise(ctx, mask), ctx.dim, *ctx.numbers[: len(op.numbers)])
        return gradient, None

    # A product's operand; where stock torch adds to it afterwards, its last node has nothing to show.
    product = op.node == "MulBackward0"
    shown = {"other": lambda ctx: noise(ctx, ctx.saved_tensors[0]), "self": lambda ctx: None}

    def masks(input: Any) -> tuple[Any, ...]:
        """An input of the node, as stock torch's noise is."""
        count = input.shape[:2].numel() if features else input.numel()
        return (torch.empty(count, dtype=torch.uint8),)

    return _function(
        op,
        forward,
        backward,
        ("other",) if product else (),
        shown if product else {},
        masks,
    )


def _make_nary(op: Nary, native: Any) -> Callable[..., Any]:
    """Saves the tensors that stock torch saves, and a few numbers of each row where that saves results of its steps."""
    import torch

    forward_kernel, backward_kernel = native.forward_nary, native.backward_nary
    formula = op.backward
    unsaved = [index for index, name in enumerate(op.names) if not name]
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}

    def forward(ctx: Any, *tensors: Any) -> Any:
        _, ctx.numbers = _call.arguments
        tensors += _call.updated
        result, kept = _given(op, tensors[0], forward_kernel(tensors, ctx.numbers))
        ctx.format = torch.contiguous_format if result.is_contiguous() else formats[result.dim()]
        if unsaved:
            ctx.unsaved = [(index, tensors[index]) for index in unsaved]
            tensors = tuple(tensor for tensor, name in zip(tensors, op.names, strict=True) if name)
        ctx.keeps = kept is not None
        ctx.save_for_backward(*tensors, *((kept,) if ctx.keeps else ()))
        return result

    def backward(ctx: Any, grad: Any) -> tuple[Any, ...]:
        tensors = list(ctx.saved_tensors)
        kept = tensors.pop() if ctx.keeps else None
        if unsaved:
            for index, tensor in ctx.unsaved:
                tensors.insert(index, tensor)
        wanted = ctx.needs_input_grad
        ordered = grad.contiguous(memory_format=ctx.format)
        gradients = backward_kernel(ordered, tensors, kept, wanted, ctx.numbers)
        if gradients is None:
            gradients = formula(grad, *tensors, *ctx.numbers)
        return tuple(gradient if want else None for gradient, want in zip(gradients, wanted, strict=True))

    return _function(op, forward, backward, tuple(filter(None, op.names)), unchanged=native.unchanged(len(op.names)))


def _make_index(op: Index, native: Any) -> Callable[..., Any]:
    """Saves what stock torch saves; the gradients are its formula."""
    formula, forward_kernel = op.backward, native.forward_index
    saved = [(index, op.saved_for.get(index)) for index in op.saves]

    def forward(ctx: Any, *tensors: Any) -> Any:
        # There is no dimension beside the numbers: in its place stands whether the input is changed.
        inplace, ctx.numbers = _call.arguments
        more = _call.updated  # a second index of a subscript
        result = _given(op, tensors[0], forward_kernel(tensors + more, ctx.numbers, bool(inplace)))
        if inplace:
            ctx.mark_dirty(result)
        ctx.sizes = tensors[0].shape
        wanted = ctx.needs_input_grad
        kept = (tensors[index] if user is None or wanted[user] else None for index, user in saved)
        ctx.save_for_backward(*kept, *more)
        return result

    def backward(ctx: Any, grad: Any) -> tuple[Any, ...]:
        gradients = formula(grad, ctx.saved_tensors, ctx.sizes, *ctx.numbers)
        pairs = zip(gradients, ctx.needs_input_grad, strict=True)
        return tuple((gradient() if callable(gradient) else gradient) if want else None for gradient, want in pairs)

    names, unchanged = tuple(op.saves.values()), 1 + len(op.operands)
    apply = _function(op, forward, backward, names, unchanged=unchanged)
    if not op.number_node:
        return apply
    by_number = _function(op, forward, backward, names, unchanged=unchanged, node=op.number_node)

    def chosen(tensors: tuple[Any, ...], *rest: Any) -> Any:
        return (by_number if any(tensor is None for tensor in tensors) else apply)(tensors, *rest)

    return chosen


def _make_select(op: Select, native: Any) -> Callable[..., Any]:
    """Saves what stock torch saves; the gradient is its formula."""
    formula, forward_kernel = op.backward, native.forward_select

    def forward(ctx: Any, input: Any, mask: Any) -> Any:
        ctx.save_for_backward(input, mask)
        return _given(op, input, forward_kernel(input, mask))

    def backward(ctx: Any, grad: Any) -> tuple[Any, None]:
        input, mask = ctx.saved_tensors
        return formula(grad, mask, input.shape), None

    return _function(op, forward, backward, ("self", op.mask), unchanged=2)


def _given(op: Row, input: Any, result: Any) -> Any:
    """The kernel's result. The call was accepted, so that only memory can be short: this raises torch's own error."""
    if result is None:
        import torch

        torch.empty_like(input)
        raise MemoryError(f"rusttorch: {op.name} could not run")
    return result


def _function(
    op: Op | Nary | Index | Select,
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    names: tuple[str, ...],
    shown: dict[str, Callable[[Any], Any]] | None = None,
    others: Callable[[Any], tuple[Any, ...]] = lambda input: (),
    unchanged: int = 0,
    node: str = "",
) -> Callable[..., Any]:
    """``apply`` of an autograd function, whose node is the row's where it is not given.

    Its node has what it saves by these ``names``, or what ``shown`` makes of it; ``others`` are its inputs after the
    first. Of several tensors, the first ``unchanged`` are its inputs, and the others updated in place.
    """
    import torch

    name = node or op.node
    function = type(
        name,
        (torch.autograd.Function,),
        {"forward": staticmethod(forward), "backward": staticmethod(backward)},
    )
    # Seen as `grad_fn`: named as stock torch's node, with its names for what it saves.
    shows = getattr(function, "_backward_cls", None)
    if shows is not None:
        shows.__name__ = shows.__qualname__ = name
        for index, saved in enumerate(names):
            if not saved:
                continue
            setattr(shows, f"_saved_{saved}", property(lambda ctx, index=index: ctx.saved_tensors[index]))
            setattr(shows, f"_raw_saved_{saved}", property(lambda ctx, index=index: ctx._raw_saved_tensors[index]))
        for saved, show in (shown or {}).items():
            setattr(shows, f"_saved_{saved}", property(show))
    # The base's `apply` looks for functorch first, which the guards have done.
    apply_input = super(torch.autograd.Function, function).apply

    several = isinstance(op, (Nary, Index, Select))

    def apply(input: Any, dim: int | None, *numbers: float) -> Any:
        _call.arguments = dim, numbers
        if several:
            _call.updated = input[unchanged:]
            return apply_input(*input[:unchanged])
        return apply_input(input, *others(input))

    return apply
