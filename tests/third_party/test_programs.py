"""Unmodified programs on other projects' models compute what they do with stock torch, and are accelerated.

Runs with ``pip install '.[third-party]'``. All weights are random: nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.third_party

HERE = Path(__file__).parent

#: The program, the package it needs, and operations that must have been accelerated in it.
PROGRAMS = [
    ("gpt2", "transformers", {"softmax", "tanh"}),
    ("bert", "transformers", {"softmax", "gelu"}),
    ("efficientnet", "timm", {"silu"}),
    ("vit", "timm", {"gelu"}),
]


def run(arguments: list[str], **environment: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RUSTTORCH_")}
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**inherited, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "package", "expected"), PROGRAMS, ids=[row[0] for row in PROGRAMS])
def test_program(name: str, package: str, expected: set[str], tmp_path: Path) -> None:
    pytest.importorskip(package)
    program = str(HERE / "programs" / f"{name}.py")
    stock, ours, report = (str(tmp_path / file) for file in ("stock.pt", "ours.pt", "report.json"))
    run([program, stock])
    # Whatever the sizes that this machine leaves to stock torch.
    run([str(HERE / "harness.py"), report, program, ours], RUSTTORCH_AUTO="1", RUSTTORCH_MIN_NUMEL="0")

    torch.testing.assert_close(torch.load(ours), torch.load(stock), rtol=1e-3, atol=1e-5)
    ops = json.loads(Path(report).read_text())["ops"]
    accelerated = {op for op, row in ops.items() if row["calls"]}
    assert expected <= accelerated, ops
