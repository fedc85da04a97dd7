"""The native module: operations, the callables that stand in for torch's functions, and the allocator policy."""

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Literal, final

_Mode = Literal["forward", "inplace", "training"]

#: ``(name, role, index, required, keyword_only, choices)``
_Parameter = tuple[str, str, int, bool, bool, list[str]]

@final
class Op:
    """An operation: a kernel of the registry, its size windows and its counters."""

    def __new__(
        cls,
        name: str,
        kernel: str,
        strides: Literal["iterator", "contiguous", "input"] = "iterator",
        versions: tuple[int, int] = (0, 1),
    ) -> Op:
        """``kernel`` is a name of `kernels`; ``strides`` says which ones an elementwise result has, ``versions`` the
        version of a new result of random numbers and by how much a call in place counts it up."""
    @property
    def name(self) -> str: ...
    @property
    def kinds(self) -> int:
        """How many kinds of inputs have sizes of their own."""
    def set_window(self, mode: _Mode, dtype: str, low: int | None, high: int | None = None, kind: int = 0) -> None:
        """The sizes, inclusive, at which the kernel takes calls, of the kind of input at this index; ``low`` ``None``
        means never."""
    def set_fast(self, fast: bool) -> None:
        """Whether random numbers come of a key that each call draws from torch's generator, two words of it."""
    def allow_autocast(self, dtype: str) -> None:
        """Stock torch's autocast leaves inputs of this dtype, and their gradients, alone."""
    def set_probe(self, probe: Callable[[], object]) -> None:
        """What to call once, at the first call under autocast, for it to `allow_autocast`."""
    def set_apply(self, apply: Callable[..., Any], copies: bool) -> None:
        """The autograd function's ``apply``, called as ``(input, dim, *numbers)``; ``copies`` if it makes do
        in forward with a row-major copy of its input."""
    def counters(self) -> dict[str, Any]:
        """``calls``, ``elements``, ``seconds``, and ``declined`` by reason."""
    def reset(self) -> None:
        """Sets the counters to zero."""
    def forward(self, input: Any, dim: int | None, numbers: Iterable[float]) -> Any | None:
        """The result, without guards; ``None`` if declined."""
    def backward(self, grad: Any, saved: Any, dim: int | None, numbers: Iterable[float]) -> Any | None:
        """The gradient of the input; ``None`` if declined."""

    def forward_masked(self, input: Any, mask: Any, numbers: Iterable[float]) -> Any | None:
        """The result with random numbers, without guards, and into ``mask``, a new contiguous tensor of a byte for each
        element, what `backward_masked` needs of them; ``None`` if declined."""
    def backward_masked(
        self, grad: Any, mask: Any, sizes: Iterable[int], strides: Iterable[int], numbers: Iterable[float]
    ) -> Any | None:
        """The gradient of the input of `forward_masked`, whose result had this layout; ``None`` if declined."""

def kernels() -> list[str]:
    """The names of the kernels."""

def make(
    op: Op,
    stock: Callable[..., Any],
    path: str,
    parameters: Iterable[_Parameter],
    *,
    dim: int | None = None,
    numbers: Iterable[float] = ...,
    inplace: bool = False,
    dims: int | None = None,
    label: str = "",
    inner: tuple[Callable[..., Any], Callable[..., Any] | None, list[tuple[int, Any]]] | None = None,
) -> Any:
    """The callable that stands in for ``stock``, inactive until `set_active`; ``dims`` the input must have, if given.

    ``inner`` is a function in C that does the same for a plain tensor, the one for work in place if there is one, and
    the index and default of each parameter that they take.
    """

def set_active(callable: Any, active: bool) -> None:
    """Switches a callable between kernels and the stock function."""

def set_redirect(redirect: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]) -> None:
    """What a builtin's callable does under a function mode or for a tensor subclass."""

def is_callable(object: Any) -> bool:
    """Whether the object is a callable of this module."""

def callable_types() -> list[type]:
    """The types of the callables."""

def explain(callable: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """``None`` if the call would be accelerated, else the reason why not."""

def open(torch: ModuleType, tier: int = 1, isa: str | None = None) -> dict[str, Any]:
    """Opens the doors into torch; `rusttorch.system` has what was found. Later calls return the first's."""

def available_isas() -> list[str]:
    """The names of this machine's instruction sets, widest first."""

def multiplied(isa: str) -> list[str]:
    """The dtypes that an instruction set of this machine multiplies by instructions of their own."""

def memory_available() -> bool:
    """Whether the allocator policy has something to act on."""

def memory_keep(bytes: int) -> bool:
    """Keeps freed memory, up to ``bytes`` at the top of the heap."""

def memory_restore() -> None:
    """Back to the allocator's defaults."""

def memory_trim() -> None:
    """Gives free memory back to the system."""

def memory_kept() -> int:
    """Bytes that the allocator holds and nobody uses."""
