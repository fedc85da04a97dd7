"""The explicit tensor: what it holds, how it is exchanged, and what it refuses."""

from __future__ import annotations

import copy
import gc
import hashlib
import itertools
import math
import operator
import pickle
import subprocess
import sys
import threading
import weakref

import numpy as np
import psutil
import pytest
import torch

import rusttorch
from rusttorch import Tensor

DTYPES = ["float32", "float64", "bfloat16", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]
NUMPY_DTYPES = [dtype for dtype in DTYPES if dtype != "bfloat16"]


def stock(shape: tuple[int, ...], dtype: str, seed: int = 0) -> torch.Tensor:
    """Small numbers of any dtype."""
    torch.manual_seed(seed)
    return torch.randint(0 if dtype in ("uint8", "bool") else -5, 6, shape).to(getattr(torch, dtype))


def same(ours: Tensor, theirs: torch.Tensor, strides: bool = False) -> None:
    assert isinstance(ours, Tensor)
    assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
    assert ours.shape == tuple(theirs.shape)
    if strides:
        assert ours.strides == theirs.stride()
    assert torch.equal(ours.clone().to_torch(), theirs.contiguous())


def test_torch_is_not_imported() -> None:
    code = (
        "import sys, rusttorch as r\n"
        "x = r.Tensor.arange(2_000_000, dtype='float32').reshape(1000, 2000)\n"
        "y = r.softmax(x @ x.T, dim=-1) + r.relu(x).sum()\n"
        "print(y.shape, repr(r.Tensor.eye(2)), r.log(r.Tensor.ones(2)).tolist())\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "import os\n"
        "child = os.fork()\n"
        "(x @ x.T).sum()\n"
        "if child == 0: os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "(1000, 1000)" in done.stdout
    assert "[0.0, 0.0]" in done.stdout


@pytest.mark.parametrize("dtype", DTYPES)
def test_made(dtype: str) -> None:
    kind = getattr(torch, dtype)
    same(Tensor.zeros([2, 3], dtype=dtype), torch.zeros(2, 3, dtype=kind))
    same(Tensor.ones(2, 3, dtype=dtype), torch.ones(2, 3, dtype=kind))
    same(Tensor.full((2, 3), 1, dtype=dtype), torch.full((2, 3), 1, dtype=kind))
    same(Tensor.eye(3, 2, dtype=dtype), torch.eye(3, 2, dtype=kind))
    assert Tensor.empty(4, 0, dtype=dtype).shape == (4, 0)
    if dtype != "bool":
        same(Tensor.arange(5, dtype=dtype), torch.arange(5, dtype=kind))
    for asked in (dtype, kind, getattr(rusttorch, dtype)):
        assert Tensor.zeros(2, dtype=asked).dtype == getattr(rusttorch, dtype)
    assert repr(Tensor.zeros(1, dtype=dtype).dtype) == f"rusttorch.{dtype}"


def test_numbers_have_their_dtype() -> None:
    assert Tensor.zeros(2).dtype == rusttorch.float32
    for value in (2, 2.5, True):
        same(Tensor.full([2], value), torch.full([2], value))
    same(Tensor.arange(3), torch.arange(3))
    same(Tensor.arange(1, 2, 0.25), torch.arange(1, 2, 0.25))
    same(Tensor.arange(5, -3, -2), torch.arange(5, -3, -2))
    same(Tensor.arange(3, 3), torch.arange(3, 3))
    same(Tensor.arange(2**62, 2**62 + 3), torch.arange(2**62, 2**62 + 3))
    assert Tensor.zeros(2, dtype=np.float64).dtype == Tensor.zeros(2, dtype=np.dtype("float64")).dtype
    assert Tensor.zeros(2, dtype=float).dtype == rusttorch.float64


def test_random_numbers() -> None:
    for make in (Tensor.rand, Tensor.randn):
        first = make(1000, seed=3)
        assert first.tolist() == make([1000], seed=3).tolist() != make(1000, seed=4).tolist()
        rusttorch.manual_seed(3)
        assert first.tolist() == make(1000).tolist() != make(1000).tolist()
    # Evenly spread ones are those of torch's generator.
    torch.manual_seed(7)
    same(Tensor.rand(100, seed=7), torch.rand(100))
    torch.manual_seed(7)
    same(Tensor.rand(100, seed=7, dtype="float64"), torch.rand(100, dtype=torch.float64))
    many = Tensor.randn(100_000, seed=1).numpy()
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02
    with pytest.raises(TypeError, match="rand: dtype must be of floating-point numbers"):
        Tensor.rand(3, dtype="int64")


@pytest.mark.parametrize("dtype", NUMPY_DTYPES)
@pytest.mark.parametrize("form", ["whole", "column", "steps", "turned", "none", "number"])
def test_numpy_memory_is_shared(dtype: str, form: str) -> None:
    whole = np.arange(24).reshape(4, 6).astype(dtype)
    array = {
        "whole": whole, "column": whole[:, 2], "steps": whole[::2, 1::3], "turned": whole.T, "none": whole[:0],
        "number": np.array(1, dtype=dtype),
    }[form]  # fmt: skip
    tensor = Tensor.from_numpy(array)
    assert tensor.data_ptr() == array.ctypes.data or array.size == 0
    assert tensor.tolist() == array.tolist()
    for back in (tensor.numpy(), tensor.to_numpy(), np.asarray(tensor), tensor.__array__()):
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        assert np.array_equal(back, array)
        assert array.size == 0 or np.shares_memory(back, array)
    if array.size and array.ndim:
        array[0] = 1
        assert np.array_equal(tensor.numpy(), array)
        tensor[0] = 0
        assert not array[0].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_memory_is_shared(dtype: str) -> None:
    theirs = stock((4, 6), dtype).t()[1:]
    ours = Tensor.from_torch(theirs)
    same(ours, theirs, strides=True)
    back = ours.to_torch()
    assert (back.data_ptr(), back.stride(), back.dtype) == (theirs.data_ptr(), theirs.stride(), theirs.dtype)
    theirs.fill_(1)
    assert ours.to("int64").tolist() == torch.ones_like(theirs, dtype=torch.int64).tolist()
    for other in (Tensor.from_dlpack(theirs), rusttorch.from_dlpack(torch.utils.dlpack.to_dlpack(theirs))):
        assert other.data_ptr() == theirs.data_ptr()
        assert other.dtype == ours.dtype
    again = torch.from_dlpack(ours)
    assert (again.data_ptr(), again.dtype) == (theirs.data_ptr(), theirs.dtype)


def test_dlpack() -> None:
    ours = Tensor.arange(6).reshape(2, 3)
    assert ours.__dlpack_device__() == (1, 0)
    assert np.from_dlpack(ours).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert Tensor.from_dlpack(np.arange(3)).tolist() == [0, 1, 2]
    copied = torch.utils.dlpack.from_dlpack(ours.__dlpack__(copy=True))
    assert copied.data_ptr() != ours.data_ptr()
    capsule = ours.__dlpack__()
    Tensor.from_dlpack(capsule)
    with pytest.raises(ValueError, match="taken before"):
        Tensor.from_dlpack(capsule)
    with pytest.raises(TypeError, match="__dlpack__, not list"):
        Tensor.from_dlpack([1])
    with pytest.raises(BufferError, match="stream"):
        ours.__dlpack__(stream=1)
    with pytest.raises(BufferError, match="dl_device"):
        ours.__dlpack__(dl_device=(2, 0))


def test_buffers() -> None:
    for dtype in NUMPY_DTYPES:
        ours = Tensor.arange(6, dtype="float32").reshape(2, 3).to(dtype)
        view = memoryview(ours)
        assert (view.shape, view.itemsize, view.readonly) == ((2, 3), ours.dtype.itemsize, False)
        assert np.asarray(view).dtype == np.dtype(dtype)
        assert np.asarray(view).tolist() == ours.tolist()
        assert bytes(ours) == ours.numpy().tobytes()
        assert memoryview(ours.T).strides == (ours.dtype.itemsize, 3 * ours.dtype.itemsize)
        assert np.asarray(memoryview(ours.T)).tolist() == ours.T.tolist()
        view = memoryview(Tensor.full([1000], 1, dtype=dtype))
        gc.collect()
        assert sum(np.asarray(view).astype(int)) == 1000
    array = np.ones(3)
    array.flags.writeable = False
    assert memoryview(Tensor.from_numpy(array)).readonly
    with pytest.raises(BufferError, match="bfloat16"):
        memoryview(Tensor.ones(2, dtype="bfloat16"))
    with pytest.raises(BufferError, match="not contiguous"):
        hashlib.md5(Tensor.arange(6).reshape(2, 3).T)


def test_lifetimes() -> None:
    array = np.ones(1000)
    alive = weakref.ref(array)
    tensor = Tensor.from_numpy(array)[10:20]
    del array
    gc.collect()
    assert alive() is not None
    assert tensor.tolist() == [1.0] * 10
    del tensor
    gc.collect()
    assert alive() is None
    for export in (Tensor.numpy, Tensor.to_torch, torch.from_dlpack, Tensor.__dlpack__, np.from_dlpack):
        tensor = Tensor.full([1000], 3.0)
        held = export(tensor)
        del tensor
        gc.collect()
        Tensor.zeros(1000)
        if type(held).__name__ != "PyCapsule":
            assert float(held.sum()) == 3000
    theirs = torch.full((1000,), 3.0)
    alive = weakref.ref(theirs)
    chain = Tensor.from_torch(Tensor.from_torch(theirs).to_torch())
    del theirs
    gc.collect()
    assert alive() is not None
    assert chain.tolist() == [3.0] * 1000
    del chain
    gc.collect()
    assert alive() is None


def test_nothing_leaks() -> None:
    process = psutil.Process()
    array, theirs = np.ones(100_000), torch.ones(100_000)
    bad = np.ones(10, dtype=">f8")
    leaf, sparse = torch.ones(100_000, requires_grad=True), torch.ones(100_000).to_sparse()
    frozen = np.ones(100_000)
    frozen.flags.writeable = False
    state = [np.ones(100_000) for _ in range(4)]
    step = rusttorch.optim.adamw_

    def everything() -> None:
        tensor = Tensor.from_numpy(array)
        tensor.numpy(), tensor.to_torch(), tensor.__dlpack__(), Tensor.from_torch(theirs), Tensor.from_dlpack(theirs)
        (rusttorch.relu(tensor) + 1)[5:].clone()
        rusttorch.relu(array)
        for wrong in (lambda: Tensor.from_numpy(bad), lambda: tensor[200_000], lambda: tensor + Tensor.ones(3),
                      lambda: rusttorch.softmax(tensor, dim=7), lambda: Tensor.zeros(2**62, 8),
                      lambda: Tensor.from_torch(leaf), lambda: Tensor.from_torch(sparse),
                      lambda: Tensor.from_numpy(frozen).add_(1), lambda: Tensor.from_numpy(frozen).to_torch(),
                      lambda: step(*state[:3], np.ones(99_999), step=1)):  # fmt: skip
            with pytest.raises((TypeError, ValueError, IndexError, OverflowError, BufferError)):
                wrong()
        step(*state, step=1)

    for _ in range(50):
        everything()
    gc.collect()
    before = process.memory_info().rss
    for _ in range(300):
        everything()
    gc.collect()
    assert process.memory_info().rss - before < 20_000_000  # an array of 800,000 bytes each would be 240 MB and more


def test_read_only_memory() -> None:
    array = np.ones(3)
    array.flags.writeable = False
    tensor = Tensor.from_numpy(array)
    assert not tensor.writeable
    assert not tensor.numpy().flags.writeable
    for change in (lambda: tensor.fill_(2), lambda: tensor.__setitem__(0, 2), lambda: tensor.add_(1),
                   lambda: operator.iadd(tensor, 1), lambda: tensor.zero_(), lambda: tensor.copy_(tensor)):  # fmt: skip
        with pytest.raises(ValueError, match="read-only"):
            change()
    with pytest.raises(BufferError, match="read-only"):
        tensor.to_torch()
    assert not np.from_dlpack(tensor).flags.writeable
    assert tensor.clone().writeable
    assert array.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.ones(3, dtype=">f4"), TypeError, "order.*newbyteorder"),
        (np.array([object()]), TypeError, "object"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), TypeError, "datetime64"),
        (np.ones(3, dtype=complex), TypeError, "complex128"),
        (np.ones(3, dtype="uint16"), TypeError, "uint16"),
        (np.array(["a"]), TypeError, "are not taken"),
        (np.ones(3)[::-1], ValueError, "negative strides.*copy"),
        (np.ones(4, dtype=[("a", "i1"), ("b", "<f4")])["b"], ValueError, "copy"),
        (np.frombuffer(b"x" * 9, dtype="i1")[1:].view("<f4"), ValueError, "copy"),
        ([1.0], TypeError, "numpy.ndarray, not list"),
    ],
    ids=str,
)
def test_arrays_that_are_refused(array: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Tensor.from_numpy(array)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: torch.ones(2, requires_grad=True), BufferError, "detach"),
        (lambda: torch.ones(2, 2).to_sparse(), TypeError, "to_dense"),
        (lambda: torch.ones(2, device="meta"), TypeError, "on meta.*cpu"),
        (lambda: torch.ones(2, dtype=torch.complex64), TypeError, "complex64"),
        (lambda: torch.imag(torch.ones(2, dtype=torch.complex64).conj()), TypeError, "resolve_neg"),
        (lambda: [1.0], TypeError, "torch.Tensor, not list"),
    ],
)
def test_torch_tensors_that_are_refused(make: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Tensor.from_torch(make())


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: Tensor.zeros(-1), ValueError, "0 or more, not -1"),
        (lambda: Tensor.zeros(2**40, 2**40), OverflowError, "more elements than memory"),
        (lambda: Tensor.zeros(2**61), OverflowError, "more elements than memory"),
        (lambda: Tensor.zeros(2**70), OverflowError, "64 bits"),
        (lambda: Tensor.zeros(2**44), MemoryError, "no memory"),
        (lambda: Tensor.zeros([1] * 13), ValueError, "at most 12 dimensions"),
        (lambda: Tensor.zeros(1.5), TypeError, "integers"),
        (lambda: Tensor.zeros("ab"), TypeError, "integers"),
        (lambda: Tensor.zeros(2, dtype="float31"), TypeError, "must be one of float32"),
        (lambda: Tensor.zeros(2, dtype=torch.complex64), TypeError, "must be one of"),
        (lambda: Tensor.full([2], "x"), TypeError, "fill_value must be a number"),
        (lambda: Tensor.full([2], 2**70), OverflowError, "64 bits"),
        (lambda: Tensor.arange(0, 5, 0), ValueError, "step not 0"),
        (lambda: Tensor.arange(0, 5, -1), ValueError, "leads away"),
        (lambda: Tensor.arange(0, math.inf), ValueError, "finite"),
        (lambda: Tensor.arange(0, 1e300), OverflowError, "more elements"),
        (lambda: Tensor.eye(-1), ValueError, "0 or more"),
        (lambda: Tensor.ones(2).item(), ValueError, "one element"),
        (lambda: bool(Tensor.ones(2)), ValueError, "one element"),
        (lambda: len(Tensor.full([], 1)), TypeError, "len"),
        (lambda: iter(Tensor.full([], 1)), TypeError, "iteration"),
        (lambda: Tensor.ones(2, 3)[2], IndexError, "index 2 is out of range for dimension 0 of size 2"),
        (lambda: Tensor.ones(2, 3)[0, -4], IndexError, "index -4 is out of range for dimension 1 of size 3"),
        (lambda: Tensor.ones(2, 3)[0, 0, 0], IndexError, "too many indices"),
        (lambda: Tensor.ones(2, 3)[..., ...], IndexError, "ellipsis"),
        (lambda: Tensor.ones(2, 3)[::-1], ValueError, "step must be positive"),
        (lambda: Tensor.ones(2, 3)["a"], TypeError, "an index is"),
        (lambda: Tensor.ones(2, 3)[1.0], TypeError, "an index is"),
        (lambda: Tensor.ones(2, 3)[Tensor.full([1], 2)], IndexError, "out of range"),
        (lambda: Tensor.ones(2, 3)[Tensor.ones(3, dtype="bool")], IndexError, "a mask of shape"),
        (lambda: Tensor.ones(2, 3)[Tensor.ones(2)], IndexError, "float32 is no index"),
        (lambda: Tensor.ones(2, 3).__setitem__(0, Tensor.ones(2)), ValueError, "cannot be broadcast"),
        (lambda: Tensor.ones(2, 3).__delitem__(0), TypeError, "deleted"),
        (lambda: Tensor.ones(2, 3).reshape(4), ValueError, "not one of 6 elements"),
        (lambda: Tensor.ones(2, 3).reshape(-1, -1), ValueError, "only one size can be -1"),
        (lambda: Tensor.ones(2, 3).reshape(-1, 4), ValueError, "not one of 6 elements"),
        (lambda: Tensor.ones(2, 3).reshape(2**40, 2**40), OverflowError, "more elements"),
        (lambda: Tensor.ones(2, 3).T.view(6), ValueError, "reshape makes a copy"),
        (lambda: Tensor.ones(2, 3).transpose(0, 2), IndexError, "dim 2 is out of range"),
        (lambda: Tensor.ones(2, 3).permute(0, 0), ValueError, "given twice"),
        (lambda: Tensor.ones(2, 3).permute(0), ValueError, "as many dims"),
        (lambda: Tensor.ones(2, 3).squeeze(5), IndexError, "out of range"),
        (lambda: Tensor.ones(2, 3).unsqueeze(4), IndexError, "out of range"),
        (lambda: Tensor.ones(1, 2, 3).t(), ValueError, "transpose"),
        (lambda: Tensor.ones(2, 3) + Tensor.ones(2), ValueError, r"\[2, 3\] and \[2\] cannot be broadcast"),
        (lambda: Tensor.ones(2, 3) + "a", TypeError, "unsupported operand"),
        (lambda: Tensor.ones(2, 3) + 2**70, OverflowError, "64 bits"),
        (lambda: Tensor.ones(2, 3) @ Tensor.ones(2, 3), ValueError, "do not fit"),
        (lambda: Tensor.arange(3) // Tensor.arange(3), ZeroDivisionError, "divided by 0"),
        (lambda: Tensor.arange(3) % 0, ZeroDivisionError, "divided by 0"),
        (lambda: Tensor.ones(2, dtype="bool") % True, TypeError, "with a rest"),
        (lambda: Tensor.ones(2) & Tensor.ones(2, dtype="bool"), TypeError, "for tensors of bool"),
        (lambda: ~Tensor.arange(2), TypeError, "for tensors of bool"),
        (lambda: abs(Tensor.ones(2, dtype="bool")), TypeError, "no magnitude"),
        (lambda: Tensor.ones(2, dtype="bool") - Tensor.ones(2, dtype="bool"), TypeError, "no difference"),
        (lambda: -Tensor.ones(2, dtype="bool"), TypeError, "no negative"),
        (lambda: operator.isub(Tensor.ones(2), Tensor.ones(2, dtype="bool")), TypeError, "no difference"),
        (lambda: operator.iadd(Tensor.arange(3), 1.5), TypeError, "has no room"),
        (lambda: operator.iadd(Tensor.ones(3), Tensor.ones(2, 3)), ValueError, "has no room"),
        (lambda: operator.iadd(Tensor.ones(3), "a"), TypeError, "tensor or a number"),
        (lambda: np.asarray(Tensor.ones(2, dtype="bfloat16")), TypeError, "bfloat16"),
        (lambda: Tensor.ones(2, dtype="bfloat16").numpy(), TypeError, "bfloat16"),
        (lambda: operator.index(Tensor.ones(1)), TypeError, "one integer"),
        (lambda: Tensor.ones(2).nothing, AttributeError, "nothing"),
        (lambda: Tensor(), TypeError, "cannot create"),
    ],
)
def test_what_is_refused(wrong: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()


INDICES = [
    0, -1, (1, 2), (slice(None), 1), slice(1, None), slice(None, None, 2), (slice(3, 1), slice(0, 100)), ..., (..., 0),
    (0, ..., slice(1, 2)), None, (None, 0, None), (slice(1, 3), None, slice(None, None, 3)), (), (..., None),
    (slice(-2, None), slice(-3, -1)),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("turned", [False, True])
def test_views(index: object, turned: bool) -> None:
    theirs = torch.arange(4 * 5 * 6.0).view(4, 5, 6)
    if turned:
        theirs = theirs.permute(2, 0, 1)
    ours = Tensor.from_torch(theirs)
    same(ours[index], theirs[index])
    assert ours[index].data_ptr() == theirs[index].data_ptr() or theirs[index].numel() == 0
    expected = theirs.clone()
    expected[index] = -1
    ours[index] = -1
    assert torch.equal(theirs, expected)
    source = torch.rand(theirs[index].shape)
    expected[index] = source
    ours[index] = Tensor.from_torch(source)
    assert torch.equal(theirs, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_chosen_elements(dtype: str) -> None:
    theirs = stock((5, 4), dtype)
    ours = Tensor.from_torch(theirs)
    mask, rows, some = theirs != 0, torch.tensor([4, -1, 0, 2]), torch.tensor([True, False, True, True, False])
    same(ours[Tensor.from_torch(mask)], theirs[mask])
    same(ours[Tensor.from_torch(some)], theirs[some])
    same(ours[Tensor.from_torch(rows)], theirs[rows])
    same(ours[rows.view(2, 2).numpy()], theirs[rows.view(2, 2)])
    same(ours.T[Tensor.from_torch(mask.t())], theirs.t()[mask.t()])
    expected = theirs.clone()
    expected[mask] = 1
    ours[Tensor.from_torch(mask)] = 1
    assert torch.equal(theirs, expected)


def test_overlapping_assignment() -> None:
    ours, theirs = Tensor.arange(10), torch.arange(10)
    ours[1:] = ours[:-1]
    theirs[1:] = theirs[:-1].clone()
    same(ours, theirs)
    ours = Tensor.arange(9).reshape(3, 3)
    ours[:] = ours.T
    same(ours, torch.arange(9).view(3, 3).t())
    ours += ours.T
    same(ours, torch.arange(9).view(3, 3) + torch.arange(9).view(3, 3).t())


SHAPES = [((3, 4), (4,)), ((3, 4), ()), ((3, 1), (1, 5)), ((), ()), ((2, 0), (1,)), ((2, 3, 4), (3, 1)), ((70,), (70,))]
OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv]
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


def equal(ours: Tensor, theirs: torch.Tensor) -> None:
    assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
    assert torch.equal(torch.nan_to_num(ours.to_torch()), torch.nan_to_num(theirs.contiguous()))


@pytest.mark.parametrize(("left", "right"), itertools.product(DTYPES, DTYPES))
def test_arithmetic(left: str, right: str) -> None:
    for number, (a, b) in enumerate(SHAPES):
        x, y = stock(a, left, number), stock(b, right, number + 10)
        ours, others = Tensor.from_torch(x), Tensor.from_torch(y)
        for of in (*OPERATORS, *COMPARISONS):
            if of is operator.sub and "bool" in (left, right):
                with pytest.raises(TypeError, match="no difference"):
                    of(ours, others)
                continue
            equal(of(ours, others), of(x, y))
            equal(of(others, ours), of(y, x))


@pytest.mark.parametrize(("left", "right"), itertools.product(DTYPES, DTYPES))
def test_division_with_a_rest(left: str, right: str) -> None:
    if left == right == "bool":
        return
    for number, (a, b) in enumerate(SHAPES):
        x, y = stock(a, left, number), stock(b, right, number + 10)
        y[y == 0] = 1
        ours, others = Tensor.from_torch(x), Tensor.from_torch(y)
        for of in (operator.floordiv, operator.mod):
            equal(of(ours, others), of(x, y))
    x = torch.tensor([5.5, -5.5, 0.0, -0.0, math.inf, math.nan, 1e30, -1e-30], dtype=torch.float64)
    for by in (2.0, -2.0, 0.3, math.inf, 0.0):
        for of in (operator.floordiv, operator.mod):
            found, expected = of(Tensor.from_torch(x), by).to_torch(), of(x, by)
            torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
            assert torch.equal(found.signbit() & ~found.isnan(), expected.signbit() & ~expected.isnan())
    ours = Tensor.arange(5)
    ours //= 2
    ours %= 2
    assert ours.tolist() == [0, 0, 1, 1, 0] and (7 // Tensor.arange(1, 3)).tolist() == [7, 3]


def test_logic_and_magnitudes() -> None:
    x = torch.tensor([3, -4, 0, -1])
    ours, positive, odd = Tensor.from_torch(x), Tensor.from_torch(x) > 0, Tensor.from_torch(x) % 2 == 1
    masks = x > 0, x % 2 == 1
    for of in (operator.and_, operator.or_, operator.xor):
        same(of(positive, odd), of(*masks))
        same(of(positive, True), of(masks[0], True))
    same(~positive, ~masks[0])
    same(abs(ours), abs(x))
    bytes_ = Tensor.from_torch(torch.tensor([3, 200, 0], dtype=torch.uint8))
    found = abs(bytes_)
    found.zero_()
    assert bytes_.tolist() == [3, 200, 0]
    numbers = torch.tensor([-0.0, 0.0, -math.inf, 1.5, -1e-40])
    assert [math.copysign(1, value) for value in abs(Tensor.from_torch(numbers)).tolist()] == [1] * 5
    same(abs(Tensor.from_torch(numbers)), numbers.abs())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", [2, -3, 0.1, True, 1.0e30])
def test_numbers(dtype: str, number: float) -> None:
    for shape in ((), (3, 4)):
        theirs = stock(shape, dtype)
        if dtype == "bool" and number is True:
            continue
        if dtype == "uint8" and number == -3:
            continue
        ours = Tensor.from_torch(theirs)
        if number == 1.0e30 and dtype == "float16":
            continue
        for of in (*OPERATORS, *COMPARISONS):
            if of is operator.sub and (dtype == "bool" or number is True):
                continue
            equal(of(ours, number), of(theirs, number))
            if of is not operator.truediv:
                equal(of(number, ours), of(number, theirs))


@pytest.mark.parametrize("dtype", DTYPES)
def test_in_place(dtype: str) -> None:
    for of in (operator.iadd, operator.isub, operator.imul, operator.itruediv):
        theirs = stock((4, 3), dtype).t()
        ours = Tensor.from_torch(theirs.clone())
        whole = ours
        other = stock((3, 1), dtype, 1)
        other[other == 0] = 1
        if dtype == "bool" and of is not operator.imul:
            continue
        if of is operator.itruediv and not theirs.is_floating_point():
            with pytest.raises(TypeError, match="has no room"):
                of(ours, Tensor.from_torch(other))
            continue
        ours = of(ours, Tensor.from_torch(other))
        assert ours is whole
        equal(ours, of(theirs, other))
    ours = Tensor.ones(3)
    assert ours.add_(2, alpha=3).mul_(2).sub_(1).div_(2) is ours
    assert ours.tolist() == [6.5] * 3
    assert ours.fill_(2).tolist() == [2] * 3
    assert ours.copy_(Tensor.arange(3)).tolist() == [0, 1, 2]
    assert ours.zero_().tolist() == [0] * 3


def test_arrays_and_tensors_mix() -> None:
    ours = Tensor.ones(2)
    same(ours + np.array([1.0, 2.0], dtype="float32"), torch.tensor([2.0, 3.0]))
    same(ours * np.float64(2), torch.tensor([2.0, 2.0]))
    same(-Tensor.arange(3), -torch.arange(3))
    assert (+ours) is ours
    same(Tensor.arange(1, 4, dtype="float32") ** 2, torch.tensor([1.0, 4.0, 9.0]))
    assert float(Tensor.full([], 2.5)) == 2.5
    assert int(Tensor.full([1], 2.5)) == 2
    assert [1, 2, 3][Tensor.full([], 1)] == 2
    assert hash(ours) == hash(ours)
    assert {ours: 1}[ours] == 1


@pytest.mark.parametrize("start", [(4, 6), (2, 3, 4), (1, 4, 1, 6), (24,), (0, 3), ()])
@pytest.mark.parametrize("turned", [False, True])
def test_shapes(start: tuple[int, ...], turned: bool) -> None:
    theirs = torch.arange(math.prod(start)).view(start)
    if turned:
        theirs = theirs.permute(tuple(reversed(range(theirs.dim()))))
    ours = Tensor.from_torch(theirs)
    for shape in ((-1,), (4, -1), (2, 3, 4), (1, 24, 1), (6, 4), (3, 2, 4), (0,), (0, 5), ()):
        try:
            expected = theirs.reshape(shape)
        except RuntimeError:
            with pytest.raises(ValueError, match=r"shape"):
                ours.reshape(shape)
            continue
        same(ours.reshape(shape), expected)
        same(ours.reshape(*shape) if shape else ours.reshape(()), expected)
        try:
            expected = theirs.view(shape)
        except RuntimeError:
            with pytest.raises(ValueError, match="reshape makes a copy"):
                ours.view(shape)
        else:
            same(ours.view(shape), expected)
            assert ours.view(shape).data_ptr() == expected.data_ptr() or not theirs.numel()
    for dim in range(-theirs.dim() - 1, theirs.dim() + 1):
        same(ours.unsqueeze(dim), theirs.unsqueeze(dim), strides=True)
    for dim in range(-theirs.dim(), theirs.dim()):
        same(ours.squeeze(dim), theirs.squeeze(dim), strides=True)
        same(ours.transpose(0, dim), theirs.transpose(0, dim), strides=True)
    same(ours.squeeze(), theirs.squeeze(), strides=True)
    same(ours.T, theirs.permute(tuple(reversed(range(theirs.dim())))), strides=True)
    same(ours.contiguous(), theirs.contiguous())
    same(ours.flatten(), theirs.flatten())
    assert ours.is_contiguous() == theirs.is_contiguous()
    assert (ours.ndim, ours.numel(), ours.dim()) == (theirs.dim(), theirs.numel(), theirs.dim())
    assert ours.size() == tuple(theirs.size())
    assert ours.stride() == theirs.stride()
    assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize(("source", "target"), itertools.product(DTYPES, DTYPES))
def test_conversions(source: str, target: str) -> None:
    theirs = stock((4, 6), source).t()
    if source.startswith(("float", "bfloat")):
        theirs = theirs / 2
    if target == "uint8" and source != "bool":
        theirs = theirs.abs()
    ours = Tensor.from_torch(theirs)
    same(ours.to(target), theirs.to(getattr(torch, target)))
    same(ours.astype(target), theirs.to(getattr(torch, target)))
    assert (ours.to(target) is ours) == (source == target)


@pytest.mark.parametrize("dtype", DTYPES)
def test_copies(dtype: str) -> None:
    theirs = stock((4, 6), dtype).t()
    ours = Tensor.from_torch(theirs)
    for other in (pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours), ours.clone()):
        same(other, theirs)
        assert other.data_ptr() != ours.data_ptr()
    assert copy.copy(ours).data_ptr() == ours.data_ptr()
    assert pickle.loads(pickle.dumps(ours.dtype)) == ours.dtype
    rows = list(ours)
    assert len(rows) == len(ours) == 6
    same(rows[1], theirs[1])


def written(theirs: torch.Tensor) -> str:
    return repr(theirs).replace("torch.", "rusttorch.").replace("size=(", "size=(")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(), (3,), (2, 3), (2, 2, 2), (1, 1), (50,), (2000,), (40, 40), (0,), (2, 0), (12, 30)]
)
def test_written_as_torch(dtype: str, shape: tuple[int, ...]) -> None:
    for scale in (1, 1 / 3, 1e-7, 1e6):
        theirs = stock(shape, dtype)
        if theirs.is_floating_point():
            theirs = theirs * scale
        assert repr(Tensor.from_torch(theirs)) == written(theirs)


def test_odd_numbers_are_written_as_torch() -> None:
    odd = [math.nan, 1.0], [math.inf, -math.inf, 2.5], [math.nan], [1e-9, 1e9], [0.0, -0.0], [1e20, 1.0], [-0.5]
    for values in odd:
        for theirs in (torch.tensor(values), torch.tensor(values, dtype=torch.float64)):
            assert repr(Tensor.from_torch(theirs)) == written(theirs)


def test_threads_of_python() -> None:
    ours = Tensor.rand(400, 500, seed=1)
    expected = rusttorch.softmax(ours, dim=1).tolist()
    wrong = []

    def work() -> None:
        for _ in range(20):
            if rusttorch.softmax(ours, dim=1)[3].tolist() != expected[3]:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_powers() -> None:
    """Of tensors, numbers and integers, as torch has them."""
    x = torch.tensor([0.5, 2.0, -1.5, 0.0, 3.0])
    y = torch.tensor([[2.0, -1.0, 3.0, 0.0, 0.5], [0.0, 1.0, -2.0, -1.0, math.nan]])
    for dtype in ("float32", "float64", "bfloat16"):
        a, b = x.to(getattr(torch, dtype)), y.to(getattr(torch, dtype))
        ours = (Tensor.from_torch(a) ** Tensor.from_torch(b)).to_torch()
        torch.testing.assert_close(ours, a**b, equal_nan=True)
        torch.testing.assert_close((2.5 ** Tensor.from_torch(b)).to_torch(), 2.5**b, equal_nan=True)
    whole = torch.tensor([0, 1, -1, 2, -3, 7])
    for exponents in (torch.tensor([0, 1, 2, 3, 5, 60]), torch.tensor([-1, -2, -3, 0, -1, 1])):
        assert (Tensor.from_torch(whole) ** Tensor.from_torch(exponents)).tolist() == (whole**exponents).tolist()
    assert (Tensor.arange(4) ** 3).tolist() == [0, 1, 8, 27]
    assert (2 ** Tensor.arange(4)).tolist() == [1, 2, 4, 8]
    changed = Tensor.arange(4)
    changed **= 2
    assert changed.tolist() == [0, 1, 4, 9]
    with pytest.raises(ValueError, match="negative power"):
        Tensor.arange(4) ** -1
    with pytest.raises(TypeError, match="bool has no powers"):
        Tensor.ones(2, dtype="bool") ** Tensor.ones(2, dtype="bool")


def test_expand() -> None:
    x = Tensor.arange(3, dtype="float32")
    same(x.expand(2, 3), torch.arange(3.0).expand(2, 3), strides=True)
    same(x.unsqueeze(1).expand([4, -1, 5]), torch.arange(3.0).unsqueeze(1).expand(4, -1, 5), strides=True)
    assert x.expand(2, 3)[1, 2].item() == 2
    for shape in ((2,), (3, 2), (2, -2), ()):
        with pytest.raises(ValueError):
            x.expand(*shape)
    for change in (lambda y: y.fill_(1), lambda y: y.add_(1), lambda y: y.__setitem__(0, 1)):
        with pytest.raises(ValueError, match="share memory"):
            change(x.expand(2, 3))
    assert x.tolist() == [0, 1, 2]


def test_lists_and_integers_as_indices() -> None:
    theirs = torch.arange(12).view(4, 3)
    ours = Tensor.from_torch(theirs.clone())
    for index in ([0, 2], [-1], [[0, 1], [3, 3]], [], [True, False, False, True]):
        same(ours[index], theirs[torch.tensor(index) if index else torch.empty(0, dtype=torch.int64)])
    for index, value in (([1, -1], 7), ([0, 0, 2], Tensor.arange(3)), (np.array([3]), Tensor.arange(9)[6:])):
        ours[index] = value
        theirs[index] = torch.as_tensor(value.to_torch() if isinstance(value, Tensor) else value)
        assert ours.tolist() == theirs.tolist()
    ours[[0, 1]] = ours[1:3]  # what is assigned is read first
    theirs[[0, 1]] = theirs[1:3].clone()
    assert ours.tolist() == theirs.tolist()
    for wrong in ([4], [-5], ["a"]):
        with pytest.raises((IndexError, TypeError)):
            ours[wrong]
        with pytest.raises((IndexError, TypeError)):
            ours[wrong] = 0
    assert ours.tolist() == theirs.tolist()


def test_copies_of_many_elements() -> None:
    """On several threads, whatever the strides."""
    base = torch.arange(1_200_000, dtype=torch.float32).view(100, 120, 100)
    for view in (base, base[:, ::2], base.permute(2, 0, 1), base[:, :1].expand(100, 7, 100), base[..., 3]):
        copied = Tensor.from_torch(view).clone()
        same(copied, view)
        filled = Tensor.zeros(list(view.shape))
        filled[...] = Tensor.from_torch(view)
        same(filled, view)
    target, expected = Tensor.zeros([300, 4000]), torch.zeros(300, 4000)
    target[:, 1::2], expected[:, 1::2] = 3, 3
    same(target, expected)
    target.fill_(2.5)
    same(target, torch.full((300, 4000), 2.5))
