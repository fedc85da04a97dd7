"""``python -m bench``: measures, and says where stock torch is faster."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from . import machine

if TYPE_CHECKING:
    from .results import Store
    from .roof import Roof

ROOT = Path(__file__).parent.parent

COMMANDS = ("ops", "steps", "programs", "calls", "accuracy", "thresholds", "report", "roof")


def size(text: str) -> int:
    """A number of elements, such as 4096, 64K or 16M."""
    unit = {"K": 2**10, "M": 2**20}.get(text[-1:].upper(), 1)
    number = int(text[:-1] if unit > 1 else text) * unit
    if number < 1:
        raise ValueError(text)
    return number


def names(known: Sequence[str], text: str) -> list[str]:
    """A comma-separated list of known names."""
    chosen = [name for name in text.split(",") if name]
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'} is not among {', '.join(known)}")
    return chosen


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from rusttorch.catalog import DTYPES, TENSOR_OPS

    from .cases import MODES

    def listing(known: Sequence[str]) -> type:
        return lambda text: names(known, text)  # type: ignore[return-value]

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--isa", choices=sorted(machine.CAPS), help="keep RustTorch, torch and its libraries to this")
    common.add_argument("--threads", type=int, nargs="+", metavar="N", help="numbers of threads (default: torch's)")
    common.add_argument("--seconds", type=float, help="about how long to measure, for each number of threads")
    common.add_argument("--quick", action="store_true", help="fewer cases, about two minutes")
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--ops", type=listing(tuple(TENSOR_OPS)), default=list(TENSOR_OPS), metavar="A,B")
    chosen.add_argument("--dtypes", type=listing(DTYPES), metavar="A,B", help=f"of {', '.join(DTYPES)}")

    root = argparse.ArgumentParser(prog="python -m bench", description="Without a command: ops.")
    commands = root.add_subparsers(dest="command", required=True)
    ops = commands.add_parser("ops", parents=[common, chosen], help="each op by dtype, size and mode")
    ops.add_argument(
        "--sizes", type=size, nargs="+", metavar="N", help="elements, such as 64K 16M, all calls and modes"
    )
    ops.add_argument("--modes", type=listing(MODES), default=list(MODES), metavar="A,B", help=f"of {', '.join(MODES)}")
    ops.add_argument("--columns", type=size, default=0, help="length of the rows of 2-d inputs")
    ops.add_argument("--shipped", action="store_true", help="with the shipped thresholds: what users get")
    ops.add_argument("--policy", action="store_true", help="both sides under the memory policy")
    commands.add_parser("steps", parents=[common], help="optimizers' steps")
    programs = commands.add_parser("programs", parents=[common], help="whole programs, the memory policy apart")
    programs.add_argument("--only", metavar="A,B", help="of gpt, mlp, cnn, ...")
    commands.add_parser("calls", parents=[common], help="nanoseconds of small and of declined calls")
    exact = commands.add_parser("accuracy", parents=[common, chosen], help="largest errors against wide references")
    exact.add_argument("--exhaustive", action="store_true", help="every float32 (hours)")
    commands.add_parser("roof", parents=[common], help="the machine's bandwidth and arithmetic")
    commands.add_parser("thresholds", parents=[common], help="set thresholds.json from the ops' figures")
    report = commands.add_parser("report", parents=[common], help="write PERFORMANCE.md and its plots")
    report.add_argument("--save", action="store_true", help="first keep a short copy of the figures, to be committed")
    return root


def main(arguments: Sequence[str]) -> int:
    """Runs a command; 1 where RustTorch breaks a promise."""
    if not arguments or (arguments[0] not in COMMANDS and arguments[0] not in ("-h", "--help")):
        arguments = ["ops", *arguments]
    options = parser().parse_args(arguments)
    machine.cap(options.isa)
    # A file is as wide as the tables.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    if options.command == "report":
        return report(options, console)
    import torch

    default = torch.get_num_threads()
    failed = False
    for threads in options.threads or [default]:
        torch.set_num_threads(threads)
        failed |= bool(globals()[options.command](options, console))
    torch.set_num_threads(default)
    return int(failed)


def ops(options: argparse.Namespace, console: Console) -> bool:
    """Measures the ops."""
    import torch

    from rusttorch.catalog import DTYPES

    from . import cases
    from . import ops as bench
    from .results import OUT, Store

    store = Store.here()
    measured = measured_roof(options, console, store)
    planned = cases.plan(
        options.ops,
        options.dtypes or (("float32", "bfloat16") if options.quick else DTYPES),
        options.sizes or (cases.QUICK_SIZES if options.quick else cases.SIZES),
        options.modes,
        columns=options.columns,
        variants=not options.quick,
        everything=bool(options.sizes),
    )
    threads = torch.get_num_threads()
    settings = bench.Settings(
        seconds=options.seconds or (100 if options.quick else 840),
        threads=threads,
        shipped=options.shipped,
        policy=options.policy,
    )
    records = bench.run(planned, settings, measured, console)
    store.add(records)
    store.save()
    for table in bench.tables(records):
        console.print(table)
    for line in bench.summary(records):
        console.print(line, highlight=False)
    console.print(f"Saved to {OUT.relative_to(ROOT)}.")
    return any(map(bench.is_loss, records))


def measured_roof(options: argparse.Namespace, console: Console, store: Store) -> Roof:
    """Measures the roof for this many threads and saves it."""
    import torch

    from .roof import Roof, measure

    with console.status("measuring the machine's bandwidth and arithmetic"):
        found = measure(3 if options.quick else 6)
    store.roofs[f"{machine.isa()}/{torch.get_num_threads()}"] = found
    store.save()
    rates = {kind: max(rate for _, rate in points) / 1e9 for kind, points in found["bandwidth"].items()}
    far = {kind: points[-1][1] / 1e9 for kind, points in found["bandwidth"].items()}
    console.print(
        f"{store.machine['cpu']}, {torch.get_num_threads()} threads, {machine.isa()}, torch {torch.__version__}: "
        + "; ".join(f"{kind} {rates[kind]:.0f} GB/s in cache, {far[kind]:.0f} from memory" for kind in rates)
        + "".join(f"; {rate / 1e9:.0f}e9 {dtype} multiply-adds/s" for dtype, rate in found["fma"].items())
    )
    return Roof(found)


def roof(options: argparse.Namespace, console: Console) -> bool:
    """Measures the roof."""
    from .results import Store

    measured_roof(options, console, Store.here())
    return False


def steps(options: argparse.Namespace, console: Console) -> bool:
    """Measures the optimizers' steps."""
    from . import steps as bench
    from .results import Store

    store = Store.here()
    measured = measured_roof(options, console, store)
    layouts = bench.LAYOUTS[:-1] if options.quick else bench.LAYOUTS
    rows = list(bench.run(options.seconds or (30 if options.quick else 120), layouts, measured, console))
    store.add_rows("steps", machine.isa(), rows, ["optimizer", "dtype", "parameters", "elements", "threads"])
    store.save()
    console.print(bench.table(rows))
    return any(map(bench.is_loss, rows))


def programs(options: argparse.Namespace, console: Console) -> bool:
    """Measures the programs."""
    from . import programs as bench
    from .results import Store

    chosen = names(tuple(bench.PROGRAMS), options.only) if options.only else list(bench.PROGRAMS)
    store = Store.here()
    seconds = options.seconds or (60 if options.quick else 420)
    rows = list(bench.run(chosen, seconds, console, 5 if options.quick else 9))
    store.add_rows("programs", machine.isa(), rows, ["program", "threads"])
    store.save()
    console.print(bench.table(rows))
    return any(map(bench.is_loss, rows))


def calls(options: argparse.Namespace, console: Console) -> bool:
    """Measures what calls cost."""
    from . import calls as bench
    from .results import Store

    store = Store.here()
    rows = bench.run(options.seconds or (10 if options.quick else 40), console)
    store.add_rows("calls", machine.isa(), rows, ["call", "why", "threads"])
    store.save()
    console.print(bench.table(rows))
    return any(map(bench.too_slow, rows))


def accuracy(options: argparse.Namespace, console: Console) -> bool:
    """Measures errors."""
    from rusttorch.catalog import FLOATS

    from . import accuracy as bench
    from .results import Store

    store = Store.here()
    stride = 1 if options.exhaustive else bench.STRIDE * (64 if options.quick else 1)
    rows = bench.run(
        options.ops,
        options.dtypes or FLOATS,
        stride,
        console,
        lambda row: store.add_rows("accuracy", machine.isa(), [row], ["call", "dtype"]),
    )
    store.save()
    console.print(bench.table(rows))
    return any(map(bench.is_worse, rows))


def thresholds(options: argparse.Namespace, console: Console) -> bool:
    """Sets the thresholds."""
    from . import thresholds as bench
    from .results import Store

    derived = bench.update(Store.here())
    windows = [
        window for ops in derived.values() for op in ops.values() for modes in op.values() for window in modes.values()
    ]
    console.print(
        f"{len(windows)} windows for {', '.join(derived) or 'nothing'}, {windows.count(None)} of them never:"
        f" {bench.PATH.relative_to(ROOT)}"
    )
    return not windows


def report(options: argparse.Namespace, console: Console) -> int:
    """Writes the page."""
    from . import report as bench
    from .results import OUT, Store

    if options.save:
        console.print(f"Kept in {bench.keep().relative_to(ROOT)}.")
    stores = bench.saved() or ([Store.load(OUT).committed()] if OUT.exists() else [])
    if not stores:
        console.print("No figures yet: run python -m bench first.")
        return 1
    bench.write(stores)
    origin = bench.COMMITTED if bench.saved() else OUT
    console.print(f"Written from {origin.relative_to(ROOT)}: {bench.PAGE.relative_to(ROOT)}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
