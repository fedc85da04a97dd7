"""The native module: operations, the callables that stand in for torch's functions, the explicit tensor and its
functions, and the allocator policy."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import EllipsisType, ModuleType
from typing import Any, Literal, Self, TypeAlias, final

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
    def set_weighs(self, weighs: bool) -> None:
        """Whether calls that the kernel accepts, but that do not pay by their shape or numbers, are stock torch's."""
    def set_setting(self, setting: Callable[[], bool]) -> None:
        """What says whether torch's settings have the operation computed as the kernel does."""
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

@final
class dtype:
    """An element type, such as ``rusttorch.float32``."""

    @property
    def name(self) -> str:
        """torch's name of it."""
    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
    @property
    def is_floating_point(self) -> bool:
        """Whether its elements are floating-point numbers."""

def dtypes() -> dict[str, dtype]:
    """Every element type, by name."""

def dtype_of(dtype: Any) -> dtype:
    """The element type that a name, or torch's or NumPy's object, stands for."""

#: One of ours, a name, Python's ``float``, ``int`` or ``bool``, or torch's or NumPy's.
_DType: TypeAlias = Any
_Number: TypeAlias = bool | int | float
#: Of one element of the tuple, or all of it: an integer, a slice, ``None``, ``...``; or a tensor of integers or bool.
_Index: TypeAlias = int | slice | EllipsisType | tuple[int | slice | EllipsisType | None, ...] | Any | None
_Shape: TypeAlias = int | Sequence[int]

@final
class Tensor:
    """A tensor on the CPU, with memory of its own or another library's. Views share it."""

    __hash__: Any

    @staticmethod
    def zeros(*shape: _Shape, dtype: _DType = None) -> Tensor:
        """Zeros; float32 unless ``dtype`` is given."""
    @staticmethod
    def ones(*shape: _Shape, dtype: _DType = None) -> Tensor:
        """Ones; float32 unless ``dtype`` is given."""
    @staticmethod
    def empty(*shape: _Shape, dtype: _DType = None) -> Tensor:
        """Elements to be written."""
    @staticmethod
    def full(shape: _Shape, fill_value: _Number, *, dtype: _DType = None) -> Tensor:
        """One number everywhere; of its dtype unless another is given."""
    @staticmethod
    def arange(
        start: _Number, end: _Number | None = None, step: _Number | None = None, *, dtype: _DType = None
    ) -> Tensor:
        """Numbers from ``start`` (0) to before ``end``, ``step`` (1) apart."""
    @staticmethod
    def eye(n: int, m: int | None = None, *, dtype: _DType = None) -> Tensor:
        """Ones on the diagonal."""
    @staticmethod
    def rand(*shape: _Shape, dtype: _DType = None, seed: int | None = None) -> Tensor:
        """Random numbers, evenly spread from 0 to 1."""
    @staticmethod
    def randn(*shape: _Shape, dtype: _DType = None, seed: int | None = None) -> Tensor:
        """Random numbers of the normal distribution."""
    @staticmethod
    def from_numpy(array: Any) -> Tensor:
        """The memory of a NumPy array."""
    @staticmethod
    def from_torch(tensor: Any) -> Tensor:
        """The memory of a torch tensor on the CPU."""
    @staticmethod
    def from_dlpack(object: Any) -> Tensor:
        """The memory of an object that has ``__dlpack__``."""
    def numpy(self) -> Any:
        """A NumPy array of the same memory."""
    def to_numpy(self) -> Any:
        """The same as `numpy`."""
    def to_torch(self) -> Any:
        """A torch tensor of the same memory."""
    @property
    def __array_interface__(self) -> dict[str, Any]: ...
    def __array__(self, dtype: Any = None, *, copy: bool | None = None) -> Any: ...
    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def tolist(self) -> Any:
        """The elements in lists of lists, or a number."""
    def item(self) -> Any:
        """The only element."""
    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
    @property
    def dtype(self) -> dtype:
        """The type of the elements."""
    @property
    def strides(self) -> tuple[int, ...]:
        """The step of each dimension, in elements."""
    @property
    def ndim(self) -> int:
        """How many dimensions there are."""
    @property
    def writeable(self) -> bool:
        """Whether the memory may be written to."""
    @property
    def T(self) -> Tensor:
        """A view with the dimensions the other way round."""
    def numel(self) -> int:
        """How many elements there are."""
    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of a dimension."""
    def stride(self) -> tuple[int, ...]:
        """The strides."""
    def dim(self) -> int:
        """How many dimensions there are."""
    def data_ptr(self) -> int:
        """The address of the first element."""
    def is_contiguous(self) -> bool:
        """Whether the elements lie row by row, without gaps."""
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __float__(self) -> float: ...
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...
    def __getitem__(self, index: _Index) -> Tensor: ...
    def __setitem__(self, index: _Index, value: Any) -> None: ...
    def __iter__(self) -> Iterator[Tensor]: ...
    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The function of that name, with this as its first argument."""
    def __add__(self, other: Any) -> Tensor: ...
    def __radd__(self, other: Any) -> Tensor: ...
    def __sub__(self, other: Any) -> Tensor: ...
    def __rsub__(self, other: Any) -> Tensor: ...
    def __mul__(self, other: Any) -> Tensor: ...
    def __rmul__(self, other: Any) -> Tensor: ...
    def __truediv__(self, other: Any) -> Tensor: ...
    def __rtruediv__(self, other: Any) -> Tensor: ...
    def __matmul__(self, other: Any) -> Tensor: ...
    def __floordiv__(self, other: Any) -> Tensor: ...
    def __rfloordiv__(self, other: Any) -> Tensor: ...
    def __mod__(self, other: Any) -> Tensor: ...
    def __rmod__(self, other: Any) -> Tensor: ...
    def __and__(self, other: Any) -> Tensor: ...
    def __or__(self, other: Any) -> Tensor: ...
    def __xor__(self, other: Any) -> Tensor: ...
    def __invert__(self) -> Tensor: ...
    def __abs__(self) -> Tensor: ...
    def __ifloordiv__(self, other: Any) -> Self: ...
    def __imod__(self, other: Any) -> Self: ...
    def __pow__(self, exponent: _Number) -> Tensor: ...
    def __neg__(self) -> Tensor: ...
    def __pos__(self) -> Self: ...
    def __iadd__(self, other: Any) -> Self: ...
    def __isub__(self, other: Any) -> Self: ...
    def __imul__(self, other: Any) -> Self: ...
    def __itruediv__(self, other: Any) -> Self: ...
    def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
    def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]
    def __lt__(self, other: Any) -> Tensor: ...
    def __le__(self, other: Any) -> Tensor: ...
    def __gt__(self, other: Any) -> Tensor: ...
    def __ge__(self, other: Any) -> Tensor: ...
    def add_(self, other: Any, *, alpha: _Number | None = None) -> Self:
        """Adds in place."""
    def sub_(self, other: Any) -> Self:
        """Subtracts in place."""
    def mul_(self, other: Any) -> Self:
        """Multiplies in place."""
    def div_(self, other: Any) -> Self:
        """Divides in place."""
    def fill_(self, value: _Number) -> Self:
        """Makes every element ``value``."""
    def zero_(self) -> Self:
        """Makes every element 0."""
    def copy_(self, source: Any) -> Self:
        """Takes the elements of ``source``."""
    def reshape(self, *shape: _Shape) -> Tensor:
        """A view in another shape where there is one, else a copy."""
    def view(self, *shape: _Shape) -> Tensor:
        """A view in another shape."""
    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """A view with two dimensions in each other's place."""
    def permute(self, *dims: _Shape) -> Tensor:
        """A view with the dimensions in another order."""
    def t(self) -> Tensor:
        """The transpose of a matrix."""
    def squeeze(self, dim: int | None = None) -> Tensor:
        """A view without dimensions of size 1."""
    def unsqueeze(self, dim: int) -> Tensor:
        """A view with a dimension of size 1 more."""
    def flatten(self) -> Tensor:
        """A view of one dimension where there is one, else a copy."""
    def contiguous(self) -> Tensor:
        """This tensor if its elements lie row by row, else a copy."""
    def clone(self) -> Tensor:
        """A copy."""
    def to(self, dtype: _DType) -> Tensor:
        """This tensor if it has this dtype, else a copy."""
    def astype(self, dtype: _DType) -> Tensor:
        """A copy with this dtype."""

@final
class Function:
    """A function of torch's name on explicit tensors, NumPy arrays and torch tensors."""

    @property
    def __name__(self) -> str: ...
    def __new__(
        cls,
        name: str,
        kernel: str,
        parameters: Iterable[_Parameter],
        numbers: Iterable[float],
        stock: tuple[str, str],
        dim: int | None = None,
        pack: Callable[..., Any] | None = None,
    ) -> Function: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

def manual_seed(seed: int) -> None:
    """Seeds the random numbers of explicit tensors."""

def optimizer_step(
    kernel: str, tensors: Sequence[Any], names: Sequence[str], step: float, numbers: Sequence[float]
) -> None:
    """One step of an optimizer, in place: the parameter, its gradient and the state."""
