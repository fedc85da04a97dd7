"""The README's commands and code run, and its table is the catalogue's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rusttorch import _docs
from rusttorch.catalog import EVERY

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, mark: str = "") -> list[object]:
    """The README's fenced blocks of a language, those under a marking comment if one is given."""
    found = re.finditer(rf"^{mark}```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [pytest.param(match[1], id=f"line {README.count(chr(10), 0, match.start()) + 1}") for match in found]


def run(arguments: list[str], cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        arguments,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("code", blocks("python"))
def test_python_block_runs(code: str, tmp_path: Path) -> None:
    run([sys.executable, "-W", "error::SyntaxWarning", "-c", code], tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")
@pytest.mark.parametrize("commands", blocks("sh"))
def test_sh_block_parses(commands: str, tmp_path: Path) -> None:
    run(["sh", "-n", "-c", commands], tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")
@pytest.mark.parametrize("commands", blocks("sh", "<!-- run -->\n"))
def test_sh_block_runs(commands: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import torch\nprint(torch.softmax(torch.ones(4096, 64), -1).sum().item())\n")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    printed = run(["sh", "-e", "-c", commands], tmp_path, PATH=path)
    assert printed.count("4096.0") == commands.count("train.py")
    assert "softmax" in printed


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_ops_table_is_the_catalogue() -> None:
    assert _docs.with_table(README) == README, "run: python -m rusttorch._docs README.md"
    table = README.split(_docs.BEGIN)[1].split(_docs.END)[0]
    assert table.strip() == _docs.ops_table()
    for name in EVERY:
        assert f"| {name} |" in table


def test_table_is_written_in_place(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{_docs.BEGIN}\nold\n{_docs.END}\nafter\n")
    _docs.main([str(page)])
    assert page.read_text() == f"before\n{_docs.BEGIN}\n{_docs.ops_table()}\n{_docs.END}\nafter\n"


def test_environment_variables_are_all_documented() -> None:
    sources = [*ROOT.glob("python/**/*.py"), *ROOT.glob("rust/*/src/**/*.rs")]
    used = {name for path in sources for name in re.findall(r"RUSTTORCH_[A-Z_]+", path.read_text(encoding="utf-8"))}
    assert {name for name in used if f"`{name}=" not in README} == set()
