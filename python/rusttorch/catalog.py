"""The catalogue: one row an operation, and the only place that knows it.

Patching, argument binding, gradients, tests, benches, the report and the documentation's table are derived from these
rows. A row names a kernel of the Rust registry; everything the kernel computes is in ``rust/core/src/ops``.
"""

from __future__ import annotations

import ast
import functools
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

FLOATS = ("float32", "float64", "bfloat16", "float16")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8")
#: Every one that kernels know.
DTYPES = (*FLOATS, *INTEGERS, "bool")

#: What an argument that is not a number of the kernel means, by its name in the stock signature.
ROLES = {
    "input": "input",
    "self": "input",
    "dim": "dim",
    "inplace": "inplace",
    "dtype": "dtype",  # the input's, or it goes to stock torch
    "out": "absent",  # anything but None goes to stock torch
    "generator": "absent",
    "normalized_shape": "sizes",
    "cudnn_enable": "ignored",
    "weight": "absent",  # of classes
    "size_average": "absent",
    "reduce": "absent",
    "_stacklevel": "ignored",
    "training": "true",  # anything else goes to stock torch
    "train": "true",
    "full": "false",
    "scale_grad_by_freq": "false",
    "sparse": "false",
    "sparse_grad": "false",
    "out_int32": "false",
    "sorter": "absent",
    "memory_format": "absent",
    "use_input_stats": "true",
    "params": "params",
    "parameters": "parameters",  # their gradients
    "tensors": "tensors",
    "total_norm": "total",
    "grads": "grads",
    "d_p_list": "grads",
    "state_steps": "steps",
    "max_exp_avg_sqs": "ignored",  # empty without amsgrad
    "foreach": "ignored",
    "amsgrad": "false",  # anything else than False or None goes to stock torch
    "capturable": "false",
    "differentiable": "false",
    "fused": "false",
    "has_complex": "false",
    "has_sparse_grad": "false",
    "grad_scale": "absent",
    "found_inf": "absent",
}

#: Numbers that stock torch takes as true or false only.
FLAGS = ("keepdim", "unbiased", "descending", "largest", "sorted", "as_tuple", "right",
         "return_inverse", "return_counts", "assume_unique", "invert", "replacement", "include_self",
         "is_causal", "enable_gqa")

#: Where an entrance lives: its prefix, the module, the attribute that owns it.
OWNERS = {
    "F": ("torch.nn.functional", None),
    "torch": ("torch", None),
    "Tensor": ("torch", "Tensor"),
    "nn": ("torch._C._nn", None),
    "_VF": ("torch._VF", None),
    "adam": ("torch.optim.adam", None),
    "adamw": ("torch.optim.adamw", None),
    "sgd": ("torch.optim.sgd", None),
    "rmsprop": ("torch.optim.rmsprop", None),
    "adagrad": ("torch.optim.adagrad", None),
    "utils": ("torch.nn.utils", None),
    "clip_grad": ("torch.nn.utils.clip_grad", None),
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a stock signature."""

    name: str
    #: "input", "dim", "dtype", "inplace", "absent", "ignored", "true", "false", "number", "integer", "flag" or "overload"
    #: (which makes parameters but the input keyword-only); of an op on several
    #: tensors "operand", "constant" (one that must require no gradient), either with " or number" after it, "sizes" (those that the input ends with) or
    #: "optional" (a number, or None for the default) as well; of an optimizer's step "params", "grads",
    #: "state" or "steps", and of a function of all gradients "parameters", "tensors" or "total" (their norm)
    role: str
    #: index among the kernel's numbers (roles "number", "integer", "optional", "sizes" and "flag"), among what the optimizer keeps (role
    #: "state"), or among the tensors beside the input (role "operand")
    index: int = 0
    #: whether the caller must give it, or its default is stock torch's to serve
    required: bool = False
    keyword_only: bool = False
    default: Any = None


@dataclass(frozen=True)
class Entrance:
    """One stock function that an operation replaces, such as ``F.relu``.

    ``path`` is how users write it, ``module`` and ``owner`` where the attribute sits, ``inplace`` whether it always
    writes to its input.
    """

    path: str
    module: str
    owner: str | None
    attribute: str
    parameters: tuple[Parameter, ...]
    inplace: bool
    #: path of the function in C that a function in Python comes down to, and the names of what it takes
    inner: tuple[str, tuple[str, ...]] | None = None
    #: how many dimensions the input must have
    dims: int | None = None

    def holder(self) -> Any:
        """The object that holds the attribute: a module, or ``torch.Tensor``."""
        return holder(self.path)


def holder(path: str) -> Any:
    """The object that holds what users write as ``path``."""
    module, owner = OWNERS[path.partition(".")[0]]
    found = importlib.import_module(module)
    return getattr(found, owner) if owner else found


@dataclass(frozen=True)
class Row:
    """What all rows have.

    ``entrances``
        stock signatures, such as ``"F.elu(input, alpha=1.0, inplace=False) -> nn.elu(input, alpha)"``; a name that ends in ``_`` works in place.
        ``input: 4`` says that the input must have four dimensions.
        Where stock torch's is written in Python, ``"-> nn.elu(input, alpha)"`` is the call in C that it comes down to
        for a plain tensor; in place, to ``nn.elu_``.
    ``kernel``
        the kernel's name, where it is not the row's.
    ``numbers``
        the parameters that the kernel takes as numbers, in its order, with the value where an entrance lacks them.
    ``integers``
        those that must be integers.
    ``fixed``
        further numbers of the kernel, which are no parameters, or what makes them, where they depend on stock torch.
    ``exactness``
        ``"bits"``: the same bits as stock torch; ``"ulp"``: maximum error against float64 no larger than stock's.
    ``given``
        further values of its representative calls, made from their ``x``: an expression each.
    ``least``
        elements of the smallest two-dimensional ``x``, about square, that those take.
    """

    name: str
    entrances: tuple[str, ...]
    kernel: str = field(default="", kw_only=True)
    #: whether there is a kernel for inputs that require a gradient
    trains: ClassVar[bool] = True
    #: the first version of torch whose function it stands for; that of others is left alone
    since: ClassVar[tuple[int, int]] = (2, 0)
    #: whether it draws random numbers
    random: ClassVar[bool] = False
    #: the kinds of inputs that the kernel tells apart: see `Nary.kinds`
    kinds: ClassVar[tuple[str, ...]] = ()

    numbers: dict[str, float] = field(default_factory=dict, kw_only=True)
    fixed: tuple[float | Callable[[], float], ...] = field(default=(), kw_only=True)
    integers: tuple[str, ...] = field(default=(), kw_only=True)
    dtypes: tuple[str, ...] = field(default=FLOATS, kw_only=True)
    exactness: Literal["bits", "ulp"] = field(default="ulp", kw_only=True)
    given: dict[str, str] = field(default_factory=dict, kw_only=True)
    least: int = field(default=1, kw_only=True)

    @property
    def sized(self) -> tuple[str, ...]:
        """What ``thresholds.json`` calls it: a name for each kind of input."""
        return tuple(f"{self.name}.{kind}" for kind in self.kinds) or (self.name,)

    def kind(self, call: str) -> int:
        """The index of the kind of input that a representative call has."""
        return 0

    def parsed(self) -> tuple[Entrance, ...]:
        """The entrances, parsed."""
        return tuple(self._parse(signature) for signature in self.entrances)

    def scope(self, x: Any) -> dict[str, Any]:
        """The names of a representative call over ``x``."""
        import torch

        names = {"torch": torch, "F": torch.nn.functional, "math": math, "x": x}
        return names | {name: eval(value, dict(names)) for name, value in self.given.items()}

    def _role(self, name: str) -> tuple[str, int]:
        """What a parameter means, and its index."""
        names = list(self.numbers)
        if name not in names:
            return ROLES[name], 0
        role = "integer" if name in self.integers else "flag" if name in FLAGS else "number"
        return role, names.index(name)

    def _parse(self, signature: str) -> Entrance:
        signature, _, inner = (part.strip() for part in signature.partition("->"))
        path, _, rest = signature.partition("(")
        prefix, _, attribute = path.partition(".")
        module, owner = OWNERS[prefix]
        parameters, keyword_only, dims = [], False, None
        for text in filter(None, (part.strip() for part in rest.rstrip(")").split(","))):
            if text == "*":
                keyword_only = True
                continue
            name, equals, default = (part.strip() for part in text.partition("="))
            name, annotated, count = name.partition(":")
            dims = int(count) if annotated else dims
            role, index = self._role(name)
            value = eval(default, {}) if equals else None
            parameters.append(
                Parameter(
                    name=name,
                    role=role,
                    index=index,
                    required=not equals or (role == "true" and not value),
                    keyword_only=keyword_only,
                    default=value,
                )
            )
        inplace = (attribute.endswith("_") and not attribute.endswith("__")) or attribute == "__setitem__"
        target, _, takes = inner.rstrip(")").partition("(")
        comes_to = (target, tuple(name.strip() for name in takes.split(","))) if inner else None
        return Entrance(path, module, owner, attribute, tuple(parameters), inplace, comes_to, dims)


@dataclass(frozen=True, kw_only=True)
class Step(Row):
    """An optimizer's step: the function that its ``step`` hands the lists of a group's tensors to.

    ``state``
        the parameters that are lists of what the optimizer keeps, in the order of the kernel.
    ``flags``
        those of the numbers that are true or false, or ``None`` for the value here.
    """

    state: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def _role(self, name: str) -> tuple[str, int]:
        if name in self.state:
            return "state", self.state.index(name)
        role, index = super()._role(name)
        return ("flag" if name in self.flags else role), index


@dataclass(frozen=True, kw_only=True)
class Clip(Step):
    """A function of all gradients of a model, which an optimizer's step comes after."""


@dataclass(frozen=True, kw_only=True)
class Op(Row):
    """One operation on a tensor.

    ``choices``
        string parameters and their values; the kernel gets the index.
    ``saves``
        what the gradient needs: the ``"input"``, the ``"result"`` or ``"both"``, as in stock torch; or a ``"mask"``, a byte for each
        number that was drawn at random, which ``backward`` is given as stock torch's noise: an op with random
        numbers, the same for a seed as stock torch's and with the same state of the generator afterwards; or
        ``"nothing"``: such an op that leaves inputs which require a gradient to stock torch.
    ``noise``
        stock torch's, of an op that saves a mask, from ``(kept, *numbers)``: ``kept``, which it may change, is 0 or 1 for
        each number, in the input's dtype.
    ``versions``
        the version of a new result, and by how much a call in place counts its input's up.
    ``backward``
        stock torch's own formula, differentiable, from ``(grad, *saved, dim, *numbers)``; it serves double backward and what the backward kernel declines.
    ``node``
        the name of stock torch's autograd node.
    ``calls``
        representative calls, over ``x``, for tests and benches.
    ``domain``
        the values that tests and benches draw: any, or positive ones.
    ``flops``
        floating-point instructions of the float32 kernel for one element, for the roofline: a fused multiply-add is one,
        a division four, and those of kernels that compute in double precision count twice.
    ``shape``
        what shares a number or a result: nothing (``"pointwise"``), a dimension, or ``"features"``, all elements of one
        index in the first two dimensions.
    ``strides``
        which ones an elementwise result has: those that torch's iterator chooses, row-major ones (``"contiguous"``), or
        the ``"input"``'s own, odd ones of dimensions of size 1 included.
    """

    calls: tuple[str, ...]
    saves: Literal["input", "result", "both", "mask", "nothing"]
    backward: Callable[..., Any] | None
    node: str
    flops: int
    noise: Callable[..., Any] | None = None
    versions: tuple[int, int] = (0, 1)
    choices: dict[str, tuple[str, ...]] = field(default_factory=dict)
    shape: Literal["pointwise", "rows", "reduce", "glu", "features"] = "pointwise"
    domain: Literal["any", "positive"] = "any"
    strides: Literal["iterator", "contiguous", "input"] = "iterator"

    @property
    def random(self) -> bool:
        """Whether it draws random numbers."""
        return self.saves in ("mask", "nothing")

    @property
    def trains(self) -> bool:  # type: ignore[override]
        """Whether there is a kernel for inputs that require a gradient."""
        return self.saves != "nothing"


@dataclass(frozen=True, kw_only=True)
class Along(Op):
    """One operation along a dimension whose results, one or several of one shape, are numbers, indices, or both.

    ``pack``
        the name in ``torch.return_types`` of what several results are; a tuple where there is none.
    ``names``
        of these results.
    ``saves``
        as of `Op`; or the ``"indices"``, which are the last result; or ``"places"``, the input and these; or ``"nothing"``, as
        where no result has a gradient, or that is stock torch's.
    ``backward``
        as of `Op`, from ``(grads, saved, sizes, dim, *numbers)``: the gradients of the results that have one, ``None`` for
        what nobody asked for, what was saved, and the input's sizes.

    ``dim``
        the dimension, where the signature has none.
    ``overload``
        a number that is true or false; a call that gives it is stock torch's next overload, all of whose arguments but the
        input are given by name, and whose node is the next one.

    Where torch takes the input alone as another overload, with other results, it trains along a dimension only.
    """

    saves: Literal["input", "both", "indices", "places", "nothing"]  # type: ignore[assignment]
    pack: str = ""
    names: tuple[str, str] = ("values", "indices")
    shape: Literal["reduce", "rows", "first"] = "reduce"  # type: ignore[assignment]
    dim: int | None = None
    overload: str = ""

    def _role(self, name: str) -> tuple[str, int]:
        role, index = super()._role(name)
        return ("overload" if name == self.overload else role), index

    @property
    def random(self) -> bool:
        """Whether it draws random numbers: none does."""
        return False

    @property
    def trains(self) -> bool:
        """Whether there is a kernel for inputs that require a gradient."""
        return self.backward is not None


@dataclass(frozen=True, kw_only=True)
class Select(Row):
    """One operation whose result is as long as there are true elements: of its input, of which it gives the places, or of
    a mask of the input's shape, which chooses elements of the input; or as there are different ones.

    ``mask``
        the parameter that is the mask.
    ``node``, ``backward``
        as of `Op`, the gradient from ``(grad, mask, sizes)``; where there is none, it is stock torch's, if there is any.
    ``domain``
        as of `Op`.
    ``calls``, ``passes``, ``beside``
        as of `Index`.
    """

    shape: ClassVar[str] = "counted"
    flops: ClassVar[int] = 1

    calls: tuple[str, ...]
    passes: float
    beside: float = 0.0
    mask: str = ""
    node: str = ""
    backward: Callable[[Any, Any, Any], Any] | None = None
    domain: Literal["any", "positive"] = "any"
    exactness: Literal["bits", "ulp"] = "bits"
    dtypes: tuple[str, ...] = DTYPES

    @property
    def trains(self) -> bool:  # type: ignore[override]
        """Whether there is a gradient."""
        return bool(self.node)

    def _role(self, name: str) -> tuple[str, int]:
        if name == self.mask:
            return "operand", 0
        return ("absent", 0) if name in ("dim", "weights") else super()._role(name)


@dataclass(frozen=True, kw_only=True)
class Sample(Select):
    """One operation that draws places in rows of probabilities, the same for a seed as stock torch's and with the same state of
    the generator afterwards.
    """

    random: ClassVar[bool] = True
    shape: ClassVar[str] = "rows"
    flops: ClassVar[int] = 60


@dataclass(frozen=True, kw_only=True)
class Index(Row):
    """One operation that moves, chooses or finds elements of any type. Gradients are stock torch's.

    ``operands``
        the parameters that are tensors beside the input, in the order of the kernel; those that are among the ``numbers`` as
        well, at the same index, may be a number.
    ``input``
        the parameter that is the input, where it is called otherwise.
    ``constants``
        those of the operands of which a tensor in training is stock torch's.
    ``node``
        the name of stock torch's autograd node; empty where there is no gradient.
    ``number_node``
        its name where a number stands for a tensor, if that is another.
    ``saves``
        the index of each tensor that the gradient needs, and what stock torch's node calls it if that is a tensor there.
    ``saved_for``
        by index of a tensor that is saved for another's gradient alone, the index of that.
    ``backward``
        stock torch's formula, differentiable: the gradients of the tensors from ``(grad, saved, sizes, *numbers)``, the tensors
        that were saved and the input's sizes; or functions of nothing that make them, called where one is wanted.
    ``multiplies``
        whether each of the input's elements is multiplied by as many as there are in a row.
    ``casts``
        whether stock torch's autocast on the CPU has it done in its type.
    ``calls``
        representative calls, over a two-dimensional ``x`` and what ``given`` names, for tests and benches.
    ``passes``, ``beside``
        bytes that the best of kernels moves for those of ``x``, and for each of its elements beside them; in training twice
        as many.
    ``optional``
        those of the ``numbers`` for which ``None`` stands for the default.
    ``setting``
        the function of ``torch._C`` that says whether stock torch computes it as the kernel does.
    ``since``
        as of `Row`.
    ``choices``
        as of `Op`.
    """

    shape: ClassVar[str] = "index"
    domain: ClassVar[str] = "any"
    flops: ClassVar[int] = 1

    operands: tuple[str, ...]
    calls: tuple[str, ...]
    passes: float
    beside: float = 0.0
    input: str = ""
    constants: tuple[str, ...] = ()
    node: str = ""
    number_node: str = ""
    saves: dict[int, str] = field(default_factory=dict)
    saved_for: dict[int, int] = field(default_factory=dict)
    backward: Callable[..., tuple[Any, ...]] | None = None
    optional: tuple[str, ...] = ()
    setting: str = ""
    since: tuple[int, int] = (2, 0)  # type: ignore[misc]
    choices: dict[str, tuple[str, ...]] = field(default_factory=dict)
    multiplies: bool = False
    casts: bool = False
    exactness: Literal["bits", "ulp"] = "bits"
    dtypes: tuple[str, ...] = DTYPES

    @property
    def trains(self) -> bool:  # type: ignore[override]
        """Whether there is a gradient."""
        return bool(self.node)

    def leaves(self, call: str) -> set[str]:
        """The names in a representative call that may stand for tensors which require a gradient."""
        return {node.id for node in ast.walk(ast.parse(call, mode="eval")) if isinstance(node, ast.Name)}

    def _role(self, name: str) -> tuple[str, int]:
        if name == "self" and "input" in self.operands:
            name = "input"  # which is called so as a method
        if name in self.operands:
            role = "constant" if name in self.constants else "operand"
            return role + " or number" * (name in self.numbers), self.operands.index(name)
        if name == self.input:
            return "input", 0
        role, index = super()._role(name)
        return ("optional" if name in self.optional else role), index


@dataclass(frozen=True, kw_only=True)
class Nary(Row):
    """One operation on several tensors.

    ``operands``
        the parameters that are tensors beside the input, in the order of the kernel; those that it updates in place come
        last.
    ``input``
        the parameter that is the input, where it is called otherwise.
    ``constants``
        those of the operands whose gradient is stock torch's, and so is a call that asks for it.
    ``domain``
        the values that tests and benches draw for the input: any, or probabilities.
    ``optional``
        those of the numbers that may be ``None``, which is the value here.
    ``absent``
        further parameters that must be ``None``.
    ``choices``, ``node``, ``flops``
        as of `Op`.
    ``backward``
        stock torch's own formula, differentiable: the gradients of the tensors from ``(grad, *tensors, *numbers)``; it
        serves double backward and what the backward kernel declines. There are none of tensors that are updated.
    ``names``
        what the autograd node calls the tensors; empty for one that stock torch's does not save.
    ``calls``
        representative calls, over a two-dimensional ``x`` and what ``given`` names, for tests and benches.
    ``passes``
        bytes that the best of kernels moves for those of ``x``, forward and in training.
    ``kinds``
        of inputs, in the kernel's order, where it wins at different sizes: the names in ``given`` of those that calls
        have as their input. A call whose input has another name is of the first kind.
    ``multiplies``
        whether it is a product of the rows of ``x`` and a matrix, ``flops`` for each term of a sum: stock torch's for the
        types that the CPU multiplies by instructions of its own.
    ``casts``
        whether stock torch's autocast on the CPU has it done in its type.
    """

    shape: ClassVar[str] = "nary"

    operands: tuple[str, ...]
    calls: tuple[str, ...]
    backward: Callable[..., tuple[Any, ...]]
    node: str
    names: tuple[str, ...]
    flops: int
    passes: tuple[float, float]
    input: str = ""
    constants: tuple[str, ...] = ()
    domain: Literal["any", "probability"] = "any"
    optional: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    choices: dict[str, tuple[str, ...]] = field(default_factory=dict)
    multiplies: bool = False
    casts: bool = False
    kinds: tuple[str, ...] = ()  # type: ignore[misc]

    def kind(self, call: str) -> int:
        """The index of the kind of input that a representative call has."""
        tree: Any = ast.parse(call, mode="eval").body
        name = ast.unparse(tree.args[0])
        return self.kinds.index(name) if name in self.kinds else 0

    def leaves(self, call: str) -> set[str]:
        """The names in a representative call that may stand for tensors which require a gradient."""
        tree: Any = ast.parse(call, mode="eval").body
        names = [parameter.name for parameter in self.parsed()[0].parameters]
        arguments = [*zip(names, tree.args, strict=False), *((word.arg, word.value) for word in tree.keywords)]
        nodes = [node for name, value in arguments if name not in self.constants for node in ast.walk(value)]
        return {node.id for node in nodes if isinstance(node, ast.Name)}

    def _role(self, name: str) -> tuple[str, int]:
        if name in self.operands:
            return "constant" if name in self.constants else "operand", self.operands.index(name)
        if name == self.input:
            return "input", 0
        if name in self.absent:
            return "absent", 0
        role, index = super()._role(name)
        if role != "number":
            return role, index
        return ("optional" if name in self.optional else ROLES.get(name, role)), index


def _aten() -> Any:
    import torch

    return torch.ops.aten


def _recording() -> bool:
    """Whether a second derivative may be asked for."""
    import torch

    return torch.is_grad_enabled()


def _erf_backward(grad: Any, saved: Any, dim: int) -> Any:
    return (2.0 / 3.141592653589793**0.5) * saved.square().neg().exp() * grad


def _pow_backward(grad: Any, saved: Any, dim: int, exponent: float) -> Any:
    if exponent == 0.0:
        return grad.new_zeros(()).expand_as(grad) * 1
    return grad * (exponent * saved.pow(exponent - 1))


def _logsigmoid_backward(grad: Any, saved: Any, dim: int) -> Any:
    return _aten().log_sigmoid_backward(grad, saved, _aten().log_sigmoid_forward(saved.detach())[1])


def _elu_backward(grad: Any, saved: Any, dim: int, alpha: float, scale: float = 1.0, slope: float = 1.0) -> Any:
    return _aten().elu_backward(grad, alpha, scale, slope, False, saved)


def _silu_backward(grad: Any, saved: Any, dim: int) -> Any:
    if not _recording():
        return _aten().silu_backward(grad, saved)
    gate = saved.sigmoid()
    return grad * gate * (1 + saved * (1 - gate))


def _mish_backward(grad: Any, saved: Any, dim: int) -> Any:
    if not _recording():
        return _aten().mish_backward(grad, saved)
    bend = _aten().softplus(saved).tanh()
    return grad * (bend + saved * saved.sigmoid() * (1 - bend * bend))


def _softsign_backward(grad: Any, saved: Any, dim: int) -> Any:
    return grad / (1 + saved.abs()).square()


def _noise(kept: Any, p: float) -> Any:
    return kept.div_(1 - p)


def _noise_backward(grad: Any, noise: Any, dim: int, p: float) -> Any:
    return grad * noise


def _alpha_noise(kept: Any, p: float) -> Any:
    alpha = 1.7580993408473766
    return kept.mul_(1 / ((alpha * alpha * p + 1) * (1 - p)) ** 0.5)


def _logsumexp_backward(grad: Any, saved: Any, result: Any, dim: int, keepdim: float) -> Any:
    if not keepdim and saved.dim():
        grad, result = grad.unsqueeze(dim), result.unsqueeze(dim)
    if saved.is_contiguous():
        return grad * saved.softmax(dim)
    return grad * (saved - result).exp()  # which lies in memory as stock torch's


def _var_backward(
    grad: Any, saved: Any, dim: int | None, keepdim: float, unbiased: float, correction: float
) -> Any:
    count = saved.numel() if dim is None else saved.shape[dim]
    mean = saved.mean() if dim is None else saved.mean(dim, keepdim=True)
    if dim is not None and not keepdim:
        grad = grad.unsqueeze(dim)
    given = [number for number in (unbiased, correction) if number == number]
    return (2.0 / (count - (given[0] if given else 1.0))) * grad * (saved - mean)


def _std_backward(
    grad: Any, saved: Any, result: Any, dim: int | None, keepdim: float, unbiased: float, correction: float
) -> Any:
    grad = (grad / (result * 2)).masked_fill_(result == 0, 0)  # which keeps the strides
    return _var_backward(grad, saved, dim, keepdim, unbiased, correction)


def _extreme_backward(grads: Any, saved: Any, sizes: Any, dim: int, keepdim: float, k: float = 0.0) -> Any:
    (grad,), (indices,) = grads, saved
    if not keepdim and len(sizes):
        grad, indices = grad.unsqueeze(dim), indices.unsqueeze(dim)
    return grad.new_zeros(sizes).scatter(dim, indices, grad)


def _sorted_backward(
    grads: Any, saved: Any, sizes: Any, dim: int, first: float, second: float, ordered: float = 1.0
) -> Any:
    (grad,), (indices,) = grads, saved
    return grad.new_zeros(sizes).scatter(dim, indices, grad)


def _reversed(function: Callable[[Any, int], Any], x: Any, dim: int) -> Any:
    """What is so far from the end on."""
    return function(x.flip(dim), dim).flip(dim)


def _is_single(sizes: Any, dim: int) -> bool:
    """Whether there is nothing before or after along the dimension."""
    return len(sizes) == 0 or sizes[dim] == 1


def _cumsum_backward(grads: Any, saved: Any, sizes: Any, dim: int) -> Any:
    import torch

    (grad,) = grads
    return grad if _is_single(sizes, dim) else _reversed(torch.cumsum, grad, dim)


def _cumprod_backward(grads: Any, saved: Any, sizes: Any, dim: int) -> Any:
    import torch

    (grad,), (input, result) = grads, saved
    if _is_single(sizes, dim):
        return grad
    if not (input == 0).any():
        return _reversed(torch.cumsum, result * grad, dim) / input
    # What stock torch does about zeros is its own.
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        input = input if differentiable else input.detach().requires_grad_()
        product = torch.ops.aten.cumprod(input, dim)
    return torch.autograd.grad(product, input, grad, create_graph=differentiable)[0]


def _logcumsumexp_backward(grads: Any, saved: Any, sizes: Any, dim: int) -> Any:
    import torch

    (grad,), (input, result) = grads, saved
    if len(sizes) == 0:
        return grad

    def part(grad: Any) -> Any:
        # Numbers that are not positive have no logarithm, and no part in the sums.
        logarithm = torch.where(grad > 0, grad.log(), torch.finfo(grad.dtype).min)
        return (_reversed(torch.logcumsumexp, logarithm - result, dim) + input).exp()

    return part(grad) - part(-grad)


def _cumulative_extreme_backward(grads: Any, saved: Any, sizes: Any, dim: int) -> Any:
    (grad,), (_, indices) = grads, saved
    return grad.new_zeros(sizes).scatter_add(dim, indices, grad)


def _wide_ranks() -> float:
    """Whether stock torch's ranks of quantiles are of double precision: a third of these elements is a bit more then."""
    import torch

    x = torch.arange(64, dtype=torch.float32, device="cpu")
    return float(torch.quantile(x, 1 / 3, interpolation="higher") > 21)


def _unary(name: str, *aliases: str, inplace: bool = True) -> tuple[str, ...]:
    """``torch.name(input, *, out=None)``, ``Tensor.name()`` and their in-place forms."""
    forms = (f"torch.{name}(input, *, out=None)", f"Tensor.{name}(self)")
    return forms + ((f"torch.{name}_(input)", f"Tensor.{name}_(self)") if inplace else ()) + aliases


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946

ROWS: tuple[Op, ...] = (
    Op(
        "relu",
        ("F.relu(input, inplace=False) -> torch.relu(input)", "F.relu_(input)", "torch.relu(input)", "Tensor.relu(self)",
         "torch.relu_(input)", "Tensor.relu_(self)"),
        calls=("F.relu(x)",),
        saves="result",
        backward=lambda grad, saved, dim: _aten().threshold_backward(grad, saved, 0),
        node="ReluBackward0",
        flops=1,
        exactness="bits",
    ),
    Op(
        "relu6",
        ("F.relu6(input, inplace=False) -> nn.relu6(input)",),
        calls=("F.relu6(x)",),
        kernel="hardtanh",
        fixed=(0.0, 6.0),
        saves="input",
        backward=lambda grad, saved, dim: _aten().hardtanh_backward(grad, saved, 0.0, 6.0),
        node="HardtanhBackward0",
        flops=2,
        exactness="bits",
        strides="input",
    ),
    Op(
        "hardtanh",
        ("F.hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False) -> nn.hardtanh(input, min_val, max_val)",
         "F.hardtanh_(input, min_val=-1.0, max_val=1.0)"),
        calls=("F.hardtanh(x)", "F.hardtanh(x, -0.5, 2.0)"),
        numbers={"min_val": -1.0, "max_val": 1.0},
        saves="input",
        backward=lambda grad, saved, dim, low, high: _aten().hardtanh_backward(grad, saved, low, high),
        node="HardtanhBackward0",
        flops=2,
        exactness="bits",
        strides="input",
    ),
    Op(
        "leaky_relu",
        ("F.leaky_relu(input, negative_slope=0.01, inplace=False) -> nn.leaky_relu(input, negative_slope)", "F.leaky_relu_(input, negative_slope=0.01)"),
        calls=("F.leaky_relu(x)", "F.leaky_relu(x, 0.2)"),
        numbers={"negative_slope": 0.01},
        saves="input",
        backward=lambda grad, saved, dim, slope: _aten().leaky_relu_backward(grad, saved, slope, False),
        node="LeakyReluBackward0",
        flops=2,
        exactness="bits",
    ),
    Op(
        "hardswish",
        ("F.hardswish(input, inplace=False) -> nn.hardswish(input)",),
        calls=("F.hardswish(x)",),
        saves="input",
        backward=lambda grad, saved, dim: _aten().hardswish_backward(grad, saved),
        node="HardswishBackward0",
        flops=5,
    ),
    Op(
        "hardsigmoid",
        ("F.hardsigmoid(input, inplace=False) -> nn.hardsigmoid(input)",),
        calls=("F.hardsigmoid(x)",),
        saves="input",
        backward=lambda grad, saved, dim: _aten().hardsigmoid_backward(grad, saved),
        node="HardsigmoidBackward0",
        flops=4,
    ),
    Op(
        "elu",
        ("F.elu(input, alpha=1.0, inplace=False) -> nn.elu(input, alpha)", "F.elu_(input, alpha=1.0)"),
        calls=("F.elu(x)", "F.elu(x, 0.5)"),
        numbers={"alpha": 1.0},
        saves="input",
        backward=_elu_backward,
        node="EluBackward0",
        flops=18,
    ),
    Op(
        "selu",
        ("F.selu(input, inplace=False) -> torch.selu(input)", "F.selu_(input)", "torch.selu(input)", "torch.selu_(input)"),
        calls=("F.selu(x)",),
        kernel="elu",
        fixed=(_SELU_ALPHA, _SELU_SCALE),
        saves="input",
        backward=lambda grad, saved, dim: _elu_backward(grad, saved, dim, _SELU_ALPHA, _SELU_SCALE),
        node="EluBackward0",
        flops=19,
    ),
    Op(
        "celu",
        ("F.celu(input, alpha=1.0, inplace=False) -> torch.celu(input, alpha)", "F.celu_(input, alpha=1.0)", "torch.celu(input, alpha=1.0)",
         "torch.celu_(input, alpha=1.0)"),
        calls=("F.celu(x)", "F.celu(x, 0.5)"),
        numbers={"alpha": 1.0},
        saves="input",
        backward=lambda grad, saved, dim, alpha: _elu_backward(grad, saved, dim, alpha, 1.0, 1.0 / alpha),
        node="CeluBackward0",
        flops=18,
    ),
    Op(
        "gelu",
        ("F.gelu(input, *, approximate='none')",),
        calls=("F.gelu(x)", "F.gelu(x, approximate='tanh')"),
        numbers={"approximate": 0.0},
        choices={"approximate": ("none", "tanh")},
        saves="input",
        backward=lambda grad, saved, dim, tanh: _aten().gelu_backward(
            grad, saved, approximate="tanh" if tanh else "none"
        ),
        node="GeluBackward0",
        flops=23,
    ),
    Op(
        "silu",
        ("F.silu(input, inplace=False) -> nn.silu(input)",),
        calls=("F.silu(x)",),
        saves="input",
        backward=_silu_backward,
        node="SiluBackward0",
        flops=17,
    ),
    Op(
        "mish",
        ("F.mish(input, inplace=False) -> nn.mish(input)",),
        calls=("F.mish(x)",),
        saves="input",
        backward=_mish_backward,
        node="MishBackward0",
        flops=21,
    ),
    Op(
        "sigmoid",
        ("F.sigmoid(input) -> Tensor.sigmoid(input)", *_unary("sigmoid")),
        calls=("torch.sigmoid(x)",),
        saves="result",
        backward=lambda grad, saved, dim: _aten().sigmoid_backward(grad, saved),
        node="SigmoidBackward0",
        flops=16,
    ),
    Op(
        "tanh",
        ("F.tanh(input) -> Tensor.tanh(input)", *_unary("tanh")),
        calls=("torch.tanh(x)",),
        saves="result",
        backward=lambda grad, saved, dim: _aten().tanh_backward(grad, saved),
        node="TanhBackward0",
        flops=36,
    ),
    Op(
        "softplus",
        ("F.softplus(input, beta=1.0, threshold=20.0)",),
        calls=("F.softplus(x)", "F.softplus(x, 2.0, 10.0)"),
        numbers={"beta": 1.0, "threshold": 20.0},
        saves="input",
        backward=lambda grad, saved, dim, beta, threshold: _aten().softplus_backward(grad, saved, beta, threshold),
        node="SoftplusBackward0",
        flops=29,
    ),
    Op(
        "softsign",
        ("F.softsign(input)",),
        calls=("F.softsign(x)",),
        saves="input",
        backward=_softsign_backward,
        node="DivBackward0",
        flops=5,
    ),
    Op(
        "logsigmoid",
        ("F.logsigmoid(input)",),
        calls=("F.logsigmoid(x)",),
        saves="input",
        backward=_logsigmoid_backward,
        node="LogSigmoidBackward0",
        flops=30,
        strides="contiguous",
    ),
    Op(
        "exp",
        _unary("exp"),
        calls=("torch.exp(x)",),
        saves="result",
        backward=lambda grad, saved, dim: grad * saved,
        node="ExpBackward0",
        flops=20,
    ),
    Op(
        "log",
        _unary("log"),
        calls=("torch.log(x)",),
        saves="input",
        backward=lambda grad, saved, dim: grad / saved,
        node="LogBackward0",
        flops=25,
        domain="positive",
    ),
    Op(
        "erf",
        _unary("erf"),
        calls=("torch.erf(x)",),
        saves="input",
        backward=_erf_backward,
        node="ErfBackward0",
        flops=34,
    ),
    Op(
        "pow",
        ("torch.pow(input, exponent, *, out=None)", "Tensor.pow(self, exponent)", "Tensor.pow_(self, exponent)",
         "Tensor.__pow__(self, exponent)"),
        calls=("torch.pow(x, 1.7)", "torch.pow(x, -0.3)", "torch.pow(x, 3)", "x ** 2"),
        numbers={"exponent": 2.0},
        saves="input",
        backward=_pow_backward,
        node="PowBackward0",
        flops=71,
        domain="positive",
    ),
    Op(
        "softmax",
        ("F.softmax(input, dim=None, _stacklevel=3, dtype=None) -> Tensor.softmax(input, dim, dtype)",
         "torch.softmax(input, dim, dtype=None, *, out=None)", "Tensor.softmax(self, dim, dtype=None)"),
        calls=("F.softmax(x, -1)", "F.softmax(x, 0)"),
        shape="rows",
        saves="result",
        backward=lambda grad, saved, dim: _aten()._softmax_backward_data(grad, saved, dim, saved.dtype),
        node="SoftmaxBackward0",
        flops=15,
    ),
    Op(
        "log_softmax",
        ("F.log_softmax(input, dim=None, _stacklevel=3, dtype=None) -> Tensor.log_softmax(input, dim, dtype)",
         "torch.log_softmax(input, dim, dtype=None, *, out=None)", "Tensor.log_softmax(self, dim, dtype=None)"),
        calls=("F.log_softmax(x, -1)", "F.log_softmax(x, 0)"),
        shape="rows",
        saves="result",
        backward=lambda grad, saved, dim: _aten()._log_softmax_backward_data(grad, saved, dim, saved.dtype),
        node="LogSoftmaxBackward0",
        flops=16,
    ),
    Op(
        "logsumexp",
        ("torch.logsumexp(input, dim, keepdim=False, *, out=None)", "Tensor.logsumexp(self, dim, keepdim=False)"),
        calls=("torch.logsumexp(x, -1)", "torch.logsumexp(x, 0, keepdim=True)"),
        shape="reduce",
        numbers={"keepdim": 0.0},
        saves="both",
        backward=_logsumexp_backward,
        node="LogsumexpBackward0",
        flops=14,
    ),
    Op(
        "var",
        ("torch.var(input, dim=None, unbiased=True, keepdim=False, *, correction=1, out=None)",
         "Tensor.var(self, dim=None, unbiased=True, keepdim=False, *, correction=1)"),
        calls=("torch.var(x, -1)", "torch.var(x, 0, keepdim=True)"),
        shape="reduce",
        # Of the last two, at most one may be given.
        numbers={"keepdim": 0.0, "unbiased": float("nan"), "correction": float("nan")},
        saves="input",
        backward=_var_backward,
        node="VarBackward0",
        flops=8,
    ),
    Op(
        "std",
        ("torch.std(input, dim=None, unbiased=True, keepdim=False, *, correction=1, out=None)",
         "Tensor.std(self, dim=None, unbiased=True, keepdim=False, *, correction=1)"),
        calls=("torch.std(x, -1)", "torch.std(x, 0, keepdim=True)"),
        shape="reduce",
        # Of the last two, at most one may be given.
        numbers={"keepdim": 0.0, "unbiased": float("nan"), "correction": float("nan")},
        saves="both",
        backward=_std_backward,
        node="StdBackward0",
        flops=8,
    ),
    *(
        Along(
            name,
            (f"torch.{name}(input, dim=None, keepdim=False, *, out=None)", f"Tensor.{name}(self, dim=None, keepdim=False)"),
            calls=(f"torch.{name}(x, -1)", f"torch.{name}(x, 0, keepdim=True)"),
            numbers={"keepdim": 0.0},
            saves="nothing",
            backward=None,
            node="",
            flops=4,
            exactness="bits",
        )
        for name in ("argmax", "argmin")
    ),
    *(
        Along(
            name,
            (f"torch.{name}(input, dim, keepdim=False, *, out=None)", f"Tensor.{name}(self, dim, keepdim=False)"),
            calls=(f"torch.{name}(x, -1).values", f"torch.{name}(x, 0, keepdim=True).values"),
            numbers={"keepdim": 0.0},
            pack=name,
            saves="indices",
            backward=_extreme_backward,
            node=f"{name.capitalize()}Backward0",
            flops=4,
            exactness="bits",
        )
        for name in ("max", "min")
    ),
    Along(
        "aminmax",
        ("torch.aminmax(input, *, dim=None, keepdim=False, out=None)", "Tensor.aminmax(self, *, dim=None, keepdim=False)"),
        calls=("torch.aminmax(x, dim=-1).min", "torch.aminmax(x, dim=0, keepdim=True).max"),
        numbers={"keepdim": 0.0},
        pack="aminmax",
        names=("min", "max"),
        saves="nothing",
        backward=None,
        node="",
        flops=4,
        exactness="bits",
    ),
    *(
        Along(
            name,
            (f"torch.{name}(input, dim=None, keepdim=False, *, out=None)", f"Tensor.{name}(self, dim=None, keepdim=False)"),
            calls=(f"torch.{name}(x)", f"torch.{name}(x, -1)", f"torch.{name}(x, 0, keepdim=True)"),
            numbers={"keepdim": 0.0},
            saves="nothing",
            backward=None,
            node="",
            flops=1,
            exactness="bits",
            dtypes=("bool",),
        )
        for name in ("any", "all")
    ),
    Along(
        "count_nonzero",
        ("torch.count_nonzero(input, dim=None)", "Tensor.count_nonzero(self, dim=None)"),
        calls=("torch.count_nonzero(x)", "torch.count_nonzero(x, -1)", "torch.count_nonzero(x, 0)"),
        saves="nothing",
        backward=None,
        node="",
        flops=1,
        exactness="bits",
        dtypes=DTYPES,
    ),
    Along(
        "sort",
        ("torch.sort(input, dim=-1, descending=False, *, stable=False, out=None)",
         "Tensor.sort(self, dim=-1, descending=False, *, stable=False)"),
        dtypes=DTYPES,
        calls=("torch.sort(x, stable=True).values", "torch.sort(x, dim=0, stable=True).values"),
        shape="rows",
        # Sorting is stable in any case.
        numbers={"descending": 0.0, "stable": float("nan")},
        overload="stable",
        pack="sort",
        saves="indices",
        backward=_sorted_backward,
        node="SortBackward0",
        flops=60,
        exactness="bits",
    ),
    Along(
        "argsort",
        # Where a call does not ask for a stable order, stock torch's of equal elements is any.
        ("torch.argsort(input, dim=-1, descending=False, *, stable=False)",
         "Tensor.argsort(self, dim=-1, descending=False, *, stable=False)"),
        dtypes=DTYPES,
        calls=("torch.argsort(x, stable=True)", "torch.argsort(x, dim=0, stable=True)"),
        shape="rows",
        numbers={"descending": 0.0, "stable": float("nan")},
        overload="stable",
        saves="nothing",
        backward=None,
        node="",
        flops=60,
        exactness="bits",
    ),
    Along(
        "cumsum",
        ("torch.cumsum(input, dim, *, dtype=None, out=None)", "Tensor.cumsum(self, dim, *, dtype=None)"),
        # Stock torch's sum of float64 is in the precision of the elements: no order is surely as exact.
        dtypes=("float32", "bfloat16", "float16", "int64"),
        calls=("torch.cumsum(x, -1)", "torch.cumsum(x, 0)"),
        shape="rows",
        saves="nothing",
        backward=_cumsum_backward,
        node="CumsumBackward0",
        flops=4,
    ),
    Along(
        "cumprod",
        ("torch.cumprod(input, dim, *, dtype=None, out=None)", "Tensor.cumprod(self, dim, *, dtype=None)"),
        calls=("torch.cumprod(x, -1)", "torch.cumprod(x, 0)"),
        shape="rows",
        saves="both",
        backward=_cumprod_backward,
        node="CumprodBackward0",
        flops=4,
        exactness="bits",
    ),
    Along(
        "logcumsumexp",
        ("torch.logcumsumexp(input, dim, *, out=None)", "Tensor.logcumsumexp(self, dim)"),
        # As of cumsum.
        dtypes=("float32", "bfloat16", "float16"),
        calls=("torch.logcumsumexp(x, -1)", "torch.logcumsumexp(x, 0)"),
        shape="rows",
        saves="both",
        backward=_logcumsumexp_backward,
        node="LogcumsumexpBackward0",
        flops=160,
    ),
    *(
        Along(
            name,
            (f"torch.{name}(input, dim, *, out=None)", f"Tensor.{name}(self, dim)"),
            dtypes=DTYPES,
            calls=(f"torch.{name}(x, -1).values", f"torch.{name}(x, 0).values"),
            shape="rows",
            pack=name,
            saves="places",
            backward=_cumulative_extreme_backward,
            node=f"{name.capitalize()}Backward0",
            flops=3,
            exactness="bits",
        )
        for name in ("cummax", "cummin")
    ),
    Along(
        "msort",
        ("torch.msort(input, *, out=None)", "Tensor.msort(self)"),
        dtypes=DTYPES,
        calls=("torch.msort(x)",),
        shape="rows",
        dim=0,
        saves="nothing",
        backward=None,
        node="",
        flops=60,
        exactness="bits",
    ),
    Along(
        "topk",
        ("torch.topk(input, k, dim=-1, largest=True, sorted=True, *, out=None)",
         "Tensor.topk(self, k, dim=-1, largest=True, sorted=True)"),
        dtypes=(*FLOATS, *INTEGERS),
        calls=("torch.topk(x, 1).values", "torch.topk(x, 1, 0, largest=False).values"),
        shape="first",
        numbers={"k": 0.0, "largest": 1.0, "sorted": 1.0},
        integers=("k",),
        pack="topk",
        saves="indices",
        backward=_sorted_backward,
        node="TopkBackward0",
        flops=8,
        exactness="bits",
    ),
    Along(
        "kthvalue",
        ("torch.kthvalue(input, k, dim=-1, keepdim=False, *, out=None)",
         "Tensor.kthvalue(self, k, dim=-1, keepdim=False)"),
        dtypes=(*FLOATS, *INTEGERS),
        calls=("torch.kthvalue(x, 1).values", "torch.kthvalue(x, 1, 0, keepdim=True).values"),
        numbers={"keepdim": 0.0, "k": 0.0},
        integers=("k",),
        pack="kthvalue",
        saves="indices",
        backward=_extreme_backward,
        node="KthvalueBackward0",
        flops=16,
        exactness="bits",
    ),
    *(
        Along(
            name,
            (f"torch.{name}(input, dim, keepdim=False, *, out=None)", f"Tensor.{name}(self, dim, keepdim=False)"),
            dtypes=(*FLOATS, *INTEGERS),
            calls=(f"torch.{name}(x, -1).values", f"torch.{name}(x, 0, keepdim=True).values"),
            numbers={"keepdim": 0.0},
            pack=name,
            saves="indices",
            backward=_extreme_backward,
            node=f"{name.capitalize()}Backward1",
            flops=16,
            exactness="bits",
        )
        for name in ("median", "nanmedian")
    ),
    Along(
        "mode",
        ("torch.mode(input, dim=-1, keepdim=False, *, out=None)", "Tensor.mode(self, dim=-1, keepdim=False)"),
        dtypes=DTYPES,
        calls=("torch.mode(x, -1).values", "torch.mode(x, 0, keepdim=True).values"),
        numbers={"keepdim": 0.0},
        pack="mode",
        saves="indices",
        backward=_extreme_backward,
        node="ModeBackward0",
        flops=60,
        exactness="bits",
    ),
    *(
        Along(
            name,
            (f"torch.{name}(input, q, dim=None, keepdim=False, *, interpolation='linear', out=None)",
             f"Tensor.{name}(self, q, dim=None, keepdim=False, *, interpolation='linear')"),
            dtypes=("float32", "float64"),
            calls=(f"torch.{name}(x, 0.3, -1)", f"torch.{name}(x, 0.3, 0, keepdim=True)"),
            numbers={"keepdim": 0.0, "q": 0.0, "interpolation": 0.0},
            choices={"interpolation": ("linear", "lower", "higher", "midpoint", "nearest")},
            fixed=(_wide_ranks,),
            saves="nothing",
            backward=None,
            node="",
            flops=16,
            exactness="bits",
        )
        for name in ("quantile", "nanquantile")
    ),
    Op(
        "glu",
        ("F.glu(input, dim=-1) -> nn.glu(input, dim)",),
        calls=("F.glu(x, -1)", "F.glu(x, 0)"),
        shape="glu",
        saves="input",
        backward=lambda grad, saved, dim: _aten().glu_backward(grad, saved, dim),
        node="GluBackward0",
        least=4,
        flops=9,
    ),
    Op(
        "dropout",
        # No call in C for those that decline: one that fails has drawn numbers, and would be repeated for its error.
        ("F.dropout(input, p=0.5, training=True, inplace=False)", "torch.dropout(input, p, train)",
         "torch.dropout_(input, p, train)"),
        calls=("F.dropout(x)", "F.dropout(x, 0.1)"),
        numbers={"p": 0.5},
        saves="mask",
        noise=_noise,
        backward=_noise_backward,
        node="MulBackward0",
        # Integer instructions for the most part: two words of the generator.
        flops=26,
        exactness="bits",
    ),
    Op(
        "alpha_dropout",
        # As above.
        ("F.alpha_dropout(input, p=0.5, training=False, inplace=False)", "torch.alpha_dropout(input, p, train)",
         "torch.alpha_dropout_(input, p, train)"),
        calls=("F.alpha_dropout(x, training=True)", "F.alpha_dropout(x, 0.1, True)"),
        numbers={"p": 0.5},
        saves="mask",
        noise=_alpha_noise,
        backward=_noise_backward,
        node="AddBackward0",
        flops=27,
        exactness="bits",
        versions=(1, 2),
    ),
    Op(
        "feature_dropout",
        # As above; of other numbers of dimensions the functions in Python warn, or add one.
        ("torch.feature_dropout(input, p, train)", "torch.feature_dropout_(input, p, train)",
         "F.dropout1d(input: 3, p=0.5, training=True, inplace=False)",
         "F.dropout2d(input: 4, p=0.5, training=True, inplace=False)",
         "F.dropout3d(input: 5, p=0.5, training=True, inplace=False)"),
        calls=("torch.feature_dropout(x, 0.5, True)", "torch.feature_dropout(x, 0.1, True)"),
        numbers={"p": 0.5},
        shape="features",
        saves="mask",
        noise=_noise,
        backward=_noise_backward,
        node="MulBackward0",
        flops=26,
        exactness="bits",
    ),
    Op(
        "feature_alpha_dropout",
        # As above.
        ("F.feature_alpha_dropout(input, p=0.5, training=False, inplace=False)",
         "torch.feature_alpha_dropout(input, p, train)", "torch.feature_alpha_dropout_(input, p, train)"),
        calls=("F.feature_alpha_dropout(x, training=True)", "F.feature_alpha_dropout(x, 0.1, True)"),
        numbers={"p": 0.5},
        shape="features",
        saves="mask",
        noise=_alpha_noise,
        backward=_noise_backward,
        node="AddBackward0",
        flops=27,
        exactness="bits",
        versions=(1, 2),
    ),
    Op(
        "bernoulli",
        ("torch.bernoulli(input, p, *, generator=None)", "Tensor.bernoulli(self, p, *, generator=None)",
         "Tensor.bernoulli_(self, p=0.5, *, generator=None)"),
        calls=("torch.bernoulli(x, 0.5)", "torch.bernoulli(x, 0.1)"),
        numbers={"p": 0.5},
        saves="nothing",
        backward=None,
        node="",
        flops=25,
        exactness="bits",
        strides="contiguous",
    ),
)


def _linear_backward(grad: Any, input: Any, weight: Any, bias: Any) -> tuple[Any, ...]:
    rows, grads = input.reshape(-1, input.shape[-1]), grad.reshape(-1, weight.shape[0])
    return (grads @ weight).view(input.shape), grads.t() @ rows, None if bias is None else grads.sum(0)


def _layer_norm_backward(
    grad: Any, input: Any, weight: Any, bias: Any, dims: float, eps: float
) -> tuple[Any, Any, Any]:
    shape = input.shape[input.dim() - int(dims) :]
    _, mean, rstd = _aten().native_layer_norm(input.detach(), shape, weight, bias, eps)
    wanted = [tensor is not None and tensor.requires_grad for tensor in (input, weight, bias)]
    return _aten().native_layer_norm_backward(grad, input, shape, mean.detach(), rstd.detach(), weight, bias, wanted)


def _rms_norm_backward(grad: Any, input: Any, weight: Any, dims: float, eps: float) -> tuple[Any, Any]:
    import torch

    wide = input if input.dtype == torch.float64 else input.float()
    grad = grad.to(wide.dtype)
    inner = tuple(range(input.dim() - int(dims), input.dim()))
    eps = torch.finfo(wide.dtype).eps if eps == float("-inf") else eps
    scale = (wide.square().mean(inner, keepdim=True) + eps).rsqrt()
    normal = wide * scale
    weighted = grad if weight is None else grad * weight.to(wide.dtype)
    gradient = (weighted - normal * (weighted * normal).mean(inner, keepdim=True)) * scale
    of_weight = None
    if weight is not None:
        of_weight = (grad * normal).sum(tuple(range(input.dim() - int(dims)))).to(weight.dtype)
    return gradient.to(input.dtype), of_weight


def _cross_entropy_backward(
    grad: Any, input: Any, target: Any, ignored: float, reduction: float, smoothing: float
) -> tuple[Any, None]:
    counts = target != int(ignored)
    grad = grad * counts
    if reduction == 1.0:
        grad = grad / counts.sum()
    dim = input.dim() - 1
    chosen = grad.unsqueeze(dim) * (smoothing - 1.0)
    # Ignored rows have a gradient of zero, whatever their index is.
    terms = (grad.unsqueeze(dim) * (-smoothing / input.shape[dim])).expand_as(input)
    terms = terms.scatter_add(dim, (target * counts).unsqueeze(dim), chosen)
    result = input.log_softmax(dim)
    gradient = _aten()._log_softmax_backward_data(terms.to(input.dtype), result, dim, input.dtype)
    return gradient.masked_fill(~counts.unsqueeze(dim), 0.0), None


def _shared(grad: Any, input: Any, reduction: float) -> Any:
    """The gradient of each element's loss."""
    if reduction == 1.0:
        return grad / input.numel()
    return grad / input.shape[0] if reduction == 3.0 else grad


def _mse_loss_backward(grad: Any, input: Any, target: Any, reduction: float) -> tuple[Any, Any]:
    gradient = _aten().mse_loss_backward(grad, input, target, int(reduction))
    return gradient, -gradient


def _l1_loss_backward(grad: Any, input: Any, target: Any, reduction: float) -> tuple[Any, Any]:
    gradient = _shared(grad, input, reduction) * (input - target).sgn()
    return gradient, -gradient


def _smooth_l1_loss_backward(
    grad: Any, input: Any, target: Any, reduction: float, beta: float
) -> tuple[Any, Any]:
    gradient = _aten().smooth_l1_loss_backward(grad, input, target, int(reduction), beta)
    return gradient, -gradient


def _huber_loss_backward(grad: Any, input: Any, target: Any, reduction: float, delta: float) -> tuple[Any, Any]:
    gradient = _aten().huber_loss_backward(grad, input, target, int(reduction), delta)
    return gradient, -gradient


def _binary_cross_entropy_backward(
    grad: Any, input: Any, target: Any, weight: Any, reduction: float
) -> tuple[Any, None, None]:
    return _aten().binary_cross_entropy_backward(grad, input, target, weight, int(reduction)), None, None


def _binary_cross_entropy_with_logits_backward(
    grad: Any, input: Any, target: Any, weight: Any, factor: Any, reduction: float
) -> tuple[Any, None, None, None]:
    chosen = target if factor is None else factor * target
    gradient = ((chosen + 1 - target) * input.sigmoid() - chosen) * _shared(grad, input, reduction)
    return gradient if weight is None else gradient * weight, None, None, None


def _kl_div_backward(
    grad: Any, input: Any, target: Any, reduction: float, log_target: float
) -> tuple[Any, None]:
    return -_shared(grad, input, reduction) * (target.exp() if log_target else target), None


def _poisson_nll_loss_backward(
    grad: Any, input: Any, target: Any, reduction: float, log_input: float, eps: float
) -> tuple[Any, None]:
    slope = input.exp() - target if log_input else 1 - target / (input + eps)
    return _shared(grad, input, reduction) * slope, None


def _gaussian_nll_loss_backward(
    grad: Any, input: Any, target: Any, var: Any, reduction: float, eps: float
) -> tuple[Any, Any, Any]:
    grad = _shared(grad, input, reduction)
    variance = var + (var.clamp(min=eps) - var).detach()  # stock torch does not record that it clamps
    ratio = (input - target) / variance
    return grad * ratio, -grad * ratio, grad * 0.5 * (1 / variance - ratio * ratio)


def _batch_norm_backward(
    grad: Any, input: Any, weight: Any, bias: Any, mean: Any, var: Any, momentum: float, eps: float
) -> tuple[Any, ...]:
    running = [None if tensor is None else tensor.clone() for tensor in (mean, var)]
    _, *saved = _aten().native_batch_norm(input.detach(), weight, bias, *running, True, momentum, eps)
    wanted = [True, weight is not None, bias is not None]
    saved = [tensor.detach() for tensor in saved]
    return _aten().native_batch_norm_backward(grad, input, weight, mean, var, *saved, True, eps, wanted)


def _instance_norm_backward(
    grad: Any, input: Any, weight: Any, bias: Any, momentum: float, eps: float
) -> tuple[Any, ...]:
    samples, channels = input.shape[:2]
    shape = (1, samples * channels, *input.shape[2:])
    repeated = [None if tensor is None else tensor.repeat(samples) for tensor in (weight, bias)]
    whole = (grad.reshape(shape), input.reshape(shape), *repeated, None, None, momentum, eps)
    of_input, *others = _batch_norm_backward(*whole)
    summed = [None if other is None else other.view(samples, channels).sum(0) for other in others]
    return of_input.view(input.shape), *summed


def _embedding_backward(grad: Any, weight: Any, indices: Any, padding: float) -> tuple[Any, None]:
    return _aten().embedding_dense_backward(grad, indices, weight.shape[0], int(padding), False), None


#: Of `Nary.given`: weights that are no two alike, those of channels where the first dimension of ``x`` is that, and targets.
_WEIGHTS = "torch.linspace({}, {}, x.shape[-1]).to(x.dtype)"
_CHANNEL_WEIGHTS = "torch.linspace({}, {}, x.shape[0]).to(x.dtype)"
_PLANE_WEIGHTS = "torch.linspace({}, {}, math.gcd(x.shape[0], 64)).to(x.dtype)"
#: Images that have the elements of ``x``: up to 64 channels.
_PLANES = "x.view(-1, math.gcd(x.shape[0], 64), x.shape[1] // math.gcd(x.shape[1], 32), math.gcd(x.shape[1], 32))"
_TARGETS = "torch.linspace({}, {}, x.numel()).to(x.dtype).view_as(x)"
#: Rows of a matrix over those of ``x``, as many as these have elements, or fewer where they are long.
_ROWS = "min(x.shape[-1], 2**20 // x.shape[-1] + 1)"
_MATRIX = f"torch.linspace(1.0, 99.0, {_ROWS} * x.shape[-1]).cos().to(x.dtype).view(-1, x.shape[-1])"
_REDUCTIONS = {"reduction": ("none", "mean", "sum")}

NARY_ROWS: tuple[Nary, ...] = (
    Nary(
        "linear",
        ("F.linear(input, weight, bias=None)",),
        operands=("weight", "bias"),
        calls=("F.linear(x, w, b)", "F.linear(x, w)"),
        given={"w": _MATRIX, "b": f"torch.linspace(-1.0, 1.0, {_ROWS}).to(x.dtype)"},
        multiplies=True,
        casts=True,
        backward=_linear_backward,
        node="AddmmBackward0",
        names=("mat1", "mat2", ""),
        flops=1,
        passes=(3.0, 8.0),
    ),
    Nary(
        "layer_norm",
        ("F.layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05) -> torch.layer_norm(input, normalized_shape, weight, bias, eps)",
         "torch.layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05, cudnn_enable=True)"),
        operands=("weight", "bias"),
        numbers={"normalized_shape": 0.0, "eps": 1e-5},
        calls=("F.layer_norm(x, x.shape[-1:], w, b)", "F.layer_norm(x, x.shape[-1:])"),
        given={"w": _WEIGHTS.format(0.5, 1.5), "b": _WEIGHTS.format(-1.0, 1.0)},
        backward=_layer_norm_backward,
        node="NativeLayerNormBackward0",
        names=("input", "weight", "bias"),
        flops=6,
        passes=(2.0, 5.0),
    ),
    Nary(
        "batch_norm",
        ("F.batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-05)",),
        operands=("weight", "bias", "running_mean", "running_var"),
        constants=("running_mean", "running_var"),
        numbers={"momentum": 0.1, "eps": 1e-5},
        calls=(
            "F.batch_norm(x, None, None, w, b, True)",
            "F.batch_norm(x, None, None, training=True)",
            "F.batch_norm(planes, None, None, v, a, True)",
            "F.batch_norm(channels_last, None, None, v, a, True)",
        ),
        given={
            "w": _WEIGHTS.format(0.5, 1.5),
            "b": _WEIGHTS.format(-1.0, 1.0),
            "v": _PLANE_WEIGHTS.format(0.5, 1.5),
            "a": _PLANE_WEIGHTS.format(-1.0, 1.0),
            "planes": _PLANES,
            "channels_last": f"{_PLANES}.contiguous(memory_format=torch.channels_last)",
        },
        kinds=("columns", "planes", "channels_last"),
        backward=_batch_norm_backward,
        node="NativeBatchNormBackward0",
        names=("input", "weight", "", "running_mean", "running_var"),
        least=4,
        flops=8,
        passes=(2.0, 5.0),
    ),
    Nary(
        "instance_norm",
        ("F.instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-05)",),
        operands=("weight", "bias"),
        absent=("running_mean", "running_var"),
        numbers={"momentum": 0.1, "eps": 1e-5},
        calls=("F.instance_norm(x.unsqueeze(0), weight=w, bias=b)", "F.instance_norm(x.unsqueeze(0))"),
        given={"w": _CHANNEL_WEIGHTS.format(0.5, 1.5), "b": _CHANNEL_WEIGHTS.format(-1.0, 1.0)},
        backward=_instance_norm_backward,
        node="ViewBackward0",
        names=("input", "weight", ""),
        least=4,
        flops=8,
        passes=(2.0, 5.0),
    ),
    Nary(
        "rms_norm",
        ("F.rms_norm(input, normalized_shape, weight=None, eps=None) -> torch.rms_norm(input, normalized_shape, weight, eps)",
         "torch.rms_norm(input, normalized_shape, weight=None, eps=None)"),
        operands=("weight",),
        numbers={"normalized_shape": 0.0, "eps": float("-inf")},
        optional=("eps",),
        calls=("F.rms_norm(x, x.shape[-1:], w)", "F.rms_norm(x, x.shape[-1:])"),
        given={"w": _WEIGHTS.format(0.5, 1.5)},
        backward=_rms_norm_backward,
        node="MulBackward0",
        names=("self", "other"),
        flops=4,
        passes=(2.0, 5.0),
    ),
    Nary(
        "embedding",
        # F.embedding and torch.nn.Embedding come down to it.
        ("torch.embedding(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False)",),
        input="weight",
        operands=("indices",),
        numbers={"padding_idx": -1.0},
        integers=("padding_idx",),
        calls=("torch.embedding(x, i)",),
        given={"i": "(torch.arange(2 * x.shape[0]) * 7 % x.shape[0]).view(2, -1)"},
        backward=_embedding_backward,
        node="EmbeddingBackward0",
        names=("", "indices"),
        flops=1,
        passes=(4.0, 9.0),
        exactness="bits",
    ),
    Nary(
        "cross_entropy",
        ("F.cross_entropy(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, "
         "reduction='mean', label_smoothing=0.0)",),
        operands=("target",),
        numbers={"ignore_index": -100.0, "reduction": 1.0, "label_smoothing": 0.0},
        integers=("ignore_index",),
        choices=_REDUCTIONS,
        calls=("F.cross_entropy(x, t)", "F.cross_entropy(x, t, reduction='none')", "F.cross_entropy(x, t, label_smoothing=0.1)"),
        given={"t": "torch.arange(x.shape[0]) * 7 % x.shape[-1]"},
        backward=_cross_entropy_backward,
        node="NllLossBackward0",
        names=("self", "target"),
        flops=15,
        passes=(1.0, 3.0),
    ),
    Nary(
        "mse_loss",
        ("F.mse_loss(input, target, size_average=None, reduce=None, reduction='mean', weight=None)",),
        operands=("target",),
        numbers={"reduction": 1.0},
        choices=_REDUCTIONS,
        calls=("F.mse_loss(x, t)", "F.mse_loss(x, t, reduction='none')"),
        given={"t": _TARGETS.format(-1.0, 1.0)},
        backward=_mse_loss_backward,
        node="MseLossBackward0",
        names=("self", "target"),
        flops=3,
        passes=(2.0, 5.0),
    ),
    Nary(
        "l1_loss",
        ("F.l1_loss(input, target, size_average=None, reduce=None, reduction='mean', weight=None)",),
        operands=("target",),
        numbers={"reduction": 1.0},
        choices=_REDUCTIONS,
        calls=("F.l1_loss(x, t)", "F.l1_loss(x, t, reduction='sum')"),
        given={"t": _TARGETS.format(-1.0, 1.0)},
        backward=_l1_loss_backward,
        node="MeanBackward0",
        names=("self", "target"),
        flops=3,
        passes=(2.0, 5.0),
    ),
    Nary(
        "smooth_l1_loss",
        ("F.smooth_l1_loss(input, target, size_average=None, reduce=None, reduction='mean', beta=1.0)",),
        operands=("target",),
        numbers={"reduction": 1.0, "beta": 1.0},
        choices=_REDUCTIONS,
        calls=("F.smooth_l1_loss(x, t)", "F.smooth_l1_loss(x, t, reduction='none', beta=0.3)"),
        given={"t": _TARGETS.format(-1.0, 1.0)},
        backward=_smooth_l1_loss_backward,
        node="SmoothL1LossBackward0",
        names=("self", "target"),
        flops=8,
        passes=(2.0, 5.0),
    ),
    Nary(
        "huber_loss",
        ("F.huber_loss(input, target, reduction='mean', delta=1.0, weight=None)",),
        operands=("target",),
        numbers={"reduction": 1.0, "delta": 1.0},
        choices=_REDUCTIONS,
        calls=("F.huber_loss(x, t)", "F.huber_loss(x, t, 'sum', 0.3)"),
        given={"t": _TARGETS.format(-1.0, 1.0)},
        backward=_huber_loss_backward,
        node="HuberLossBackward0",
        names=("self", "target"),
        flops=5,
        passes=(2.0, 5.0),
    ),
    Nary(
        "binary_cross_entropy",
        ("F.binary_cross_entropy(input, target, weight=None, size_average=None, reduce=None, reduction='mean')",),
        operands=("target", "weight"),
        constants=("target", "weight"),
        numbers={"reduction": 1.0},
        choices=_REDUCTIONS,
        domain="probability",
        calls=("F.binary_cross_entropy(x, t)", "F.binary_cross_entropy(x, t, w, reduction='none')"),
        given={"t": _TARGETS.format(0.0, 1.0), "w": _WEIGHTS.format(0.5, 1.5)},
        backward=_binary_cross_entropy_backward,
        node="BinaryCrossEntropyBackward0",
        names=("self", "target", "weight"),
        flops=44,
        passes=(2.0, 5.0),
    ),
    Nary(
        "binary_cross_entropy_with_logits",
        ("F.binary_cross_entropy_with_logits(input, target, weight=None, size_average=None, reduce=None, "
         "reduction='mean', pos_weight=None)",),
        operands=("target", "weight", "pos_weight"),
        constants=("target", "weight", "pos_weight"),
        numbers={"reduction": 1.0},
        choices=_REDUCTIONS,
        calls=("F.binary_cross_entropy_with_logits(x, t)", "F.binary_cross_entropy_with_logits(x, t, w, pos_weight=p)"),
        given={"t": _TARGETS.format(0.0, 1.0), "w": _WEIGHTS.format(0.5, 1.5), "p": _WEIGHTS.format(3.0, 1.0)},
        backward=_binary_cross_entropy_with_logits_backward,
        node="BinaryCrossEntropyWithLogitsBackward0",
        names=("self", "target", "weight", "pos_weight"),
        flops=36,
        passes=(2.0, 5.0),
    ),
    Nary(
        "kl_div",
        ("F.kl_div(input, target, size_average=None, reduce=None, reduction='mean', log_target=False)",),
        operands=("target",),
        constants=("target",),
        # Of the reduction "mean", the default, stock torch warns.
        numbers={"reduction": -1.0, "log_target": 0.0},
        choices={"reduction": ("none", "", "sum", "batchmean")},
        calls=("F.kl_div(x, t, reduction='batchmean')", "F.kl_div(x, t, reduction='sum', log_target=True)"),
        given={"t": _TARGETS.format(0.0, 1.0)},
        backward=_kl_div_backward,
        node="DivBackward0",
        names=("self", "target"),
        flops=24,
        passes=(2.0, 4.0),
    ),
    Nary(
        "poisson_nll_loss",
        ("F.poisson_nll_loss(input, target, log_input=True, full=False, size_average=None, eps=1e-08, reduce=None, "
         "reduction='mean')",),
        operands=("target",),
        constants=("target",),
        numbers={"reduction": 1.0, "log_input": 1.0, "eps": 1e-8},
        choices=_REDUCTIONS,
        calls=("F.poisson_nll_loss(x, t)",),
        given={"t": _TARGETS.format(0.0, 5.0)},
        backward=_poisson_nll_loss_backward,
        node="MeanBackward0",
        names=("self", "target"),
        flops=24,
        passes=(2.0, 5.0),
    ),
    Nary(
        "gaussian_nll_loss",
        ("F.gaussian_nll_loss(input, target, var, full=False, eps=1e-06, reduction='mean')",),
        operands=("target", "var"),
        numbers={"reduction": 1.0, "eps": 1e-6},
        choices=_REDUCTIONS,
        calls=("F.gaussian_nll_loss(x, t, v)",),
        given={"t": _TARGETS.format(-1.0, 1.0), "v": _TARGETS.format(0.2, 3.0)},
        backward=_gaussian_nll_loss_backward,
        node="MeanBackward0",
        names=("self", "target", "var"),
        flops=28,
        passes=(3.0, 7.0),
    ),
)

def _where_backward(grad: Any, saved: Any, sizes: Any, *numbers: float) -> tuple[Any, ...]:
    (condition,) = saved
    return None, grad.where(condition, 0), grad.masked_fill(condition, 0)


def _masked_fill_backward(grad: Any, saved: Any, sizes: Any, value: float) -> tuple[Any, ...]:
    return grad.masked_fill(saved[0], 0), None, None


def _gather_backward(grad: Any, saved: Any, sizes: Any, dim: float) -> tuple[Any, ...]:
    return grad.new_zeros(sizes).scatter_add(int(dim), saved[1], grad), None


def _take_along_dim_backward(grad: Any, saved: Any, sizes: Any, dim: float) -> tuple[Any, ...]:
    index = saved[1].expand(grad.shape)
    return grad.new_zeros(sizes).scatter_add(int(dim), index, grad), None


def _wrapped(index: Any, size: int) -> Any:
    """Indices, of which negative ones count from the end, from 0 on."""
    import torch

    return torch.where(index < 0, index + size, index)


def _added_by_index(grad: Any, index: Any, sizes: Any) -> Any:
    """Slices of a gradient, added up where indices say, of which negative ones count from the end."""
    index = _wrapped(index, sizes[0]).flatten()
    return grad.new_zeros(sizes).index_add(0, index, grad.reshape(len(index), *sizes[1:]))


def _chosen_backward(grad: Any, mask: Any, sizes: Any) -> Any:
    """A gradient of elements that a mask of the first dimensions has chosen."""
    mask = mask.reshape(*mask.shape, *[1] * (len(sizes) - mask.dim())).expand(sizes)
    return grad.new_zeros(sizes).masked_scatter(mask, grad)


def _take_backward(grad: Any, saved: Any, sizes: Any) -> tuple[Any, ...]:
    return _added_by_index(grad, saved[1], [math.prod(sizes)]).view(sizes), None


def _index_select_backward(grad: Any, saved: Any, sizes: Any, dim: float) -> tuple[Any, ...]:
    return grad.new_zeros(sizes).index_add(int(dim), saved[0], grad), None


def _index_backward(grad: Any, saved: Any, sizes: Any, dim: float = 0.0) -> tuple[Any, ...]:
    import torch

    index, *second = saved
    if index.dtype is torch.bool:
        return _chosen_backward(grad, index, sizes), None
    if dim:
        index = _wrapped(index, sizes[1]).flatten()
        grad = grad.reshape(sizes[0], len(index), *sizes[2:])
        return grad.new_zeros(sizes).index_add(1, index, grad), None
    if not second:
        return _added_by_index(grad, index, sizes), None
    rows, columns = (_wrapped(each, size) for each, size in zip((index, *second), sizes[:2], strict=True))
    places = torch.add(columns, rows, alpha=sizes[1])
    return _added_by_index(grad, places, (sizes[0] * sizes[1], *sizes[2:])).view(sizes), None


def _scatter_backward(grad: Any, saved: Any, sizes: Any, dim: float, *numbers: float) -> tuple[Any, ...]:
    (index,) = saved
    return grad.scatter(int(dim), index, 0), None, grad.gather(int(dim), index)


def _scatter_add_backward(grad: Any, saved: Any, sizes: Any, dim: float) -> tuple[Any, ...]:
    return grad, None, grad.gather(int(dim), saved[0])


def _index_add_backward(grad: Any, saved: Any, sizes: Any, dim: float, alpha: float) -> tuple[Any, ...]:
    return grad, None, grad.index_select(int(dim), saved[0])


def _index_copy_backward(grad: Any, saved: Any, sizes: Any, dim: float) -> tuple[Any, ...]:
    (index,) = saved
    return grad.index_fill(int(dim), index, 0), None, grad.index_select(int(dim), index)


def _index_fill_backward(grad: Any, saved: Any, sizes: Any, dim: float, value: float) -> tuple[Any, ...]:
    return grad.index_fill(int(dim), saved[0], 0), None, None


def _mm_backward(grad: Any, saved: Any, sizes: Any) -> tuple[Any, ...]:
    a, b = saved
    return lambda: grad.mm(b.t()), lambda: a.t().mm(grad)


def _mv_backward(grad: Any, saved: Any, sizes: Any) -> tuple[Any, ...]:
    matrix, vector = saved
    return lambda: grad.ger(vector), lambda: matrix.t().mv(grad)


def _bmm_backward(grad: Any, saved: Any, sizes: Any) -> tuple[Any, ...]:
    a, b = saved
    return lambda: grad.bmm(b.transpose(1, 2)), lambda: a.transpose(1, 2).bmm(grad)


def _added_backward(
    product: Callable[..., tuple[Any, ...]], grad: Any, saved: Any, sizes: Any, beta: float, alpha: float
) -> tuple[Any, ...]:
    """Of ``beta`` times what is added, and ``alpha`` times a product."""
    scaled = [lambda make=make: make() if alpha == 1 else make() * alpha for make in product(grad, saved, sizes)]
    return lambda: (grad if beta == 1 else grad * beta).sum_to_size(sizes), *scaled


#: Two matrices, or one, of the rows of ``x``.
_BATCH = "x.view(math.gcd(x.shape[0], 2), -1, x.shape[1])"
#: A matrix with a row for each column of ``x``.
_FACTOR = "torch.linspace(1.0, 99.0, x.shape[1] ** 2).cos().to(x.dtype).view(x.shape[1], -1)"
#: As many of these as there are in `_BATCH`.
_FACTORS = f"{_FACTOR}.repeat(math.gcd(x.shape[0], 2), 1, 1)"
#: What products of matrices have in common.
_PRODUCT: dict[str, Any] = {"passes": 3.0, "multiplies": True, "casts": True, "dtypes": FLOATS, "exactness": "ulp"}
#: Those of two.
_OF_MATRICES: dict[str, Any] = _PRODUCT | {
    "given": {"w": _FACTOR},
    "node": "MmBackward0",
    "saves": {0: "self", 1: "mat2"},
    "saved_for": {0: 1, 1: 0},
    "backward": _mm_backward,
}


#: Of `Index.given`: indices of rows and columns, out of order and some of them again.
_ROW_INDEX = "torch.arange(x.shape[0] * 3 // 2 + 1) * 7 % x.shape[0]"
_COLUMN_INDEX = "(torch.arange(x.numel()) * 7 % x.shape[1]).view_as(x)"
#: Of what is added up in its own type.
_ADDED = tuple(dtype for dtype in DTYPES if dtype not in ("bfloat16", "float16", "bool"))
_SORTABLE = tuple(dtype for dtype in DTYPES if dtype != "bool")



def _changes(name: str, rest: str, more: str = "") -> tuple[str, ...]:
    """``torch.name(input, rest)``, which may take more, and the methods that make a new tensor and change the input."""
    return f"torch.{name}(input, {rest}{more})", f"Tensor.{name}(self, {rest})", f"Tensor.{name}_(self, {rest})"


def _comparison(name: str) -> Index:
    return Index(
        name,
        (f"torch.{name}(input, other, *, out=None)", f"Tensor.{name}(self, other)", f"Tensor.__{name}__(self, other)"),
        operands=("other",),
        numbers={"other": 0.0},
        calls=(f"torch.{name}(x, 0)", f"torch.{name}(x, y)", f"torch.{name}(x, y[:1])"),
        passes=1.0,
        beside=1.0,
        given={"y": "x.flip(1)"},
    )


INDEX_ROWS: tuple[Index, ...] = (
    *(_comparison(name) for name in ("eq", "ne", "lt", "le", "gt", "ge")),
    Index(
        "isnan",
        ("torch.isnan(input)", "Tensor.isnan(self)"),
        operands=(),
        calls=("torch.isnan(x)",),
        passes=1.0,
        beside=1.0,
        dtypes=FLOATS,
    ),
    Index(
        "where",
        ("torch.where(condition, input, other, *, out=None)", "Tensor.where(self, condition, other)"),
        input="condition",
        operands=("input", "other"),
        numbers={"input": 0.0, "other": 0.0},
        calls=("torch.where(c, y, z)", "torch.where(c, y, 0)", "torch.where(c[:1], y, z)", "y.where(c, z)"),
        passes=1.0,
        beside=12.0,
        given={"c": "(x > 0) if x.dtype != torch.bool else x", "y": "torch.arange(float(x.numel())).view_as(x)",
               "z": "-torch.arange(float(x.numel())).view_as(x)"},
        dtypes=("bool",),
        node="WhereBackward0",
        saves={0: "condition"},
        backward=_where_backward,
    ),
    Index(
        "masked_fill",
        _changes("masked_fill", "mask, value"),
        operands=("value", "mask"),
        constants=("value",),
        numbers={"value": 0.0},
        calls=("x.masked_fill(m, 1)", "x.masked_fill(m[:1], 0)"),
        passes=2.0,
        beside=1.0,
        given={"m": "(torch.arange(x.numel()) % 3 == 1).view_as(x)"},
        node="MaskedFillBackward0",
        saves={2: "mask"},
        backward=_masked_fill_backward,
    ),
    Index(
        "masked_scatter",
        _changes("masked_scatter", "mask, source"),
        operands=("mask", "source"),
        calls=("x.masked_scatter(m, y)", "x.masked_scatter(m[:, :1].contiguous().expand_as(x), y)"),
        passes=3.0,
        beside=1.0,
        given={"m": "(torch.arange(x.numel()) % 3 == 1).view_as(x)", "y": "x.flip(1)"},
    ),
    Index(
        "gather",
        ("torch.gather(input, dim, index, *, sparse_grad=False, out=None)", "Tensor.gather(self, dim, index, *, sparse_grad=False)"),
        operands=("index",),
        numbers={"dim": 0.0},
        integers=("dim",),
        calls=("x.gather(1, i)", "x.gather(0, i % x.shape[0])"),
        passes=2.0,
        beside=8.0,
        given={"i": _COLUMN_INDEX},
        node="GatherBackward0",
        saves={0: "self", 1: "index"},
        backward=_gather_backward,
    ),
    Index(
        "take_along_dim",
        ("torch.take_along_dim(input, indices, dim, *, out=None)", "Tensor.take_along_dim(self, indices, dim)"),
        operands=("indices",),
        numbers={"dim": 0.0},
        integers=("dim",),
        calls=("x.take_along_dim(i, 1)", "x.take_along_dim(i[:1] % x.shape[0], 0)"),
        passes=2.0,
        beside=8.0,
        given={"i": _COLUMN_INDEX},
        node="GatherBackward0",
        saves={0: "self", 1: "index"},
        backward=_take_along_dim_backward,
    ),
    Index(
        "take",
        ("torch.take(input, index, *, out=None)", "Tensor.take(self, index)"),
        operands=("index",),
        calls=("x.take(i)",),
        passes=2.0,
        beside=8.0,
        given={"i": "(torch.arange(x.numel()) * 7 % x.numel() - x.numel() // 2).view_as(x)"},
        node="TakeBackward0",
        saves={0: "self", 1: "index"},
        backward=_take_backward,
    ),
    Index(
        "index_select",
        ("torch.index_select(input, dim, index, *, out=None)", "Tensor.index_select(self, dim, index)"),
        operands=("index",),
        numbers={"dim": 0.0},
        integers=("dim",),
        calls=("x.index_select(0, i)", "x.index_select(1, j)"),
        passes=3.0,
        given={"i": _ROW_INDEX, "j": "torch.arange(x.shape[1]).flip(0)"},
        node="IndexSelectBackward0",
        saves={1: "index"},
        backward=_index_select_backward,
    ),
    Index(
        "index",
        ("Tensor.__getitem__(self, index)",),
        operands=("index",),
        calls=("x[i]", "x[m]", "x[m[:, 0].contiguous()]", "x[:, j]", "x[i, i % x.shape[1]]"),
        passes=3.0,
        given={"i": f"{_ROW_INDEX} - x.shape[0] // 2", "j": "torch.arange(x.shape[1]).flip(0) - x.shape[1] // 2",
               "m": "(torch.arange(x.numel()) % 3 == 1).view_as(x)"},
        node="IndexBackward0",
        saves={1: ""},
        backward=_index_backward,
    ),
    Index(
        "index_put_",
        ("Tensor.__setitem__(self, index, value)",),
        operands=("value", "index"),
        numbers={"value": 0.0},
        calls=("x.clone().__setitem__(m, 1)", "x.clone().__setitem__(i, x[i])"),
        passes=2.0,
        beside=1.0,
        given={"m": "(torch.arange(x.numel()) % 3 == 1).view_as(x)", "i": f"{_ROW_INDEX} - x.shape[0] // 2"},
    ),
    Index(
        "scatter",
        _changes("scatter", "dim, index, src=None, *, value=None"),
        operands=("index", "src"),
        numbers={"dim": 0.0, "src": math.nan, "value": math.nan},
        integers=("dim",),
        calls=("x.scatter(1, i, y)", "x.scatter(0, k, y)", "x.scatter(1, i[:, ::2], value=0)"),
        passes=4.0,
        beside=8.0,
        given={"i": _COLUMN_INDEX, "y": "x.flip(1)",
               "k": "(torch.arange(x.shape[0]).unsqueeze(1) + torch.arange(x.shape[1])) % x.shape[0]"},
        node="ScatterBackward0",
        number_node="ScatterBackward1",
        saves={1: "index"},
        backward=_scatter_backward,
    ),
    Index(
        "scatter_add",
        _changes("scatter_add", "dim, index, src", ", *, out=None"),
        operands=("index", "src"),
        numbers={"dim": 0.0},
        integers=("dim",),
        calls=("x.scatter_add(1, i // 2, y)", "x.scatter_add(0, i // 2 % x.shape[0], y)",
               "x.scatter_add(0, r.unsqueeze(1).expand(-1, x.shape[1]), x[r])"),
        passes=4.0,
        beside=8.0,
        given={"i": _COLUMN_INDEX, "y": "x.flip(1)", "r": _ROW_INDEX},
        dtypes=_ADDED,
        node="ScatterAddBackward0",
        saves={1: "index"},
        backward=_scatter_add_backward,
    ),
    Index(
        "scatter_reduce",
        _changes("scatter_reduce", "dim, index, src, reduce, *, include_self=True"),
        operands=("index", "src"),
        numbers={"dim": 0.0, "reduce": 0.0, "include_self": 1.0},
        integers=("dim",),
        choices={"reduce": ("sum", "prod", "mean", "amax", "amin")},
        calls=("x.scatter_reduce(1, i // 2, y, 'amax')", "x.scatter_reduce(0, i // 2 % x.shape[0], y, 'sum', include_self=False)",
               "x.scatter_reduce(1, i // 2, y, 'amin', include_self=False)", "x.scatter_reduce(1, i // 2, y, 'prod')"),
        passes=4.0,
        beside=8.0,
        given={"i": _COLUMN_INDEX, "y": "x.flip(1)"},
        dtypes=_ADDED,
    ),
    Index(
        "index_add",
        _changes("index_add", "dim, index, source, *, alpha=1", ", out=None"),
        operands=("index", "source"),
        numbers={"dim": 0.0, "alpha": 1.0},
        integers=("dim",),
        calls=("x.index_add(0, r, x[r])", "x.index_add(1, j // 2, y)"),
        passes=4.0,
        given={"j": "torch.arange(x.shape[1]).flip(0)", "y": "x.flip(1)", "r": _ROW_INDEX},
        dtypes=_ADDED,
        node="IndexAddBackward0",
        saves={1: "index"},
        backward=_index_add_backward,
    ),
    Index(
        "index_copy",
        _changes("index_copy", "dim, index, source", ", *, out=None"),
        operands=("index", "source"),
        numbers={"dim": 0.0},
        integers=("dim",),
        calls=("x.index_copy(0, r, y)", "x.index_copy(1, j, y)"),
        passes=4.0,
        given={"j": "torch.arange(x.shape[1]).roll(1)", "y": "x.flip(1)", "r": "torch.arange(x.shape[0]).flip(0)"},
        node="IndexCopyBackward0",
        saves={1: "index"},
        backward=_index_copy_backward,
    ),
    Index(
        "index_fill",
        _changes("index_fill", "dim, index, value"),
        operands=("index", "value"),
        constants=("value",),
        numbers={"dim": 0.0, "value": math.nan},
        integers=("dim",),
        calls=("x.index_fill(0, r, 1)", "x.index_fill(1, j[::2], 0)"),
        passes=2.0,
        given={"j": "torch.arange(x.shape[1]).flip(0)", "r": _ROW_INDEX},
        node="IndexFillBackward1",
        number_node="IndexFillBackward0",
        saves={1: "index"},
        backward=_index_fill_backward,
    ),
    Index(
        "contiguous",
        ("Tensor.contiguous(self, *, memory_format=None)",),
        operands=(),
        calls=("x.t().contiguous()",),
        passes=2.0,
        node="CloneBackward0",
        backward=lambda grad, saved, sizes: (grad,),
    ),
    Index(
        "scaled_dot_product_attention",
        ("F.scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, *, "
         "scale=None, enable_gqa=False)",),
        input="query",
        operands=("key", "value", "attn_mask"),
        numbers={"dropout_p": 0.0, "is_causal": 0.0, "scale": math.nan, "enable_gqa": 0.0},
        optional=("scale",),
        setting="_get_flash_sdp_enabled",
        since=(2, 5),  # which took keys for several heads, and made zeros of what no key is for
        calls=(
            "F.scaled_dot_product_attention(q, q, x[None, None])",
            "F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)",
            "F.scaled_dot_product_attention(q, k, k, m, scale=0.5, enable_gqa=True)",
        ),
        given={
            "q": "x[None, None]",
            "k": "x[None, None].flip(2)",
            "v": "x[None, None].roll(1, 2)",
            "m": "(x[:, :1] > x[:, :1].t())",
        },
        **_PRODUCT | {"casts": False},  # of few types and shapes: a cast would mostly be for nothing
    ),
    Index(
        "cdist",
        ("torch.cdist(x1, x2, p=2.0, compute_mode='use_mm_for_euclid_dist_if_necessary')",),
        input="x1",
        operands=("x2",),
        numbers={"p": 2.0, "compute_mode": 0.0},
        choices={"compute_mode": ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")},
        calls=("torch.cdist(y, z)", "torch.cdist(y, z, p=1.0)", "torch.cdist(y, z, p=math.inf)"),
        passes=1.0,
        beside=8.0,
        given={"y": "x[:64, :64].contiguous()", "z": "x[:, :64].contiguous()"},
        dtypes=("float32", "float64"),
        exactness="ulp",
    ),
    Index(
        "matmul",
        ("torch.matmul(input, other, *, out=None)", "Tensor.matmul(self, other)", "Tensor.__matmul__(self, other)"),
        operands=("other",),
        calls=("torch.matmul(x, w)", "x @ x.t()"),
        **_OF_MATRICES,
    ),
    Index(
        "mm",
        ("torch.mm(input, mat2, *, out=None)", "Tensor.mm(self, mat2)"),
        operands=("mat2",),
        calls=("torch.mm(x, w)", "torch.mm(x, x.t())"),
        **_OF_MATRICES,
    ),
    Index(
        "mv",
        ("torch.mv(input, vec, *, out=None)", "Tensor.mv(self, vec)"),
        operands=("vec",),
        calls=("torch.mv(x, v)", "torch.mv(x.t(), x[:, 0].contiguous())"),
        given={"v": "x[0].clone()"},
        node="MvBackward0",
        saves={0: "self", 1: "vec"},
        saved_for={0: 1, 1: 0},
        backward=_mv_backward,
        **_PRODUCT | {"passes": 1.0, "casts": False},
    ),
    Index(
        "bmm",
        ("torch.bmm(input, mat2, *, out=None)", "Tensor.bmm(self, mat2)"),
        operands=("mat2",),
        calls=("torch.bmm(x.view(1, *x.shape), x.t().unsqueeze(0))", f"torch.bmm({_BATCH}, z)"),
        given={"z": _FACTORS},
        node="BmmBackward0",
        saves={0: "self", 1: "mat2"},
        saved_for={0: 1, 1: 0},
        backward=_bmm_backward,
        **_PRODUCT,
    ),
    Index(
        "addmm",
        ("torch.addmm(input, mat1, mat2, *, beta=1, alpha=1, out=None)", "Tensor.addmm(self, mat1, mat2, *, beta=1, alpha=1)"),
        operands=("mat1", "mat2"),
        numbers={"beta": 1.0, "alpha": 1.0},
        calls=("torch.addmm(b, x, w)", "torch.addmm(y, x, w, beta=0.5, alpha=2)"),
        given={"w": _FACTOR, "b": "x[0].clone()", "y": "x.flip(1)"},
        node="AddmmBackward0",
        saves={1: "mat1", 2: "mat2"},
        saved_for={1: 2, 2: 1},
        backward=functools.partial(_added_backward, _mm_backward),
        **_PRODUCT,
    ),
    Index(
        "baddbmm",
        ("torch.baddbmm(input, batch1, batch2, *, beta=1, alpha=1, out=None)",
         "Tensor.baddbmm(self, batch1, batch2, *, beta=1, alpha=1)"),
        operands=("batch1", "batch2"),
        numbers={"beta": 1.0, "alpha": 1.0},
        calls=(f"torch.baddbmm(b, {_BATCH}, z)", f"torch.baddbmm({_BATCH}, {_BATCH}, z, beta=0, alpha=0.5)"),
        given={"z": _FACTORS, "b": "x[:1, None].clone()"},
        node="BaddbmmBackward0",
        saves={1: "batch1", 2: "batch2"},
        saved_for={1: 2, 2: 1},
        backward=functools.partial(_added_backward, _bmm_backward),
        **_PRODUCT,
    ),
    Index(
        "searchsorted",
        ("torch.searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None, out=None)",),
        input="sorted_sequence",
        operands=("input",),
        numbers={"right": 0.0, "side": -1.0},
        choices={"side": ("left", "right")},
        calls=("torch.searchsorted(s, x)", "torch.searchsorted(s[0].contiguous(), x, right=True)"),
        passes=1.0,
        beside=8.0,
        given={"s": "x.flip(1).sort(1).values"},
        dtypes=_SORTABLE,
    ),
    Index(
        "bucketize",
        ("torch.bucketize(input, boundaries, *, out_int32=False, right=False, out=None)",),
        operands=("boundaries",),
        numbers={"right": 0.0},
        calls=("torch.bucketize(x, s)", "torch.bucketize(x, s, right=True)"),
        passes=1.0,
        beside=8.0,
        given={"s": "x[0].sort().values"},
        dtypes=_SORTABLE,
    ),
    Index(
        "isin",
        ("torch.isin(elements, test_elements, *, assume_unique=False, invert=False)",),
        input="elements",
        operands=("test_elements",),
        numbers={"assume_unique": 0.0, "invert": 0.0},
        calls=("torch.isin(x, x[0])", "torch.isin(x, x[:1, :3].contiguous(), invert=True)"),
        passes=1.0,
        beside=1.0,
        dtypes=_SORTABLE,
    ),
    Index(
        "histc",
        ("torch.histc(input, bins=100, min=0, max=0, *, out=None)", "Tensor.histc(self, bins=100, min=0, max=0)"),
        operands=(),
        numbers={"bins": 100.0, "min": 0.0, "max": 0.0},
        integers=("bins",),
        calls=("torch.histc(x)", "x.histc(50, -1, 1)"),
        passes=1.0,
        dtypes=("float32", "float64"),
    ),
)

SELECT_ROWS: tuple[Select, ...] = (
    Select(
        "nonzero",
        ("torch.nonzero(input, *, out=None, as_tuple=False)", "Tensor.nonzero(self, *, as_tuple=False)",
         "torch.argwhere(input)", "Tensor.argwhere(self)"),
        numbers={"as_tuple": 0.0},
        calls=("torch.nonzero(x)", "torch.nonzero(x, as_tuple=True)[0]", "torch.argwhere(x)"),
        passes=1.0,
        beside=8.0,
    ),
    Select(
        "masked_select",
        ("torch.masked_select(input, mask, *, out=None)", "Tensor.masked_select(self, mask)"),
        mask="mask",
        calls=("torch.masked_select(x, m)",),
        passes=1.5,
        beside=1.0,
        given={"m": "(x > 0).contiguous()"},
        node="MaskedSelectBackward0",
        backward=_chosen_backward,
    ),
    Select(
        "unique",
        # torch.unique and Tensor.unique come down to it where they are not asked for a dimension.
        ("torch._unique2(input, sorted=True, return_inverse=False, return_counts=False)",),
        numbers={"sorted": 1.0, "return_inverse": 0.0, "return_counts": 0.0},
        calls=("torch.unique(x)",),
        passes=2.0,
        dtypes=_SORTABLE,
    ),
    Select(
        "unique_consecutive",
        # torch.unique_consecutive and Tensor.unique_consecutive come down to it.
        ("_VF.unique_consecutive(input, return_inverse=False, return_counts=False, dim=None)",),
        numbers={"return_inverse": 0.0, "return_counts": 0.0},
        calls=("torch.unique_consecutive(x)",),
        passes=2.0,
        dtypes=_SORTABLE,
    ),
    Select(
        "bincount",
        ("torch.bincount(input, weights=None, minlength=0)", "Tensor.bincount(self, weights=None, minlength=0)"),
        numbers={"minlength": 0.0},
        integers=("minlength",),
        calls=("torch.bincount(i)",),
        passes=1.0,
        dtypes=INTEGERS,
        given={"i": "x.flatten() % 1000 if x.dtype.itemsize > 1 else x.flatten().abs() % 100"},
    ),
)

SAMPLE_ROWS: tuple[Sample, ...] = (
    Sample(
        "multinomial",
        ("torch.multinomial(input, num_samples, replacement=False, *, generator=None, out=None)",
         "Tensor.multinomial(self, num_samples, replacement=False, *, generator=None)"),
        numbers={"num_samples": 1.0, "replacement": 0.0},
        integers=("num_samples",),
        calls=("torch.multinomial(x, 1)", "torch.multinomial(x, 2, replacement=True)"),
        passes=1.0,
        domain="positive",
        dtypes=("float32", "float64"),
    ),
)

#: Of Adam; AdamW's has no parameter for how weight decays.
_ADAM = (
    "params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, foreach=None, capturable=False, "
    "differentiable=False, fused=None, grad_scale=None, found_inf=None, has_complex=False{}, *, amsgrad, beta1, beta2, "
    "lr, weight_decay, eps, maximize"
)
_ADAM_NUMBERS = {"beta1": 0.9, "beta2": 0.999, "lr": 0.001, "weight_decay": 0.0, "eps": 1e-8, "maximize": 0.0}

STEP_ROWS: tuple[Step, ...] = (
    # From torch 2.7 on, the steps of torch.optim.AdamW as well.
    Step(
        "adam",
        (f"adam.adam({_ADAM.format(', decoupled_weight_decay=False')})",),
        numbers={**_ADAM_NUMBERS, "decoupled_weight_decay": 0.0},
        state=("exp_avgs", "exp_avg_sqs"),
        flags=("maximize", "decoupled_weight_decay"),
    ),
    Step(
        "adamw",
        (f"adamw.adamw({_ADAM.format('')})",),
        kernel="adam",
        numbers=_ADAM_NUMBERS,
        fixed=(1.0,),
        state=("exp_avgs", "exp_avg_sqs"),
        flags=("maximize",),
    ),
    Step(
        "sgd",
        ("sgd.sgd(params, d_p_list, momentum_buffer_list, has_sparse_grad=False, foreach=None, fused=None, "
         "grad_scale=None, found_inf=None, *, weight_decay, momentum, lr, dampening, nesterov, maximize)",),
        numbers={"weight_decay": 0.0, "momentum": 0.0, "lr": 0.001, "dampening": 0.0, "nesterov": 0.0, "maximize": 0.0},
        state=("momentum_buffer_list",),
        flags=("nesterov", "maximize"),
    ),
    Step(
        "rmsprop",
        ("rmsprop.rmsprop(params, grads, square_avgs, grad_avgs, momentum_buffer_list, state_steps, foreach=None, "
         "maximize=False, differentiable=False, capturable=False, has_complex=False, *, lr, alpha, eps, weight_decay, "
         "momentum, centered)",),
        numbers={"lr": 0.01, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0, "centered": 0.0, "maximize": 0.0},
        state=("square_avgs", "grad_avgs", "momentum_buffer_list"),
        flags=("centered", "maximize"),
    ),
    Step(
        "adagrad",
        ("adagrad.adagrad(params, grads, state_sums, state_steps, fused=None, grad_scale=None, found_inf=None, "
         "has_sparse_grad=False, foreach=None, differentiable=False, has_complex=False, *, lr, weight_decay, lr_decay, "
         "eps, maximize)",),
        numbers={"lr": 0.01, "weight_decay": 0.0, "lr_decay": 0.0, "eps": 1e-10, "maximize": 0.0},
        state=("state_sums",),
        flags=("maximize",),
    ),
)


def _clip(name: str, rest: str, inner: str = "") -> tuple[str, ...]:
    """``torch.nn.utils.name(rest)``, and where it is defined, perhaps by the name ``inner``, which others call it by."""
    return f"clip_grad.{inner or name}({rest})", f"utils.{name}({rest})"


CLIP_ROWS: tuple[Clip, ...] = (
    Clip(
        "clip_grad_norm_",
        _clip("clip_grad_norm_", "parameters, max_norm, norm_type=2.0, error_if_nonfinite=False, foreach=None"),
        numbers={"max_norm": 1.0, "norm_type": 2.0, "error_if_nonfinite": 0.0},
        flags=("error_if_nonfinite",),
    ),
    Clip(
        "clip_grad_value_",
        _clip("clip_grad_value_", "parameters, clip_value, foreach=None"),
        numbers={"clip_value": 1.0, "foreach": 1.0},
        flags=("foreach",),
        exactness="bits",
    ),
    # From torch 2.6 on, the halves of clip_grad_norm_.
    Clip(
        "get_total_norm",
        _clip("get_total_norm", "tensors, norm_type=2.0, error_if_nonfinite=False, foreach=None", "_get_total_norm"),
        numbers={"norm_type": 2.0, "error_if_nonfinite": 0.0},
        flags=("error_if_nonfinite",),
    ),
    Clip(
        "clip_grads_with_norm_",
        _clip("clip_grads_with_norm_", "parameters, max_norm, total_norm, foreach=None", "_clip_grads_with_norm_"),
        numbers={"max_norm": 1.0},
        exactness="bits",
    ),
)

CATALOG: dict[str, Op] = {row.name: row for row in ROWS}
NARY: dict[str, Nary] = {row.name: row for row in NARY_ROWS}
SELECTS: dict[str, Select] = {row.name: row for row in SELECT_ROWS}
SAMPLES: dict[str, Sample] = {row.name: row for row in SAMPLE_ROWS}
INDEXED: dict[str, Index] = {row.name: row for row in INDEX_ROWS}
STEPS: dict[str, Step] = {row.name: row for row in STEP_ROWS}
CLIPS: dict[str, Clip] = {row.name: row for row in CLIP_ROWS}
#: What takes tensors and gives one.
TENSOR_OPS: dict[str, Op | Nary | Select | Index] = {**CATALOG, **NARY, **SELECTS, **SAMPLES, **INDEXED}
#: Every row, by the name that users select it with.
EVERY: dict[str, Row] = {**TENSOR_OPS, **STEPS, **CLIPS}
