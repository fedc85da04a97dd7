"""The demo runs, agrees with stock torch, and says so."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

import rusttorch
from rusttorch import demo
from rusttorch.demo import images, race, text

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def corpus() -> text.Corpus:
    return text.Corpus()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LARGE", text.Size(batch=4, context=64))


@pytest.mark.usefixtures("small")
def test_demo_agrees_with_stock(capsys: pytest.CaptureFixture[str]) -> None:
    threads, before = torch.get_num_threads(), torch.random.get_rng_state()
    assert demo.main(["--steps", "4", "--quick", "--seed", "3", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    for expected in ("RustTorch against stock", "it writes", "The ", "test accuracy", "Median block"):
        assert expected in printed
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not rusttorch.is_patched()


@pytest.mark.usefixtures("small")
def test_demo_without_images(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--steps", "2", "--no-images"]) == 0
    assert "test accuracy" not in capsys.readouterr().out


@pytest.mark.usefixtures("small")
def test_demo_fails_where_results_differ(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "TOLERANCE", -1.0)
    assert demo.main(["--steps", "1", "--no-images"]) == 1
    assert "more than the tolerance" in " ".join(capsys.readouterr().out.split())


def test_demo_needs_stock_torch(capsys: pytest.CaptureFixture[str]) -> None:
    with rusttorch.accelerate():
        assert demo.main(["--steps", "1"]) == 2
    assert "no stock torch left" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--threads", "-1"], ["--steps", "many"]])
def test_demo_refuses_nonsense(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        demo.main(arguments)
    assert "usage" in capsys.readouterr().err


def test_demo_accelerates_both_programs() -> None:
    rusttorch.report(reset=True)
    with rusttorch.accelerate(min_numel=0):
        text.trainer(text.Corpus(), text.SMALL, 0)[1]()
        images.trainer(images.Digits(), 0)[1]()
    calls = {name: op["calls"] for name, op in rusttorch.report().as_dict()["ops"].items()}
    for name in ("softmax", "gelu", "silu"):
        assert calls.get(name), f"{name}: {calls}"


def test_corpus_is_prose(corpus: text.Corpus) -> None:
    assert len(corpus.text) > 200_000
    assert len(corpus.characters) < 100
    assert corpus.decode(corpus.encode(demo.PROMPT)[0]) == demo.PROMPT
    inputs, targets = corpus.batch(text.SMALL, torch.Generator().manual_seed(0))
    assert inputs.shape == targets.shape == (text.SMALL.batch, text.SMALL.context)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])


def test_model_learns(corpus: text.Corpus) -> None:
    _, step = text.trainer(corpus, text.SMALL, 0)
    losses = [step() for _ in range(8)]
    assert losses[-1] < losses[0] - 1


def test_model_looks_only_back(corpus: text.Corpus) -> None:
    model = text.GPT(len(corpus.characters), text.SMALL.context, width=32, layers=1).eval()
    inputs, _ = corpus.batch(text.SMALL, torch.Generator().manual_seed(0))
    changed = inputs.clone()
    changed[:, 64:] = 0
    with torch.no_grad():
        torch.testing.assert_close(model(inputs)[:, :64], model(changed)[:, :64])


def test_generation_is_reproducible(corpus: text.Corpus) -> None:
    model = text.GPT(len(corpus.characters), text.SMALL.context, width=32, layers=1)
    first, second = (text.generate(model, corpus, "The ", model.context + 20, seed=1) for _ in range(2))
    assert first == second
    assert first.startswith("The ") and len(first) == model.context + 24
    assert model.training


def test_digits_are_the_data_set() -> None:
    digits = images.Digits()
    assert digits.images.shape == (1797, 1, 8, 8)
    assert digits.images.min() == 0 and digits.images.max() == 1
    # The counts of the ten digits in the source's description.
    assert digits.labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    data = Path(images.__file__).parent / "data" / "digits.npz"
    assert data.stat().st_size < 100_000
    with np.load(data) as stored:
        assert set(stored) == {"images", "labels"}
        records = np.column_stack([stored["images"].reshape(1797, 64), stored["labels"]]).astype(np.uint8)
    # The kernels' example has them as plain records.
    assert records.tobytes() == (ROOT / "rust" / "core" / "examples" / "digits.bin").read_bytes()


def test_difference() -> None:
    assert race.difference([1.0, 2.0], [1.0, 2.0]) == 0
    assert race.difference([1.0, 2.0], [1.1, 2.0]) == pytest.approx(0.1)
    assert race.difference([1.0, 2.0], [1.0, float("nan")]) == float("inf")
    with pytest.raises(ValueError, match="shorter"):
        race.difference([1.0, 2.0], [1.0])


def test_blocks_take_turns() -> None:
    sides = [race.Side(name, nullcontext) for name in "abc"]
    losses = [iter(range(5)).__next__ for _ in sides]
    order = "".join(side.name for side in race.interleave(sides, losses, steps=5, block=2))
    assert order == "aabbcc" + "bbccaa" + "cab"
    for side in sides:
        assert side.losses == [0, 1, 2, 3, 4]
        assert [len(block) for block in side.blocks] == [2, 2, 1]
        assert (side.peak > 2**20) == sys.platform.startswith("linux")


def test_speedup_pairs_the_rounds() -> None:
    stock = race.Side("stock", nullcontext, blocks=[[2.0], [20.0], [2.0]])
    other = race.Side("other", nullcontext, blocks=[[1.0], [10.0], [1.0]])
    assert race.speedup(stock, other) == race.Timing(2.0, 2.0, 2.0)
    assert race.Timing.of([1.0]).show(2) == "1.00 (1.00-1.00)"
