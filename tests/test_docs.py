"""The documents' commands and code run, what they print is what they say, and their links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bench.__main__ import COMMANDS, parser

from rusttorch import _docs
from rusttorch.catalog import EVERY

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), ROOT / "rust" / "core" / "README.md"]

#: Whose blocks of Rust are tests of the crate: `rust/core/src/lib.rs` includes it.
DOCTESTED = ROOT / "rust" / "core" / "README.md"

#: A fenced block, and the marking comment above it: ``run``, ``prints``, or ``from`` and a file of the tree.
BLOCK = re.compile(r"^(?:<!-- (run|prints|from [^\n]+) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    document: Path
    line: int
    language: str
    mark: str
    code: str


def blocks(document: Path) -> Iterator[Block]:
    text = read(document)
    for match in BLOCK.finditer(text):
        yield Block(document, text.count("\n", 0, match.start(3)) + 1, match[2], match[1] or "", match[3])


BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]


def marked(language: str, *marks: str) -> list[object]:
    chosen = [block for block in BLOCKS if block.language == language and (not marks or block.mark in marks)]
    return [pytest.param(block, id=f"{block.document.relative_to(ROOT)}:{block.line}") for block in chosen]


def documents(*languages: str) -> list[object]:
    """The documents that have such blocks."""
    chosen = [path for path in DOCUMENTS if any(block.language in languages for block in blocks(path))]
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in chosen]


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


def test_every_block_is_known() -> None:
    for document in DOCUMENTS:
        assert read(document).count("```") == 2 * len(list(blocks(document))), document
    for block in BLOCKS:
        assert block.language in ("python", "sh", "rust", "text"), block
        assert block.language != "rust" or block.mark or block.document == DOCTESTED, block
    assert "../README.md" in read(ROOT / "rust" / "core" / "src" / "lib.rs")


@pytest.mark.parametrize("document", documents("python"))
def test_python_blocks_run(document: Path, tmp_path: Path) -> None:
    """One after the other in one session, as a reader would; what is said to be printed is."""
    session = ["import sys"]
    expected: list[str] = []
    for number, block in enumerate(blocks(document)):
        end = f"\n== {number}\n"
        if block.language == "python" and not block.mark:
            # By its line in the document, for a traceback.
            source = "\n" * (block.line - 1) + block.code
            session.append(f"exec(compile({source!r}, {document.name!r}, 'exec'), globals())")
            session.append(f"sys.stdout.write({end!r})")
            expected.append("")
        elif block.mark == "prints":
            expected[-1] = block.code
    printed = run([sys.executable, "-W", "error::SyntaxWarning", "-c", "\n".join(session)], tmp_path)
    shown = re.split(r"\n== \d+\n", printed)
    for text, got in zip(expected, shown, strict=False):
        assert not text or got.strip() == text.strip()


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")
@pytest.mark.parametrize("block", marked("sh"))
def test_sh_block_parses(block: Block, tmp_path: Path) -> None:
    run(["sh", "-n", "-c", block.code], tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")
@pytest.mark.parametrize("block", marked("sh", "run"))
def test_sh_block_runs(block: Block, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import torch\nprint(torch.softmax(torch.ones(4096, 64), -1).sum().item())\n")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    printed = run(["sh", "-e", "-c", block.code], tmp_path, PATH=path)
    assert printed.count("4096.0") == block.code.count("train.py")
    assert "--report" not in block.code or "softmax" in printed


@pytest.mark.parametrize("block", [*marked("python"), *marked("rust")])
def test_quoted_block_is_the_files(block: Block) -> None:
    kind, _, path = block.mark.partition(" ")
    if kind == "from":
        assert block.code in read(ROOT / path), path


def anchors(text: str) -> set[str]:
    """What the headings of a document may be linked to as."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", documents("python", "sh", "text"))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", BLOCK.sub("", read(document))):
        path, _, anchor = target.partition("#")
        aim = document.parent / path if path else document
        assert aim.exists(), target
        assert not anchor or anchor in anchors(read(aim)), target


def test_every_document_is_linked_from_the_readme() -> None:
    for document in DOCUMENTS:
        assert document == README or f"]({document.relative_to(ROOT).as_posix()})" in read(README), document


def test_commands_of_the_bench_exist() -> None:
    commands = "\n".join(block.code for block in BLOCKS if block.language == "sh")
    found = re.findall(r"python -m bench(?: ([^#\n]*))?", commands)
    assert len(found) > 5
    for arguments in map(str.split, found):
        command = [] if arguments and arguments[0] in COMMANDS else ["ops"]
        assert parser().parse_args([*command, *arguments])


def test_quoted_messages_are_printed_somewhere() -> None:
    """What the troubleshooting says that the package says."""
    sources = "".join(read(path) for path in [*ROOT.glob("python/**/*.py"), *ROOT.glob("rust/*/src/**/*.rs")])
    rows = read(ROOT / "INSTALL.md").split("## Troubleshooting")[1].splitlines()
    quoted = [text for row in rows if row.startswith("|") for text in re.findall(r"`([^`]+)`", row.split("|")[2])]
    assert len(quoted) > 5
    for text in quoted:
        assert text in sources, text


def test_ops_table_is_the_catalogue() -> None:
    tables = [document for document in DOCUMENTS if _docs.BEGIN in read(document)]
    assert tables
    for document in tables:
        text = read(document)
        assert _docs.with_table(text) == text, f"run: python -m rusttorch._docs {document.relative_to(ROOT)}"
        table = text.split(_docs.BEGIN)[1].split(_docs.END)[0]
        assert table.strip() == _docs.ops_table()
        for name in EVERY:
            assert f"| {name} |" in table


def test_every_operation_has_its_place() -> None:
    """In one family's list of OPERATIONS.md, under its heading."""
    sections = re.split(r"^## ", read(ROOT / "OPERATIONS.md"), flags=re.MULTILINE)[1:]
    lists = [section.split("\n\n")[1] for section in sections]
    named = [name for text in lists for name in re.findall(r"`(\w+)`", text)]
    assert sorted(named) == sorted(EVERY)


def test_table_is_written_in_place(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{_docs.BEGIN}\nold\n{_docs.END}\nafter\n")
    _docs.main([str(page)])
    assert page.read_text() == f"before\n{_docs.BEGIN}\n{_docs.ops_table()}\n{_docs.END}\nafter\n"


def test_versions_are_those_of_the_packages() -> None:
    rust = re.search(r'^rust-version = "(.+)"$', read(ROOT / "Cargo.toml"), re.MULTILINE)
    python = re.search(r'^requires-python = ">=(.+)"$', read(ROOT / "pyproject.toml"), re.MULTILINE)
    assert rust is not None and python is not None
    both, alone = {("Rust", rust[1]), ("Python", python[1])}, {("Rust", rust[1])}
    for document, expected in ((README, both), (ROOT / "INSTALL.md", both), (DOCTESTED, alone)):
        needed = re.findall(r"\b(Rust|Python)\b (?:\()?(\d+\.\d+)", read(document))
        assert set(needed) == expected, document


def test_environment_variables_are_all_documented() -> None:
    sources = [*ROOT.glob("python/**/*.py"), *ROOT.glob("rust/*/src/**/*.rs")]
    used = {name for path in sources for name in re.findall(r"RUSTTORCH_[A-Z_]+", read(path))}
    text = "".join(map(read, DOCUMENTS))
    assert {name for name in used if f"`{name}=" not in text} == set()
