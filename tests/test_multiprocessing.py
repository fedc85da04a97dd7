"""Worker processes, forked and spawned, and distributed training."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

import pytest
from support import output, python

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")

#: A child of a process whose OpenMP threads have worked: stock torch's own kernels hang there until told to use one.
FORK = """
import os, signal, sys, threading
import numpy as np
import torch, torch.nn.functional as F
import rusttorch

x = torch.randn(1024, 1024)
leaf = torch.randn(512, 512, requires_grad=True)
weights = torch.randn(512, 512)

def ours():
    return [F.gelu(x), F.softmax(x, -1), F.softmax(x, 0), x.exp(), F.relu_(x.exp())]

def all_of_torch():
    leaf.grad = None
    F.log_softmax(F.silu(leaf @ weights), -1).backward(weights)
    return [*ours(), leaf.grad]

def same(a, b):
    return all(np.array_equal(p.numpy(), q.numpy()) for p, q in zip(a, b))

def agrees_in_child(work, expected, threads=None, depth=1, before=lambda: None):
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(60)  # a child that hangs dies
            before()
            if threads:
                torch.set_num_threads(threads)
            fine = same(work(), expected) and same(work(), expected)
            os._exit(0 if fine and (not depth or agrees_in_child(work, expected, threads, depth - 1)) else 1)
        except BaseException:
            import traceback; traceback.print_exc()
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0
"""


def run(program: str, head: str = FORK, **environment: str) -> str:
    return output(head + textwrap.dedent(program), timeout=200, **environment)


def test_forked_child_does_not_hang() -> None:
    program = """
    rusttorch.patch(min_numel=0)
    expected = all_of_torch()
    print(agrees_in_child(ours, expected))
    print(agrees_in_child(all_of_torch, expected, threads=1))
    print(same(all_of_torch(), expected))  # the parent goes on
    print(rusttorch.report().as_dict()["ops"]["gelu"]["calls"] >= 2)
    """
    assert run(program).split() == ["True"] * 4


def test_fork_while_another_thread_is_in_a_kernel() -> None:
    program = """
    rusttorch.patch(min_numel=0)
    expected, stop = ours(), threading.Event()

    def busy():
        while not stop.is_set():
            F.gelu(x)

    thread = threading.Thread(target=busy)
    thread.start()
    print(*[agrees_in_child(ours, expected, depth=0) for _ in range(3)])
    stop.set()
    thread.join()
    print(same(ours(), expected))
    """
    assert run(program).split() == ["True"] * 4


def test_patch_first_in_the_forked_child() -> None:
    program = """
    with rusttorch.patch(min_numel=0):
        expected = all_of_torch()
    print(agrees_in_child(all_of_torch, expected, threads=1, before=lambda: rusttorch.patch(min_numel=0)))
    """
    assert run(program) == "True"


def test_first_import_in_the_forked_child() -> None:
    program = """
    import os, signal
    import torch
    x = torch.ones(8)
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        import rusttorch
        rusttorch.patch(min_numel=0)
        torch.relu(x)
        os._exit(0 if rusttorch.report().as_dict()["ops"]["relu"]["calls"] == 1 else 1)
    print(os.waitpid(pid, 0)[1])
    """
    assert run(program, head="") == "0"


LOADER = """
    import sys
    import torch, torch.nn.functional as F
    from torch.utils.data import DataLoader, Dataset
    import torch.multiprocessing as mp

    class Images(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            x = torch.full((512, 512), float(index) - 1)
            return F.softmax(F.relu(x), -1), torch.tensor(type(torch.relu).__name__ == "Function")

    def activate(x, queue):
        queue.put((F.gelu(x), type(torch.relu).__name__))
        queue.get()

    if __name__ == "__main__":
        expected = [Images()[i][0] for i in range(4)]
        for method in ("fork", "spawn"):
            loader = DataLoader(Images(), batch_size=2, num_workers=2, multiprocessing_context=method, timeout=90)
            for _ in range(2 if method == "fork" else 1):
                batches = list(loader)
                assert torch.equal(torch.cat([b[0] for b in batches]), torch.stack(expected))
                print(method, all(bool(b[1].all()) for b in batches))
            context = mp.get_context(method)
            inputs, queue = torch.randn(512, 512).share_memory_(), context.Queue()
            process = context.Process(target=activate, args=(inputs, queue))
            process.start()
            result, kind = queue.get(timeout=90)
            torch.testing.assert_close(result, F.gelu(inputs))
            F.relu_(inputs)  # shared memory, in place
            queue.put(None)
            process.join(90)
            print(method, kind, process.exitcode)
"""


def test_loader_workers_and_shared_tensors(tmp_path: Path) -> None:
    path = tmp_path / "load.py"
    path.write_text(textwrap.dedent(LOADER))
    done = python(str(path), timeout=280, RUSTTORCH_AUTO="1", RUSTTORCH_MIN_NUMEL="0")
    assert done.stdout.split("\n")[:-1] == [
        "fork True", "fork True", "fork Function 0", "spawn True", "spawn Function 0"
    ], done.stderr
    assert done.stderr == ""


DDP = """
    import os, sys
    import torch, torch.distributed as dist, torch.nn.functional as F
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel
    import rusttorch

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(32, 64), nn.Linear(64, 32)

        def forward(self, x):
            return F.log_softmax(self.b(F.gelu(F.relu(self.a(x)))), -1)

    def train():
        torch.manual_seed(0)
        model = DistributedDataParallel(Net())
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        torch.manual_seed(dist.get_rank())
        for _ in range(5):
            loss = F.nll_loss(model(torch.randn(16, 32)), torch.arange(16))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return [p.detach().clone() for p in model.parameters()]

    dist.init_process_group("gloo")
    stock = train()
    with rusttorch.patch(min_numel=0):
        ours = train()
        rows = rusttorch.report().as_dict()["ops"]
    for a, b in zip(stock, ours):
        torch.testing.assert_close(a, b)
    gathered = [torch.empty_like(ours[0]) for _ in range(2)]
    dist.all_gather(gathered, ours[0])
    assert torch.equal(*gathered)
    assert rows["gelu"]["calls"] == 10 and rows["relu"]["calls"] == 10, rows
    open(os.path.join(sys.argv[1], f"rank{os.environ['RANK']}"), "w").close()
    dist.barrier()
    os._exit(0)  # gloo's threads abort a process that ends in the ordinary way now and then, with stock torch as well
"""


def test_distributed_training(tmp_path: Path) -> None:
    pytest.importorskip("torch.distributed.run")
    path = tmp_path / "ddp.py"
    path.write_text(textwrap.dedent(DDP))
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = python(*launch, str(path), str(tmp_path), timeout=280, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert sorted(name for name in os.listdir(tmp_path) if name.startswith("rank")) == ["rank0", "rank1"]
