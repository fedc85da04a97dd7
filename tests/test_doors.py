"""Every door into torch and every instruction set gives the same results, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from support import ROOT, output

import rusttorch
from rusttorch import _rusttorch
from rusttorch.catalog import CATALOG, CLIPS, FLOATS, INDEXED, NARY, SAMPLES, SELECTS, STEPS

DIGESTS = """
import hashlib, json, sys
sys.path.insert(0, sys.argv[1])
import torch, torch.nn.functional as F
import rusttorch
from support import CALLS, evaluate, sample
from rusttorch.catalog import CATALOG, CLIPS, INDEXED, NARY, SAMPLES, SELECTS, STEPS

def digest(*tensors):
    data = (t.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes() for t in tensors)
    return hashlib.sha1(b"".join(data)).hexdigest()

rusttorch.patch(min_numel=0)
torch.manual_seed(0)
found = {}
for name, text in CALLS:
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.bool):
        if str(dtype).removeprefix("torch.") not in CATALOG[name].dtypes:
            continue
        x = sample(CATALOG[name], 48, 1000, dtype=dtype)
        y = evaluate(text, x)
        leaf = x.clone().requires_grad_(CATALOG[name].trains and dtype.is_floating_point)
        z = evaluate(text, leaf)
        if z.requires_grad:
            z.backward(torch.linspace(-1, 1, z.numel()).view(z.shape).to(dtype))
        assert torch.equal(y, z.detach())
        found[f"{text} {dtype}"] = digest(y, *([leaf.grad] if leaf.requires_grad else []))
for row in NARY.values():
    for text in row.calls:
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            scope = row.scope(sample(row, 48, 1000, dtype=dtype))
            y = eval(text, scope)
            tensors = [scope[name] for name in sorted(row.leaves(text)) if isinstance(scope[name], torch.Tensor)]
            leaves = [tensor.requires_grad_() for tensor in tensors if tensor.is_floating_point()]
            z = eval(text, scope)
            z.backward(torch.linspace(-1, 1, z.numel()).view(z.shape).to(dtype))
            assert torch.equal(y, z.detach())
            found[f"{text} {dtype}"] = digest(y, *(leaf.grad for leaf in leaves if leaf.grad is not None))
for row in (*SELECTS.values(), *SAMPLES.values(), *INDEXED.values()):
    for text in row.calls:
        for dtype in (torch.float32, torch.float64, torch.int64, torch.bool):
            x = torch.randn(48, 1000).relu().to(dtype)
            if str(dtype).removeprefix("torch.") in row.dtypes:
                made = eval(text, row.scope(x))
                found[f"{text} {dtype}"] = digest(*([] if made is None else [made]))
for name, row in STEPS.items():
    (entrance,) = row.parsed()
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        given = {}
        for p in entrance.parameters:
            if p.role in ("params", "grads", "state"):
                given[p.name] = [torch.rand(5, 7).to(dtype).t(), torch.rand(40_000).to(dtype)]
            elif p.role == "steps":
                given[p.name] = [torch.tensor(3.0), torch.tensor(4.0, dtype=torch.float64)]
            elif p.required and p.role != "number":
                given[p.name] = [] if p.name == "max_exp_avg_sqs" else False
        numbers = {p.name: row.numbers[p.name] for p in entrance.parameters if p.role == "number"}
        if "momentum" in numbers:
            numbers["momentum"] = 0.9
        with torch.no_grad():
            assert getattr(entrance.holder(), entrance.attribute)(**given, **numbers) is None
        found[f"{name} {dtype}"] = digest(*(t for tensors in given.values() if tensors for t in tensors))
utils = torch.nn.utils
clips = {
    "clip_grad_norm_": lambda params: utils.clip_grad_norm_(params, 1.0),
    "clip_grad_value_": lambda params: utils.clip_grad_value_(params, 0.5),
    "get_total_norm": lambda params: utils.get_total_norm([param.grad for param in params]),
    "clip_grads_with_norm_": lambda params: utils.clip_grads_with_norm_(params, 1.0, torch.tensor(9.0)),
}
for name in CLIPS:
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        params = [torch.nn.Parameter(torch.zeros(sizes, dtype=dtype)) for sizes in ((5, 7), (40_000,))]
        for param in params:
            param.grad = torch.randn(param.shape).to(dtype)
        total = clips[name](params)
        found[f"{name} {dtype}"] = digest(*(param.grad for param in params), *([] if total is None else [total]))
h = torch.linspace(-3, 3, 999)
v = h[1:]
assert F.relu_(v) is v and h._version == 1
F.elu(h, 0.7, True); h.view(3, 333).t().sigmoid_(); h.tanh_()
found["in place"] = digest(h), h._version
found["views"] = digest(F.gelu(torch.randn(8, 9, 10).permute(2, 0, 1)), F.softmax(torch.randn(8, 90).t(), 0))
import pytest
for bad in (lambda: F.relu(None), lambda: F.softmax(x, 9), lambda: F.relu(3)):
    with pytest.raises((TypeError, IndexError, AttributeError)):
        bad()
with torch.inference_mode():
    assert F.relu(torch.ones(3)).is_inference()
with torch.no_grad():
    assert not F.relu(torch.ones(3, requires_grad=True)).requires_grad
torch.func.vmap(torch.func.grad(lambda v: F.silu(v).sum()))(torch.randn(2, 3))
with torch.autocast("cpu", torch.bfloat16):
    said = rusttorch.explain(F.softmax, torch.ones(3), 0)
    assert (said == "accelerated") is rusttorch.system()["native_state"]
assert torch.jit.trace(torch.relu, torch.ones(3)).code.count("relu")
rows = rusttorch.report().as_dict()["ops"]
found["calls"] = {name: row["calls"] for name, row in rows.items()}
facts = rusttorch.system()
print(json.dumps([facts["door"], facts["isa"], found]))
"""


@pytest.fixture(scope="module")
def usual() -> tuple[int, str, dict[str, Any]]:
    return digests()


def digests(**environment: str) -> tuple[int, str, dict[str, Any]]:
    text = output(DIGESTS, str(ROOT / "tests"), timeout=200, PYTHONWARNINGS="ignore", **environment)
    return tuple(json.loads(text.splitlines()[-1]))


@pytest.mark.parametrize("door", ["2", "3"])
def test_doors_agree(door: str, usual: tuple[int, str, dict[str, Any]]) -> None:
    tier, isa, found = digests(RUSTTORCH_DOOR=door)
    assert tier >= int(door) and isa == usual[1]
    expected = {**usual[2], "calls": dict(usual[2]["calls"])}
    if door == "3":
        # It makes no tensors without elements, such as the places of unique that nobody asks for.
        for calls in (expected["calls"], found["calls"]):
            for name in ("unique", "unique_consecutive"):
                calls.pop(name, None)
    assert {key for key in expected if expected[key] != found[key]} == set()
    moving = (*SELECTS.values(), *SAMPLES.values(), *INDEXED.values())

    def digested(rows: Iterable[Any], dtypes: Sequence[str]) -> int:
        return sum(len(row.calls) * len(set(dtypes).intersection(row.dtypes)) for row in rows)

    calls = digested((*CATALOG.values(), *NARY.values()), (*FLOATS, "bool"))
    calls += digested(moving, ("float32", "float64", "int64", "bool"))
    assert len(found) == calls + 4 * (len(STEPS) + len(CLIPS)) + 3


@pytest.mark.skipif("avx512" not in _rusttorch.available_isas(), reason="this machine has one instruction set")
def test_instruction_sets_agree(usual: tuple[int, str, dict[str, Any]]) -> None:
    assert usual[1] == "avx512"
    _, isa, found = digests(RUSTTORCH_ISA="avx2")
    assert isa == "avx2"
    assert {key for key in usual[2] if usual[2][key] != found[key]} == set()


def test_threads_agree(usual: tuple[int, str, dict[str, Any]]) -> None:
    assert digests(OMP_NUM_THREADS="1")[2] == usual[2]


def test_every_op_was_taken(usual: tuple[int, str, dict[str, Any]]) -> None:
    assert set(usual[2]["calls"]) >= set(rusttorch.ops())
