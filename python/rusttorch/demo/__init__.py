"""``python -m rusttorch demo``: train, generate and classify with stock torch and with RustTorch, and compare."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

import rusttorch

from . import images, text
from .race import Side, Timing, difference, interleave, make_sides, speedup

__all__ = ["main"]

#: Steps of one side before the next takes its turn; fewer where a step is long.
BLOCK, LONG_BLOCK = 10, 3

#: Largest relative difference between two loss curves: kernels round their last bits differently, and training
#: amplifies what they do. Stock torch on one thread and on two differs from itself by about 2e-7 here.
TOLERANCE = 1e-3

#: Largest difference between two test accuracies.
ACCURACY_TOLERANCE = 0.02

PROMPT = "The "


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 if stock torch and RustTorch computed the same, 1 if not, 2 if they cannot be compared."""
    options = _parser().parse_args(argv)
    steps = options.steps or (12 if options.quick else 120)
    epochs = 2 if options.quick else 8
    console = Console()
    if rusttorch.is_patched():
        console.print("RustTorch is on already (RUSTTORCH_AUTO?): there is no stock torch left to compare with.")
        return 2
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        try:
            if options.threads:
                torch.set_num_threads(options.threads)
            return _run(console, steps, epochs, options.seed, not options.no_images)
        finally:
            torch.set_num_threads(threads)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rusttorch demo", description=__doc__)
    parser.add_argument("--steps", type=_positive, help="training steps of the language model (120; 12 if --quick)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, batches and samples (%(default)s)")
    parser.add_argument("--threads", type=_positive, help="torch's threads (as torch decides)")
    parser.add_argument("--no-images", action="store_true", help="leave out the handwritten digits")
    parser.add_argument("--quick", action="store_true", help="fewer steps: the same story with wider spreads")
    return parser


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _run(console: Console, steps: int, epochs: int, seed: int, with_images: bool) -> int:
    facts = ("torch", "door", "isa", "threads")
    system = rusttorch.system()
    console.print(f"RustTorch {system['version']}:", ", ".join(f"{fact} {system[fact]}" for fact in facts))
    rusttorch.report(reset=True)

    corpus = text.Corpus()
    programs: dict[str, list[Side]] = {}
    verdicts = [
        _language(console, programs, corpus, text.LARGE, steps, LONG_BLOCK, seed, write=True),
        _language(console, programs, corpus, text.SMALL, steps, BLOCK, seed, write=False),
    ]
    if with_images:
        verdicts.append(_images(console, programs, epochs, seed))
    console.rule("Time and memory")
    for table in _timing_tables(programs):
        console.print(table)
    console.print(rusttorch.report())
    if not all(verdicts):
        console.print("[bold red]The results differ by more than the tolerance.[/]")
    return 0 if all(verdicts) else 1


def _language(
    console: Console,
    programs: dict[str, list[Side]],
    corpus: text.Corpus,
    size: text.Size,
    steps: int,
    block: int,
    seed: int,
    write: bool,
) -> bool:
    """Train a language model on every side; returns whether the losses agree."""
    sides = programs[f"language model, {size}"] = make_sides()
    models, steppers = zip(*(text.trainer(corpus, size, seed) for _ in sides), strict=True)
    parameters = sum(parameter.numel() for parameter in models[0].parameters())
    console.rule(f"Language model, {size}")
    console.print(
        f"{parameters:,} parameters, {len(corpus.text):,} characters of text, {steps} steps of {size} characters."
    )
    _train(console, sides, steppers, steps, block)
    console.print(_loss_table(sides))
    same = _compare(console, sides)
    if write:
        table = Table("", f"after {steps} steps, it writes", show_lines=True, title="Samples (same seed)")
        for side, model in zip(sides, models, strict=True):
            with side.context():
                table.add_row(side.name, text.generate(model, corpus, PROMPT, 240, seed).replace("\n", " / "))
        console.print(table)
    return same


def _images(console: Console, programs: dict[str, list[Side]], epochs: int, seed: int) -> bool:
    """Train a classifier on every side; returns whether the accuracies agree."""
    digits = images.Digits()
    sides = programs["handwritten digits"] = make_sides()
    models, steppers = zip(*(images.trainer(digits, seed) for _ in sides), strict=True)
    console.rule("Handwritten digits")
    _train(console, sides, steppers, epochs * images.steps_per_epoch(), BLOCK)

    truth = digits.labels[images.TRAINING :]
    answers = []
    for side, model in zip(sides, models, strict=True):
        with side.context():
            answers.append(images.classify(model, digits))
    accuracies = [(answer == truth).float().mean().item() for answer in answers]
    table = Table("", "test accuracy", "answers as stock's", title=f"{len(truth)} images after {epochs} epochs")
    for side, answer, accuracy in zip(sides, answers, accuracies, strict=True):
        table.add_row(side.name, f"{accuracy:.2%}", f"{int((answer == answers[0]).sum())} of {len(truth)}")
    console.print(table)
    return all(abs(accuracy - accuracies[0]) <= ACCURACY_TOLERANCE for accuracy in accuracies)


def _train(
    console: Console, sides: Sequence[Side], steppers: Sequence[Callable[[], float]], steps: int, block: int
) -> None:
    name, loss = TextColumn("{task.description:<13}"), TextColumn("{task.fields[loss]}")
    with Progress(name, BarColumn(), MofNCompleteColumn(), loss, console=console) as progress:
        tasks = {side.name: progress.add_task(side.name, total=steps, loss="") for side in sides}
        for side in interleave(sides, steppers, steps, block):
            progress.update(tasks[side.name], advance=1, loss=f"loss {side.losses[-1]:.4f}")


def _loss_table(sides: Sequence[Side]) -> Table:
    steps = len(sides[0].losses)
    shown = sorted({round(i * (steps - 1) / 5) for i in range(6)})
    table = Table("step", *(str(step + 1) for step in shown), title="Loss")
    for side in sides:
        table.add_row(side.name, *(f"{side.losses[step]:.5f}" for step in shown))
    return table


def _compare(console: Console, sides: Sequence[Side]) -> bool:
    same = True
    for side in sides[1:]:
        worst = difference(sides[0].losses, side.losses)
        same = same and worst <= TOLERANCE
        verdict = "every loss has the same bits" if worst == 0 else f"largest relative difference {worst:.1e}"
        console.print(f"{side.name} against {sides[0].name}: {verdict} (tolerance {TOLERANCE:.0e})")
    return same


def _timing_tables(programs: dict[str, list[Side]]) -> Iterator[Table]:
    names = [side.name for side in next(iter(programs.values()))]
    table = Table("", "stock, ms a step", *(f"{name}, times faster" for name in names[1:]))
    table.title = "Median block of steps (and the quartiles)"
    for program, sides in programs.items():
        stock = Timing.of([1000 * seconds for seconds in sides[0].medians()]).show(0)
        table.add_row(program, stock, *(speedup(sides[0], side).show(2) for side in sides[1:]))
    yield table
    table = Table("", *names, title="Peak resident memory, MiB")
    for program, sides in programs.items():
        table.add_row(program, *(f"{side.peak / 2**20:.0f}" if side.peak else "unknown" for side in sides))
    yield table
