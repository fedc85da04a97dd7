"""The allocator policy: same bits, nested, bounded and restored."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import output

import rusttorch
from rusttorch import memory


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the native side is told."""
    told: list[Any] = []
    monkeypatch.setattr(memory._rusttorch, "memory_keep", lambda limit: told.append(limit))
    monkeypatch.setattr(memory._rusttorch, "memory_restore", lambda: told.append("restored"))
    return told


def test_nested_policies_keep_the_largest(applied: list[Any]) -> None:
    with memory.policy(1000):
        with memory.policy(3000), memory.policy(2000):
            pass
        with memory.policy():
            pass
    assert applied == [1000, 3000, 3000, 3000, 1000, memory.default_limit(), 1000, "restored"]


def test_policies_end_in_any_order(applied: list[Any]) -> None:
    first, second = memory.policy(1000), memory.policy(2000)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert applied == [1000, 2000, 2000, "restored"]


def test_one_policy_entered_twice(applied: list[Any]) -> None:
    policy = memory.policy(1000)
    with policy, policy:
        pass
    assert applied == [1000, 1000, 1000, "restored"]


def test_exception_inside_restores(applied: list[Any]) -> None:
    with pytest.raises(ZeroDivisionError), memory.policy(1000):
        raise ZeroDivisionError
    assert applied == [1000, "restored"]


def test_who_switches_it_on(applied: list[Any]) -> None:
    with rusttorch.patch("relu"):
        pass
    assert applied == []
    with rusttorch.accelerate("relu"):
        assert applied == [memory.default_limit()]
    assert applied.pop() == "restored"
    applied.clear()
    with rusttorch.accelerate("relu", memory=False), rusttorch.accelerate("relu", memory=0):
        pass
    assert applied == []
    with rusttorch.accelerate("relu", memory=12345), rusttorch.patch("relu", memory=54321):
        assert applied == [12345, 54321]
    assert applied == [12345, 54321, 12345, "restored"]


def test_threads_share_the_policy(applied: list[Any]) -> None:
    def work() -> None:
        for _ in range(50):
            with memory.policy(1000):
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert applied[-1] == "restored" and memory._limits == []


def test_limits_are_numbers_of_bytes() -> None:
    assert memory.policy(True).limit == memory.default_limit() >= 64 << 20
    assert memory.policy(7).limit == 7
    assert isinstance(memory.available(), bool)


def test_results_are_the_same_bits() -> None:
    def run() -> list[torch.Tensor]:
        torch.manual_seed(0)
        x = torch.randn(2000, 2000, requires_grad=True)
        y = F.softmax(x @ x, -1)
        y.square().sum().backward()
        return [y.detach(), x.grad, torch.sort(x.detach(), dim=0).values]

    stock = run()
    with memory.policy():
        inside = run()
    for other in (inside, run()):
        assert all(torch.equal(a, b) for a, b in zip(stock, other, strict=True))


@pytest.mark.skipif(not memory.available(), reason="malloc is not glibc's")
def test_freed_memory_is_kept_up_to_the_bound_and_given_back() -> None:
    code = """
        import resource
        import torch
        from rusttorch import memory

        def faults():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(8):
                torch.zeros(16 << 20).fill_(1)  # 64 MiB
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * 4096 >> 20

        plain = faults()
        with memory.policy(1 << 30):
            faults()
            kept = faults()
            held = memory.kept() >> 20
            inside = resident()
        after = resident()
        print(plain > 2000, kept < plain / 4, held >= 64, inside - after >= 48, faults() > 2000)
    """
    assert output(code).split() == ["True"] * 5


@pytest.mark.skipif(not memory.available(), reason="malloc is not glibc's")
def test_bound_holds_at_the_top_of_the_heap() -> None:
    code = """
        import ctypes
        from rusttorch import memory

        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        libc.free.argtypes = [ctypes.c_void_p]
        memory.trim()
        for bound in (16 << 20, 1 << 30):
            with memory.policy(bound):
                before = memory.kept()
                libc.free(libc.malloc(128 << 20))
                print(memory.kept() - before <= bound, memory.kept() - before >= 100 << 20)
    """
    assert output(code).split() == ["True", "False", "True", "True"]


def test_environment_says_no() -> None:
    code = """
        import torch
        from rusttorch import memory
        print(memory._limits)
    """
    assert output(code, RUSTTORCH_AUTO="1", RUSTTORCH_MEMORY="0") == "[]"
    assert output(code, RUSTTORCH_AUTO="1", RUSTTORCH_MEMORY="5000000") == "[5000000]"
    assert output(code, RUSTTORCH_AUTO="1") == f"[{memory.default_limit()}]"
