"""``python -m tests``: formatting, lints, documentation, the Rust tests and the Python tests, in turn.

Run from the repository root, where the package is installed (``pip install '.[test]'``). The Python tests run the
installed package, not the source tree, which has no compiled extension.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def steps() -> list[tuple[str, list[str], Path]]:
    """What is run: a heading, a command, and the folder it runs in."""
    cargo = shutil.which("cargo")
    if cargo is None:
        sys.exit("cargo was not found: the tests need Rust (https://rustup.rs)")
    rust = ["--workspace", "--exclude", "rusttorch-python"]
    features = ["--features", "rusttorch-core/rayon"]
    python = [sys.executable, "-m"]
    return [
        ("rustfmt", [cargo, "fmt", "--all", "--check"], ROOT),
        ("clippy", [cargo, "clippy", "--workspace", "--all-targets", *features, "--", "-D", "warnings"], ROOT),
        ("rustdoc", [cargo, "rustdoc", "-p", "rusttorch-core", "--all-features", "--", "-D", "warnings"], ROOT),
        ("Rust tests", [cargo, "test", *rust, *features], ROOT),
        ("ruff", [*python, "ruff", "check", "."], ROOT),
        ("Python tests", [*python, "pytest", "--import-mode=importlib", "-p", "no:cacheprovider"], ROOT / "tests"),
    ]


def environment() -> dict[str, str]:
    """Without the switches of a surrounding program."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RUSTTORCH_")}


def main() -> int:
    """Runs every step; returns 1 if one failed."""
    spec = importlib.util.find_spec("pytest")
    if spec is None:
        sys.exit("pytest was not found: pip install '.[test]'")
    failed = []
    for heading, command, folder in steps():
        print(f"\n== {heading}: {' '.join(command[1:])}", flush=True)
        if subprocess.run(command, cwd=folder, env=environment(), check=False).returncode:
            failed.append(heading)
    print(f"\n{'failed: ' + ', '.join(failed) if failed else 'all steps passed'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
