"""Fixtures that every test may use."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import rusttorch

BENCH = Path(__file__).resolve().parent.parent / "bench"
if "bench" not in sys.modules:
    # By its place: the repository's root is not on the path, where its source tree would hide the installed package.
    _spec = importlib.util.spec_from_file_location(
        "bench", BENCH / "__init__.py", submodule_search_locations=[str(BENCH)]
    )
    if _spec is not None and _spec.loader is not None:
        sys.modules["bench"] = importlib.util.module_from_spec(_spec)
        _spec.loader.exec_module(sys.modules["bench"])


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """The same random numbers for every test, and torch as found after it."""
    torch.manual_seed(0)
    yield
    assert not rusttorch.is_patched(), "the test left torch patched"


@pytest.fixture
def patched() -> Iterator[rusttorch.Handle]:
    """Every op on, at every size."""
    rusttorch.report(reset=True)
    with rusttorch.patch(min_numel=0) as handle:
        yield handle
