"""The parts of torch that know functions by identity, and have to be told what a callable stands for.

Everywhere else the callable looks like the stock function: same name, class, hash and equality.
"""

from __future__ import annotations

import copyreg
import importlib
import sys
from typing import Any

import wrapt

from . import _rusttorch
from .logs import logger


def register(function: Any, stock: Any) -> None:
    """Tells torch.jit which operator a callable is, where it knows the stock function as one."""
    try:
        builtins = importlib.import_module("torch.jit._builtins")
        operator = builtins._find_builtin(stock)
        if operator is not None:
            builtins._register_builtin(function, operator)
    except (ImportError, AttributeError) as error:
        logger.info("torch.jit does not know the callables: %s", error)


def redirect(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Hands a call to ``__torch_function__`` with the function that the program sees.

    Torch's builtins would pass themselves, which are not what ``torch.relu`` is while patched. What is no tensor, such
    as a proxy that traces, gets the builtin: a traced graph outlives the patch.
    """
    import torch
    from torch.overrides import handle_torch_function, has_torch_function

    given = (*args, *kwargs.values())
    relevant = tuple(value for value in given if type(value) not in (torch.Tensor, torch.nn.Parameter))
    if given and isinstance(given[0], torch.Tensor) and has_torch_function(given):
        return handle_torch_function(function, relevant, *args, **kwargs)
    return function.__wrapped__(*args, **kwargs)


def watch() -> None:
    """Teaches pickle, and torch.compile when it is loaded."""
    for kind in _rusttorch.callable_types():
        copyreg.pickle(kind, _reduce)
    _rusttorch.set_redirect(redirect)
    wrapt.when_imported("torch._dynamo.variables.builder")(_teach_dynamo)


def _teach_dynamo(builder: Any) -> None:
    """Dynamo sees the stock function wherever it meets a callable; its guards stay on what the program holds."""

    def as_stock(self: Any, value: Any) -> Any:
        stock = value.__wrapped__
        if getattr(stock, "__closure__", None) and self.source:
            # Guards on what a function closes over look for it in a function written in Python.
            source = importlib.import_module("torch._dynamo.source").AttrSource(self.source, "__wrapped__")
            return type(self)(self.tx, source)(stock)
        return self._wrap(stock)

    def as_stock_sourceless(tx: Any, value: Any) -> Any:
        return builder.SourcelessBuilder.create(tx, value.__wrapped__)

    try:
        for kind in _rusttorch.callable_types():
            dispatch = getattr(builder.VariableBuilder, "_type_dispatch_impl", None)
            tables = (
                [dispatch(trace_numpy) for trace_numpy in (False, True)]
                if dispatch is not None
                else [builder.VariableBuilder._type_dispatch()]
            )
            for table in tables:
                table[kind] = as_stock
            handlers = getattr(builder.SourcelessBuilder, "_type_handlers", None)
            if isinstance(handlers, dict):
                handlers[kind] = as_stock_sourceless
    except (AttributeError, TypeError) as error:
        logger.warning("torch.compile may break graphs at accelerated functions: %s", error)


def _reduce(function: Any) -> Any:
    """Pickled as the stock function would be where that is by its module and name, which `torch.load` may allow."""
    home = sys.modules.get(getattr(function, "__module__", None) or "")
    return function.__name__ if vars(home or object).get(function.__name__) is function else function.__reduce__()
