"""What is measured: an op's call, at one dtype and size, in one mode."""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rusttorch.catalog import DTYPES, FLOATS, TENSOR_OPS, Along, Index, Nary, Op, Select

MODES = ("forward", "inplace", "training")
SIZES = (1, 16, 256, 1024, 4096, 16384, 65536, 262144, 2**20, 2**22, 2**24, 2**26)
QUICK_SIZES = (1, 1024, 65536, 2**20, 2**22)
#: Where time must be saved: bytes of an input up to which training is measured, which takes several times as long, and
#: elements up to which an op's further calls of a kind of input are.
LARGEST_TRAINING, LARGEST_VARIANT = 2**26, 2**22

ITEMSIZE = {
    "float32": 4, "float64": 8, "bfloat16": 2, "float16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
    "bool": 1,
}  # fmt: skip

#: In place, each pass works on fresh values: enough tensors for a clock to see, and few enough to stay in the cache.
_INPLACE_ELEMENTS, _INPLACE_TENSORS = 65536, 256


@dataclass(frozen=True)
class Case:
    """One thing to measure."""

    op: str
    call: str
    dtype: str
    mode: str
    size: int
    #: length of the rows of 2-d inputs; 0 for about square, up to 1,024
    columns: int = 0

    @property
    def row(self) -> Op | Nary | Select | Index:
        """The op's row of the catalogue."""
        return TENSOR_OPS[self.op]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the input."""
        if self.row.shape == "pointwise":
            return (self.size,)
        columns = min(self.columns or min(1024, 2 ** math.ceil(math.log2(self.size) / 2)), self.size)
        return (self.size // columns, columns)

    @property
    def traffic(self) -> tuple[str, int]:
        """The kind of memory traffic, and the bytes that the best of kernels would move."""
        if isinstance(self.row, Nary):
            forward, training = self.row.passes
            passes = training if self.mode == "training" else forward
            return "read" if passes == 1 else "copy", int(passes * self.size * ITEMSIZE[self.dtype])
        if isinstance(self.row, (Select, Index)):
            moved = self.row.passes * ITEMSIZE[self.dtype] + self.row.beside
            return "copy", int(moved * self.size * (2 if self.mode == "training" else 1))
        shares = {"pointwise": 1.0, "rows": 1.0, "reduce": 0.0, "glu": 0.5, "features": 1.0, "first": 0.0}
        values = shares[self.row.shape]
        # Backward reads the result's gradient and what was saved, and writes the input's gradient. What was saved is
        # the input or, of the same size, the result; a reduction's own gradient is small.
        passes = {"forward": 1 + values, "inplace": 2.0, "training": 3 + 2 * values}[self.mode]
        kind = "read" if passes == 1 else "inplace" if self.mode == "inplace" else "copy"
        # A place is an integer of 64 bits.
        places = 8 * self.size if isinstance(self.row, Along) and self.row.shape == "rows" else 0
        return kind, int(passes * self.size * ITEMSIZE[self.dtype]) + places

    @property
    def flops(self) -> int:
        """Floating-point instructions, one value each; backward counts as much as forward, of a product twice."""
        if isinstance(self.row, (Nary, Index)) and self.row.multiplies:
            return self.row.flops * self.shape[-1] * self.size * (3 if self.mode == "training" else 1)
        return self.row.flops * self.size * (2 if self.mode == "training" else 1)


def plain_calls(row: Op | Nary | Select | Index) -> tuple[str, ...]:
    """The first of the op's calls of each kind of input."""
    first: dict[int, str] = {}
    for call in row.calls:
        first.setdefault(row.kind(call), call)
    return tuple(first.values())


@functools.cache
def inplace_call(op: str, call: str) -> str | None:
    """The same call in place: ``F.elu(x)`` to ``F.elu(x, inplace=True)``, ``torch.exp(x)`` to ``torch.exp_(x)``."""
    tree = ast.parse(call, mode="eval").body
    if not isinstance(tree, ast.Call):
        return None
    path = ast.unparse(tree.func)
    arguments = [ast.unparse(argument) for argument in (*tree.args, *tree.keywords)]
    entrances = {entrance.path: entrance for entrance in TENSOR_OPS[op].parsed()}
    if path in entrances and any(parameter.role == "inplace" for parameter in entrances[path].parameters):
        return f"{path}({', '.join([*arguments, 'inplace=True'])})"
    if f"{path}_" in entrances:
        return f"{path}_({', '.join(arguments)})"
    owner, _, name = path.rpartition(".")
    if f"Tensor.{name}_" in entrances:
        if owner != "x":
            owner, *arguments = arguments
        return f"{owner}.{name}_({', '.join(arguments)})"
    return None


def plan(
    ops: Iterable[str] | None = None,
    dtypes: Sequence[str] = DTYPES,
    sizes: Sequence[int] = SIZES,
    modes: Sequence[str] = MODES,
    *,
    columns: int = 0,
    variants: bool = True,
    everything: bool = False,
) -> list[Case]:
    """Every case; ``variants`` for all of an op's calls, ``everything`` for the largest sizes in all of them too."""
    rows = [TENSOR_OPS[name] for name in (TENSOR_OPS if ops is None else ops)]
    cases = []
    for dtype in dtypes:
        for size in sizes:
            for row in rows:
                if dtype not in row.dtypes or size < row.least:
                    continue
                several = variants and (everything or size <= LARGEST_VARIANT)
                trained = row.trains and dtype in FLOATS and (everything or size * ITEMSIZE[dtype] <= LARGEST_TRAINING)
                for call in row.calls if several else plain_calls(row):
                    for mode in modes:
                        if mode == "training" and not trained:
                            continue
                        if mode == "inplace" and inplace_call(row.name, call) is None:
                            continue
                        cases.append(Case(row.name, call, dtype, mode, size, columns))
    return cases


@dataclass
class Work:
    """A case made ready to run: ``run(n)`` calls it ``n`` times, ``prepare`` gives a pass its input back."""

    run: Callable[[int], None]
    prepare: Callable[[], None] | None = None
    #: the calls of one pass, where the input allows no more
    limit: int | None = None
    scope: dict[str, Any] = field(default_factory=dict)

    def close(self) -> None:
        """Frees the tensors now: the loop and its names refer to each other."""
        self.scope.clear()


class Inputs:
    """Tensors of random values, shared by the cases of one dtype and size, which follow one another."""

    def __init__(self) -> None:
        self._key: tuple[str, str, int] | None = None
        self._values: Any = None

    def get(self, case: Case) -> Any:
        """The input of the case, not to be written to."""
        import torch

        key = (case.row.domain, case.dtype, case.size)
        if key != self._key:
            self._values = None
            generator = torch.Generator().manual_seed(case.size)
            # Drawing takes longer than the op: repeat a stretch longer than any branch predictor remembers.
            drawn = torch.randn(min(case.size, 2**20), generator=generator)
            if case.row.domain == "positive":
                drawn = drawn.abs_().add_(0.01)
            elif case.row.domain == "probability":
                drawn = drawn.sigmoid_()
            if case.dtype not in FLOATS:
                drawn = torch.randint(-(2**62), 2**62, drawn.shape, generator=generator)
                drawn = drawn % 2 if case.dtype == "bool" else drawn
            self._values = drawn.to(getattr(torch, case.dtype)).repeat(case.size // drawn.numel())
            self._key = key
        return self._values.view(case.shape)


#: The call is part of the loop, as in a program: looked up by name and its result dropped, each time.
LOOPS = {
    "forward": """
def run(n):
    for _ in range(n):
        {call}
""",
    "inplace": """
def run(n):
    for x in tensors[:n]:
        {call}
""",
    "training": """
def run(n):
    for _ in range(n):
        {grads} = None
        ({call}).backward(g)
""",
}


def build(case: Case, inputs: Inputs) -> Work:
    """Makes a case ready; stock torch makes the gradients."""
    import torch

    x = inputs.get(case)
    scope = case.row.scope(x)
    call: str | None = case.call
    prepare, limit, leaves = None, None, []
    if case.mode == "inplace":
        call = inplace_call(case.op, case.call)
        limit = max(1, min(_INPLACE_TENSORS, _INPLACE_ELEMENTS // case.size))
        scope["tensors"] = [x.clone() for _ in range(limit)]

        def prepare() -> None:
            for tensor in scope["tensors"]:
                tensor.copy_(x)

    elif case.mode == "training":
        used = case.row.leaves(case.call) if isinstance(case.row, (Nary, Index)) else {"x"}
        for name, value in list(scope.items()):
            if name in used and isinstance(value, torch.Tensor) and value.is_floating_point():
                scope[name] = value.detach().requires_grad_()
                leaves.append(name)
        scope["g"] = torch.ones_like(eval(case.call, dict(scope)))
    exec(LOOPS[case.mode].format(call=call, grads=" = ".join(f"{name}.grad" for name in leaves)), scope)
    return Work(scope["run"], prepare, limit, scope)


def weights(cases: Sequence[Case]) -> Iterator[float]:
    """What share of the time each case deserves: large ones cannot be hurried."""
    for case in cases:
        yield 1 + case.size * ITEMSIZE[case.dtype] / 2**22 * (2 if case.mode == "training" else 1) / 2
