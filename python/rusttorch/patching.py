"""Switching on and off: which functions of torch are replaced, for whom, and how they are put back."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import threading
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import wrapt

from . import _rusttorch, compat, memory, thresholds
from .autograd import make_apply
from .catalog import EVERY, Along, Entrance, Index, Nary, Op, Row, Select, Step, holder
from .logs import logger, warn
from .runtime import ALL_DTYPES, AUTOCAST, UnavailableError, announce, open_runtime, torch_version, without_modes
from .selfcheck import different, failures, missing, untouched
from .settings import RNGS, SettingError, check_names

_F = TypeVar("_F", bound=Callable[..., Any])
_MISSING = object()

#: Guards everything below; re-entrant, for a signal handler or a finalizer may patch.
_lock = threading.RLock()


@dataclass
class Site:
    """One attribute of torch that an operation replaces."""

    op: Row
    entrance: Entrance
    holder: Any
    stock: Any
    callable: Any
    #: whether the holder itself had the attribute, rather than a base class
    own: bool

    def current(self) -> Any:
        """What the holder's own dictionary has now."""
        return vars(self.holder).get(self.entrance.attribute, _MISSING)

    def install(self) -> None:
        """Puts the callable in place, unless somebody else's wrapper stands there."""
        _rusttorch.set_active(self.callable, True)
        current = self.current()
        if current is (self.stock if self.own else _MISSING):
            wrapt.apply_patch(self.holder, self.entrance.attribute, self.callable)
        elif current is not self.callable:
            logger.info("%s is wrapped by another: left as it is", self.entrance.path)

    def uninstall(self) -> None:
        """Puts the stock function back; under somebody else's wrapper the callable stays, and passes calls on."""
        _rusttorch.set_active(self.callable, False)
        if self.current() is not self.callable:
            return
        if self.own:
            wrapt.apply_patch(self.holder, self.entrance.attribute, self.stock)
        else:
            delattr(self.holder, self.entrance.attribute)


@dataclass
class Operation:
    """A row of the catalogue at work: its native side and its sites."""

    row: Row
    native: Any
    sites: list[Site]
    #: ``(mode, dtype)`` that stock torch does not have
    missing: set[tuple[str, str]] = field(default_factory=set)
    #: ``(mode, dtype)`` whose random numbers are not stock torch's here
    different: set[tuple[str, str]] = field(default_factory=set)
    #: where an op with random numbers has them from: `RNGS`
    rng: str = "torch"
    #: what `set_window` was last called with
    min_numel: Any = _MISSING


@dataclass
class _Registry:
    operations: dict[str, Operation] = field(default_factory=dict)
    handles: list[Handle] = field(default_factory=list)
    active: set[str] = field(default_factory=set)
    unavailable: str | None = None


_registry = _Registry()


def _is_stock(function: Any) -> bool:
    """Whether this is torch's own, and not somebody's wrapper, whose work a kernel would skip."""
    if isinstance(function, types.FunctionType) and type(function) is types.FunctionType:
        import torch

        return function.__code__.co_filename.startswith(os.path.dirname(torch.__file__))
    return type(function) in (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)


#: What a stock function in Python that hands its tensor on may name, beside itself and what it hands it to.
_THIN = {
    "has_torch_function_unary", "has_torch_function_variadic", "handle_torch_function", "_get_softmax_dim", "dim",
    "ValueError", "RuntimeError", "backends", "cudnn", "enabled",
}  # fmt: skip


def _inner(entrance: Entrance, stock: Any) -> tuple[Any, Any, list[tuple[int, Any]]] | None:
    """The function in C that this torch's one in Python comes down to, the one in place, and what they take."""
    if entrance.inner is None or not isinstance(stock, types.FunctionType):
        return None
    path, names = entrance.inner
    attribute = path.partition(".")[2]
    function, inplace = (getattr(holder(path), name, None) for name in (attribute, f"{attribute}_"))
    if not _is_stock(inplace) or f"{attribute}_" not in stock.__code__.co_names:
        inplace = None
    thin = {*_THIN, entrance.attribute, "torch", "_C", "_nn", attribute, f"{attribute}_"}
    if function is None or not _is_stock(function) or not thin.issuperset(stock.__code__.co_names):
        return None
    indices = {p.name: index for index, p in enumerate(entrance.parameters)}
    return function, inplace, [(indices[name], entrance.parameters[indices[name]].default) for name in names]


def _build(row: Row) -> Operation:
    kernel, choices = row.kernel or row.name, {}
    if isinstance(row, Op):
        pack = None
        if isinstance(row, Along) and row.pack:
            import torch

            pack = getattr(torch.return_types, row.pack)
        native = _rusttorch.Op(row.name, kernel, row.strides, row.versions, pack)
        # A backward pass that sees the input has to lie in memory as it does, unless it is a formula.
        copies = row.saves == "result" or row.shape in ("reduce", "first") or isinstance(row, Along)
    else:
        native, copies = _rusttorch.Op(row.name, kernel), False
    if isinstance(row, (Op, Nary, Index)):
        choices = row.choices
    if isinstance(row, (Op, Nary, Index, Select)) and row.trains:
        native.set_apply(make_apply(row, native), copies)
    if isinstance(row, Index) and row.setting:
        import torch

        native.set_setting(getattr(torch._C, row.setting))
    if isinstance(row, (Nary, Index)) and row.casts:
        native.set_casts()
    fixed = [without_modes(number) if callable(number) else number for number in row.fixed]
    sites = []
    for entrance in row.parsed() if torch_version() >= row.since else ():
        holder = entrance.holder()
        stock = getattr(holder, entrance.attribute, None)
        if stock is None:
            continue  # an older torch
        if not _is_stock(stock):
            logger.info("%s is wrapped by another: not accelerated", entrance.path)
            continue
        parameters = [
            (p.name, p.role, p.index, p.required, p.keyword_only, list(choices.get(p.name, ())))
            for p in entrance.parameters
        ]
        dims = [p.default for p in entrance.parameters if p.role == "dim"]
        path = f"{entrance.module}:{entrance.owner + '.' if entrance.owner else ''}{entrance.attribute}"
        function = _rusttorch.make(
            native,
            stock,
            path,
            parameters,
            dim=dims[0] if dims else getattr(row, "dim", None),
            numbers=[*row.numbers.values(), *fixed],
            inplace=entrance.inplace,
            dims=entrance.dims,
            label=f"rusttorch::{row.name}",
            inner=_inner(entrance, stock),
        )
        compat.register(function, stock)
        own = entrance.attribute in vars(holder)
        sites.append(Site(row, entrance, holder, stock, function, own))
    return Operation(row, native, sites)


def _probe_autocast(operation: Operation) -> None:
    """Asks stock torch which dtypes of an operation its autocast leaves alone: when first called under it, and not
    before, for most programs never are.
    """
    name = operation.row.name

    def activate(wanted: bool) -> None:
        with _lock:
            for site in operation.sites:
                _rusttorch.set_active(site.callable, wanted and name in _registry.active)

    activate(False)  # a stock function in Python calls what is replaced
    try:
        for dtype in without_modes(untouched, {name: operation}).get(name, ()):
            operation.native.allow_autocast(dtype)
    finally:
        activate(True)


def operations() -> dict[str, Operation]:
    """Every operation, built when first asked for; raises `UnavailableError` where there can be none."""
    with _lock:
        if _registry.unavailable is not None:
            raise UnavailableError(_registry.unavailable)
        if not _registry.operations:
            open_runtime()
            built = {name: _build(row) for name, row in EVERY.items()}
            try:
                wrong = without_modes(failures, built)
            except Exception as error:
                wrong = [repr(error)]
            if wrong:
                _registry.unavailable = f"the self-check failed ({', '.join(wrong)})"
                raise UnavailableError(_registry.unavailable)
            for operation in built.values():
                operation.native.reset()
                row = operation.row
                if isinstance(row, Step):
                    continue
                if torch_version() < ALL_DTYPES:
                    operation.missing = without_modes(missing, row)
                if row.random:
                    operation.different = without_modes(different, operation)
                    operation.native.reset()
                if isinstance(row, (Nary, Select)):
                    continue  # under autocast they are stock torch's
                if torch_version() >= AUTOCAST:
                    operation.native.set_probe(functools.partial(_probe_autocast, operation))
            _registry.operations = built
            compat.watch()
        return _registry.operations


def built() -> dict[str, Operation]:
    """The operations built so far."""
    return _registry.operations


def _refresh() -> None:
    """Makes torch's attributes what the open handles ask for; the latest handle that names an op decides its sizes."""
    wanted: dict[str, Handle] = {}
    for handle in _registry.handles:
        for name in handle.ops:
            wanted[name] = handle
    if not wanted and not _registry.operations:
        return
    every = operations()
    found = open_runtime()
    for name, handle in wanted.items():
        operation = every[name]
        rng = handle.rng if operation.row.random else operation.rng
        if operation.rng != rng or operation.min_numel != handle.min_numel or operation.min_numel is _MISSING:
            for kind in range(operation.native.kinds):
                sizes = thresholds.windows(
                    operation.row, found["vendor"], found["isa"], found["door"], handle.min_numel, kind
                )
                for (mode, dtype), (low, high) in sizes.items():
                    never = (mode, dtype) in operation.missing
                    never |= rng == "torch" and (mode, dtype) in operation.different
                    operation.native.set_window(mode, dtype, None if never else low, high, kind)
            operation.native.set_weighs(handle.min_numel is None)
            operation.min_numel = handle.min_numel
        if operation.rng != rng:
            operation.native.set_fast(rng == "fast")
            operation.rng = rng
    for name in _registry.active - wanted.keys():
        for site in every[name].sites:
            site.uninstall()
    for name in wanted.keys() - _registry.active:
        for site in every[name].sites:
            site.install()
    _registry.active = set(wanted)


def _select(ops: str | Iterable[str] | None, exclude: str | Iterable[str]) -> tuple[str, ...]:
    names = [ops] if isinstance(ops, str) else list(EVERY) if ops is None else list(ops)
    without = [exclude] if isinstance(exclude, str) else list(exclude)
    check_names(names)
    check_names(without)
    return tuple(name for name in EVERY if name in set(names) - set(without))


def _check_sizes(min_numel: int | None, limit: bool | int) -> None:
    if min_numel is not None and (isinstance(min_numel, bool) or not isinstance(min_numel, int) or min_numel < 0):
        raise ValueError(f"min_numel must be a whole number of elements, not {min_numel!r}")
    if not isinstance(limit, (bool, int)) or limit < 0:
        raise ValueError(f"memory must be True, False or a number of bytes, not {limit!r}")


def _check_rng(rng: str) -> None:
    if rng not in RNGS:
        raise ValueError(f"rng must be {' or '.join(map(repr, RNGS))}, not {rng!r}")


class Handle:
    """A patch of torch. A context manager and a decorator; `undo` takes it back, in any order with others."""

    def __init__(self, ops: tuple[str, ...], min_numel: int | None, memory: bool | int, rng: str) -> None:
        self.ops = ops
        self.min_numel = min_numel
        self.rng = rng
        self._limit = memory
        self._policy: Any = None
        self._applied = False

    def __repr__(self) -> str:
        return f"<rusttorch.Handle {'on' if self._applied else 'off'}: {len(self.ops)} ops>"

    def apply(self) -> Handle:
        """Switches on; does nothing when on."""
        with _lock:
            if not self._applied:
                _registry.handles.append(self)
                self._applied = True
                try:
                    _refresh()
                except (SettingError, UnavailableError) as error:
                    self._applied = False
                    _registry.handles.remove(self)
                    warn(f"{error}; stock torch is used")
                    return self
                except BaseException:
                    self.undo()
                    raise
                if self._limit is not False and self._limit != 0:
                    self._policy = memory.policy(self._limit)
                    self._policy.__enter__()
                announce()
        return self

    def undo(self) -> None:
        """Switches off; does nothing when off."""
        with _lock:
            if not self._applied:
                return
            self._applied = False
            if self in _registry.handles:
                _registry.handles.remove(self)
            policy, self._policy = self._policy, None
            try:
                _refresh()
            finally:
                if policy is not None:
                    policy.__exit__(None, None, None)

    def __enter__(self) -> Handle:
        return self.apply()

    def __exit__(self, *_: object) -> None:
        self.undo()

    def __call__(self, function: _F) -> _F:
        """Decorates a function: on while it runs, and only then."""
        self.undo()
        return _around(function, lambda: Handle(self.ops, self.min_numel, self._limit, self.rng))


def _around(function: _F, manager: Callable[[], Handle]) -> _F:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run_async(*args: Any, **kwargs: Any) -> Any:
            with manager():
                return await function(*args, **kwargs)

        return run_async  # type: ignore[return-value]
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def run_generator(*args: Any, **kwargs: Any) -> Any:
            with manager():
                return (yield from function(*args, **kwargs))

        return run_generator  # type: ignore[return-value]

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with manager():
            return function(*args, **kwargs)

    return run  # type: ignore[return-value]


class _Accelerate:
    """What `accelerate` returns: each ``with`` is a handle of its own, so that it nests and is safe with threads."""

    def __init__(self, ops: tuple[str, ...], min_numel: int | None, memory: bool | int, rng: str) -> None:
        self._make = lambda: Handle(ops, min_numel, memory, rng)
        self._open: list[Handle] = []

    def __enter__(self) -> Handle:
        handle = self._make().apply()
        self._open.append(handle)
        return handle

    def __exit__(self, *_: object) -> None:
        self._open.pop().undo()

    def __call__(self, function: _F) -> _F:
        return _around(function, self._make)


def patch(
    ops: str | Iterable[str] | None = None,
    *,
    exclude: str | Iterable[str] = (),
    min_numel: int | None = None,
    memory: bool | int = False,
    rng: str = "torch",
) -> Handle:
    """Replaces functions of torch by accelerated ones, at once and for the whole process.

    ``ops`` names operations of the catalogue (``None``: all), ``exclude`` some to leave out. ``min_numel`` replaces the
    measured thresholds, those of shapes included, by one number of elements for all. ``memory`` is as in `accelerate`,
    off here. ``rng`` says where ops with random numbers have them from: ``"torch"``, the same as stock torch's for a
    seed, or ``"fast"``, others, of a key that a call draws from torch's generator. Of nested patches the innermost
    decides.

    Returns a handle: a context manager, a decorator, and ``undo()``. Raises ``ValueError`` for a name that is not in
    the catalogue, or another ``rng``. Where nothing can be accelerated it warns, and torch stays as it is.
    """
    _check_sizes(min_numel, memory)
    _check_rng(rng)
    return Handle(_select(ops, exclude), min_numel, memory, rng).apply()


def accelerate(
    ops: str | Iterable[str] | None = None,
    *,
    exclude: str | Iterable[str] = (),
    min_numel: int | None = None,
    memory: bool | int = True,
    rng: str = "torch",
) -> Any:
    """A context manager and decorator inside which torch is accelerated; parameters as in `patch`.

    ``memory`` keeps large freed blocks for reuse while inside (see `rusttorch.memory`): ``True``, ``False``, or the
    most bytes to keep.
    """
    _check_sizes(min_numel, memory)
    _check_rng(rng)
    return _Accelerate(_select(ops, exclude), min_numel, memory, rng)


def is_patched(op: str | None = None) -> bool:
    """Whether any operation, or the one named, is switched on."""
    if op is not None:
        check_names([op])
        return op in _registry.active
    return bool(_registry.active)


def ops() -> list[str]:
    """The operations of the catalogue."""
    return list(EVERY)


def active_ops() -> list[str]:
    """The operations that are switched on."""
    return [name for name in EVERY if name in _registry.active]


def stale_references() -> list[str]:
    """Names in loaded modules that hold a stock function which is replaced in torch: they were imported before."""
    stock = {id(site.stock): site.entrance.path for name in _registry.active for site in built()[name].sites}
    found = []
    for name, module in list(sys.modules.items()):
        if name == "torch" or name.startswith(("torch.", "rusttorch")) or not isinstance(module, types.ModuleType):
            continue
        for attribute, value in list(vars(module).items()):
            path = stock.get(id(value))
            if path is not None:
                found.append(f"{name}.{attribute} is stock {path}")
    return sorted(found)
