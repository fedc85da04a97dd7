"""``python -m rusttorch``: runs a program accelerated, the demo, the doctor, or prints the table of ops."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
import types
from collections.abc import Callable

USAGE = """python -m rusttorch [--report] script.py [args ...]
       python -m rusttorch [--report] -m module [args ...]
       python -m rusttorch [--report] -c code [args ...]
       python -m rusttorch demo | doctor | ops"""


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="python -m rusttorch", usage=USAGE, description=__doc__, allow_abbrev=False)
    parser.add_argument("--report", action="store_true", help="print at exit what was accelerated")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("-m", dest="module", nargs=argparse.REMAINDER, help="run a module")
    target.add_argument("-c", dest="code", nargs=argparse.REMAINDER, help="run code")
    parser.add_argument("script", nargs=argparse.REMAINDER, help="a script, or demo, doctor, ops")
    options = parser.parse_args(argv)
    if options.module:
        return _run(options.report, options.module, lambda: _run_module(options.module[0]))
    if options.code:
        code, *rest = options.code
        return _run(options.report, ["-c", *rest], lambda: _run_source(code, "<string>", None), "")
    if not options.script:
        parser.error("nothing to run")
    command, *rest = options.script
    if command == "demo":
        from .demo import main as demo

        return demo(rest)
    if command == "doctor":
        from .doctor import main as doctor

        return doctor()
    if command == "ops":
        from ._docs import ops_table

        print(ops_table())
        return 0
    if not os.path.exists(command):
        parser.error(f"no such file: {command}")
    folder = os.path.dirname(os.path.realpath(command))
    return _run(options.report, options.script, lambda: _run_file(command), folder)


def _run(report: bool, arguments: list[str], program: Callable[[], object], first_path: str | None = None) -> int:
    """Runs a program as Python would, with torch accelerated here and in its children."""
    import atexit

    from ._auto import install

    os.environ["RUSTTORCH_AUTO"] = "1"
    install()
    if report:
        atexit.register(_print_report)
    sys.argv = arguments
    if first_path is not None and not getattr(sys.flags, "safe_path", False):
        sys.path[0] = first_path
    try:
        program()
    except BaseException as error:
        _hide_frames(error)
        raise
    return 0


def _run_file(path: str) -> None:
    if os.path.isdir(path) or not path.endswith((".py", ".pyw")):
        runpy.run_path(path, None, "__main__")  # a directory or an archive with a __main__, or compiled code
        return
    path = os.path.abspath(path)
    with open(path, "rb") as file:
        source = file.read()
    _run_source(source, path, path)


def _run_module(name: str) -> None:
    _main_module()
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]  # what `python -m` calls


def _main_module() -> types.ModuleType:
    """A main module for the program, which it stays: threads, exit handlers and child processes look for it."""
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = __builtins__
    return module


def _run_source(source: str | bytes, name: str, file: str | None) -> None:
    module = _main_module()
    if file is not None:
        from importlib.machinery import SourceFileLoader

        module.__file__ = file
        module.__loader__ = SourceFileLoader("__main__", file)
        module.__dict__["__cached__"] = None
    exec(compile(source, name, "exec", dont_inherit=True), module.__dict__)


def _hide_frames(error: BaseException) -> None:
    """Lets the traceback begin where the program does, whoever prints it."""
    show = sys.excepthook

    def hook(kind: type[BaseException], value: BaseException, trace: types.TracebackType | None) -> None:
        if value is error:
            begin = trace
            while begin is not None:
                if begin.tb_frame.f_code.co_filename == __file__:
                    trace = begin.tb_next
                begin = begin.tb_next
            value = value.with_traceback(trace)
        show(kind, value, trace)

    sys.excepthook = hook


def _print_report() -> None:
    from rich.console import Console

    from .report import report

    Console(stderr=True).print(report())


if __name__ == "__main__":
    sys.exit(main())
