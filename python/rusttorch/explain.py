"""Why a call is accelerated, or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import _rusttorch
from .patching import active_ops, operations
from .runtime import UnavailableError
from .settings import SettingError


def explain(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """``"accelerated"``, or the reason why this call would go to stock torch; nothing is run.

    Where random numbers are not stock torch's, it is ``"accelerated, rng='fast'"``.

    ``function`` is a function of torch that the catalogue replaces, as stock or as patched, with the call's arguments.
    """
    try:
        every = operations()
    except (UnavailableError, SettingError) as error:
        return str(error)
    for operation in every.values():
        for site in operation.sites:
            if site.stock is function or site.callable is function:
                if operation.row.name not in active_ops():
                    return f"{operation.row.name} is not switched on"
                if site.current() is not site.callable:
                    return f"{site.entrance.path} is wrapped by another"
                taken = "accelerated" if operation.rng == "torch" else f"accelerated, rng={operation.rng!r}"
                return _rusttorch.explain(site.callable, args, kwargs) or taken
    return "not in the catalogue"
