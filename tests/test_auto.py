"""Switching on from outside: the environment, and ``python -m rusttorch``."""

from __future__ import annotations

import dataclasses
import re
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from support import ROOT, output, python

import rusttorch
from rusttorch import _auto, logs, patching, runtime, selfcheck, settings
from rusttorch.catalog import CATALOG

SHOW = """
import torch, rusttorch
x = torch.ones(4)
torch.relu(x)
rows = rusttorch.report().as_dict()["ops"]
print(len(rusttorch.active_ops()), rows.get("relu", {}).get("calls", 0))
"""


def test_auto_switches_on_in_a_program_that_does_not_know(tmp_path: Path) -> None:
    code = """
        import subprocess, sys
        import torch, torch.nn.functional as F
        from torch.nn.functional import relu
        print(type(F.relu).__name__, type(relu).__name__, F.relu(torch.ones(2)).sum().item())
        child = "import torch; print(type(torch.relu).__name__)"
        print(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout.strip())
    """
    assert output(code, RUSTTORCH_AUTO="1") == "Method Method 2.0\nFunction"
    assert output(code, RUSTTORCH_AUTO="0") == "function function 2.0\nbuiltin_function_or_method"


def test_auto_takes_the_settings() -> None:
    code = "import torch, rusttorch; print(rusttorch.active_ops(), rusttorch.explain(torch.relu, torch.ones(9)))"
    environment = {"RUSTTORCH_AUTO": "1", "RUSTTORCH_OPS": "relu, gelu,softmax", "RUSTTORCH_EXCLUDE": "gelu"}
    assert output(code, **environment, RUSTTORCH_MIN_NUMEL="9") == "['relu', 'softmax'] accelerated"
    assert output(code, **environment, RUSTTORCH_MIN_NUMEL="10").endswith("outside the size window")


def test_auto_does_not_import_torch() -> None:
    code = "import sys; print('torch' in sys.modules, 'numpy' in sys.modules, 'rich' in sys.modules)"
    assert output(code, RUSTTORCH_AUTO="1") == "False False False"


def test_the_import_is_light() -> None:
    """What ``import rusttorch`` loads beside torch: its own modules, wrapt, and small parts of the standard library."""
    code = """
        import sys
        import torch
        before = set(sys.modules)
        import rusttorch
        rusttorch.patch()
        print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
    """
    assert set(output(code).split()) <= {"rusttorch", "wrapt", "_wrapt"} | set(sys.stdlib_module_names)


def test_log_says_that_it_is_on() -> None:
    done = python("-c", SHOW, RUSTTORCH_AUTO="1", RUSTTORCH_LOG="info")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("rusttorch: ")]
    assert re.fullmatch(
        rf"rusttorch: {re.escape(rusttorch.__version__)} on, torch {re.escape(torch.__version__)}, door [123], "
        rf"(avx512|avx2), \d+ threads, {len(rusttorch.ops())} ops",
        line,
    )
    assert python("-c", SHOW, RUSTTORCH_AUTO="1").stderr == ""


WRONG = {
    "RUSTTORCH_OPS": "rleu",
    "RUSTTORCH_EXCLUDE": "softmaxx",
    "RUSTTORCH_MIN_NUMEL": "many",
    "RUSTTORCH_MEMORY": "-1",
    "RUSTTORCH_ISA": "sse9",
    "RUSTTORCH_DOOR": "7",
    "RUSTTORCH_LOG": "loud",
    "RUSTTORCH_AUTO": "maybe",
}
EXPLICIT = "import torch, rusttorch\nrusttorch.patch()\nrusttorch.patch('relu')\n" + SHOW


@pytest.mark.parametrize("variable", WRONG)
def test_wrong_setting_is_one_warning_and_stock_torch(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, WRONG[variable])
    monkeypatch.setattr(runtime, "_found", None)
    monkeypatch.setattr(patching, "_registry", patching._Registry())
    monkeypatch.setattr(logs, "_warned", set())
    kept = rusttorch.memory.policy
    monkeypatch.setattr(rusttorch.memory, "policy", lambda limit: pytest.fail("the allocator is touched"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _auto._start(torch)
    assert len(caught) == 1 and issubclass(caught[0].category, RuntimeWarning)
    assert variable in str(caught[0].message) and WRONG[variable] in str(caught[0].message)
    assert not rusttorch.is_patched()
    assert rusttorch.memory.policy is not kept


@pytest.mark.parametrize("program", [SHOW, EXPLICIT], ids=["auto", "explicit"])
@pytest.mark.parametrize("variable", WRONG)
def test_wrong_setting_in_a_process(variable: str, program: str, tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(program)
    auto = {"RUSTTORCH_AUTO": "1"} if program is SHOW else {}
    done = python("p.py", cwd=tmp_path, **{**auto, variable: WRONG[variable]})
    assert done.returncode == 0 and done.stdout.strip() == "0 0"
    assert done.stderr.count("Warning") == 1 and variable in done.stderr and "stock torch is used" in done.stderr
    assert str(tmp_path / "p.py") in done.stderr  # the program's own line


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RUSTTORCH_OPS", "relu,nonsense"),
        ("RUSTTORCH_MIN_NUMEL", "-5"),
        ("RUSTTORCH_MIN_NUMEL", "1.5"),
        ("RUSTTORCH_MIN_NUMEL", "1" + "0" * 30),
        ("RUSTTORCH_MEMORY", "1" + "0" * 30),
        ("RUSTTORCH_MEMORY", "yes"),
        ("RUSTTORCH_ISA", "baseline"),
        ("RUSTTORCH_AUTO", "-1"),
        ("RUSTTORCH_AUTO", "true"),
        ("RUSTTORCH_LOG", "3"),
    ],
)
def test_wrong_value_names_its_variable(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(settings.SettingError, match=variable):
        settings.Settings.from_environment()


def test_wrong_setting_where_warnings_are_errors() -> None:
    done = python("-W", "error::RuntimeWarning", "-c", SHOW, RUSTTORCH_AUTO="1", RUSTTORCH_OPS="rleu")
    assert done.returncode == 0 and done.stdout.strip() == "0 0"
    assert done.stderr.count("rusttorch:") == 1 and "Traceback" not in done.stderr


def test_empty_settings_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in WRONG:
        monkeypatch.setenv(variable, " ")
    found = settings.Settings.from_environment()
    assert (found.ops, found.exclude, found.min_numel, found.memory) == (None, (), None, True)
    assert (found.auto, found.log, found.isa, found.door) == (False, None, None, 1)


@pytest.mark.parametrize(("text", "value"), [("0", False), ("1", True), ("4096", 4096)])
def test_memory_setting(text: str, value: bool | int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSTTORCH_MEMORY", text)
    found = settings.Settings.from_environment().memory
    assert found is value or (type(found) is int and found == value)


@pytest.mark.parametrize(
    "broken",
    ["raise ImportError('broken')", "raise ValueError('broken')", "raise SystemError('broken')", "def f(:"],
)
def test_broken_dependency_does_not_break_torch(broken: str, tmp_path: Path) -> None:
    (tmp_path / "wrapt.py").write_text(broken)
    code = "import torch; print(torch.relu(torch.ones(2)).sum().item(), type(torch.relu).__name__)"
    path = f"{tmp_path}:{ROOT}"
    done = python("-c", code, PYTHONPATH=path, RUSTTORCH_AUTO="1")
    assert done.returncode == 0 and done.stdout.strip() == "2.0 builtin_function_or_method", done.stderr
    assert done.stderr.count("rusttorch: not switched on") == 1 and "Traceback" not in done.stderr


def test_error_while_switching_on_does_not_break_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(patching, "patch", fail)
    with pytest.warns(RuntimeWarning, match="not switched on, stock torch is used: RuntimeError"):
        _auto._start(torch)


def test_failed_self_check_is_a_warning_and_stock_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patching, "_registry", patching._Registry())
    monkeypatch.setattr(patching, "failures", lambda operations: ["relu float32"])
    monkeypatch.setattr(logs, "_warned", set())
    with pytest.warns(RuntimeWarning, match=r"self-check failed \(relu float32\)"):
        handle = rusttorch.patch()
    assert not rusttorch.is_patched() and torch.relu is torch.relu
    assert "self-check failed" in rusttorch.explain(torch.relu, torch.ones(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rusttorch.patch().undo()  # not said again
    handle.undo()


def test_torch_of_another_age(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, message in (((1, 13), "older than tested"), ((9, 0), "newer than tested")):
        monkeypatch.setattr(runtime, "_found", None)
        monkeypatch.setattr(runtime, "torch_version", lambda version=version: version)
        monkeypatch.setattr(logs, "_warned", set())
        with pytest.warns(RuntimeWarning, match=message) as caught:
            assert rusttorch.system()["door"] in (1, 2, 3)
            rusttorch.system()
        assert len(caught) == 1


def test_torch_without_a_door_is_a_warning_and_stock_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AttributeError("no such function")

    monkeypatch.setattr(patching, "_registry", patching._Registry())
    monkeypatch.setattr(runtime, "_found", None)
    monkeypatch.setattr(runtime._rusttorch, "open", fail)
    monkeypatch.setattr(logs, "_warned", set())
    with pytest.warns(RuntimeWarning, match="no such function.*stock torch is used") as caught:
        rusttorch.patch(memory=True).undo()
        rusttorch.patch().undo()
    assert len(caught) == 1 and "no such function" in rusttorch.explain(torch.relu, torch.ones(2))


def test_dtypes_that_stock_torch_lacks_are_left_to_it() -> None:
    row = dataclasses.replace(CATALOG["relu"], dtypes=("float32", "complex64"))
    assert selfcheck.missing(row) == {(mode, "complex64") for mode in ("forward", "inplace", "training")}
    if runtime.torch_version() >= runtime.ALL_DTYPES:
        assert {name for name, row in CATALOG.items() if selfcheck.missing(row)} == set()


MODES = {
    "autocast": "torch.autocast('cpu', torch.bfloat16)",
    "inference": "torch.inference_mode()",
    "device": "torch.device('meta')",
    "forward ad": "torch.autograd.forward_ad.dual_level()",
    "fake": "torch._subclasses.FakeTensorMode()",
}


@pytest.mark.parametrize("mode", MODES)
def test_first_use_inside_a_mode(mode: str) -> None:
    code = f"import torch, rusttorch\nwith {MODES[mode]}:\n    rusttorch.patch()\n"
    code += "print(len(rusttorch.active_ops()), rusttorch.system()['native_state'])"
    assert output(code) == f"{len(rusttorch.ops())} True"


PROGRAM = """
import sys

print(sys.argv[1:], __name__, __file__, __spec__ and __spec__.name, sys.path[0])
print(sys.modules["__main__"].__dict__ is globals(), __builtins__ is not None, __doc__)
if sys.argv[1] == "end":
    import torch

    print(torch.relu(torch.ones(8)).sum().item())


def fail():
    raise ValueError("from the program")


def leave(how):
    if how == "exit":
        sys.exit(7)
    if how == "message":
        sys.exit("a message")
    if how == "fail":
        fail()
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "chain":
        try:
            fail()
        except ValueError as error:
            raise RuntimeError("again") from error


leave(sys.argv[1])
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(PROGRAM)
    return path


@pytest.mark.parametrize("how", ["end", "exit", "message", "fail", "chain", "interrupt"])
def test_script_runs_as_by_python(how: str, script: Path) -> None:
    arguments = (script.name, how, "--report", "-c", "x")
    stock, ours = python(*arguments, cwd=script.parent), python("-m", "rusttorch", *arguments, cwd=script.parent)
    assert ours.returncode == stock.returncode
    assert ours.stdout == stock.stdout
    assert ours.stderr == stock.stderr


@pytest.mark.parametrize("how", ["end", "fail"])
def test_module_runs_as_by_python(how: str, script: Path) -> None:
    stock, ours = (python(*a, "-m", "train", how, "-m", cwd=script.parent) for a in ((), ("-m", "rusttorch")))
    assert (ours.returncode, ours.stdout, ours.stderr) == (stock.returncode, stock.stdout, stock.stderr)


def test_code_runs_as_by_python(tmp_path: Path) -> None:
    code = "import sys; print(sys.argv, __name__, sys.path[0] == ''); def_ = 1; sys.exit(int(sys.argv[1]))"
    stock, ours = (python(*a, "-c", code, "3", "--report", cwd=tmp_path) for a in ((), ("-m", "rusttorch")))
    assert (ours.returncode, ours.stdout, ours.stderr) == (stock.returncode, stock.stdout, stock.stderr)
    assert stock.returncode == 3


@pytest.mark.parametrize("arguments", [("missing.py",), ("-m", "no_such_module"), (), ("--nonsense", "x.py")])
def test_what_cannot_run_is_said(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = python("-m", "rusttorch", *arguments, cwd=tmp_path)
    assert done.returncode != 0 and "Traceback" not in done.stderr and done.stderr
    if arguments:
        assert arguments[-1 if arguments[0] != "--nonsense" else 0] in done.stderr


def test_syntax_error_is_shown_as_by_python(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def f(:\n")
    stock, ours = (python(*a, "bad.py", cwd=tmp_path) for a in ((), ("-m", "rusttorch")))
    assert (ours.returncode, ours.stderr) == (stock.returncode, stock.stderr)


def test_report_is_printed_at_exit(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text("import torch\ntorch.softmax(torch.ones(512, 64), -1)\nraise SystemExit(5)\n")
    done = python("-m", "rusttorch", "--report", "p.py", cwd=tmp_path, RUSTTORCH_MIN_NUMEL="0")
    assert done.returncode == 5 and done.stdout == ""
    assert "softmax" in done.stderr and "32,768" in done.stderr


def test_children_of_a_program_are_accelerated(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(
        textwrap.dedent("""
            import multiprocessing, subprocess, sys
            import torch

            def work(_):
                return type(torch.relu).__name__

            if __name__ == "__main__":
                for method in ("fork", "spawn"):
                    with multiprocessing.get_context(method).Pool(1) as pool:
                        print(method, pool.map(work, [0]))
                code = "import torch; print(type(torch.relu).__name__)"
                print(subprocess.check_output([sys.executable, "-c", code], text=True).strip())
        """)
    )
    done = python("-m", "rusttorch", "p.py", cwd=tmp_path)
    assert done.stdout.split("\n")[:-1] == ["fork ['Function']", "spawn ['Function']", "Function"], done.stderr


def test_main_functions_are_found_after_the_program(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(
        "import atexit, pickle\ndef f(): pass\natexit.register(lambda: print(pickle.loads(pickle.dumps(f)) is f))\n"
    )
    assert python("-m", "rusttorch", "p.py", cwd=tmp_path).stdout == "True\n"


def test_folders_and_archives_run(tmp_path: Path) -> None:
    import zipfile

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "__main__.py").write_text("import sys; print('main', sys.argv[1:])")
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", "import sys; print('main', sys.argv[1:])")
    for name in ("folder", "archive.zip"):
        assert python("-m", "rusttorch", name, "a", cwd=tmp_path).stdout == "main ['a']\n"


def test_doctor_and_ops() -> None:
    done = python("-m", "rusttorch", "doctor")
    assert done.returncode == 0 and "self-check passed" in done.stdout and torch.__version__ in done.stdout
    assert python("-m", "rusttorch", "doctor", RUSTTORCH_OPS="rleu").returncode == 1
    done = python("-m", "rusttorch", "doctor", RUSTTORCH_ISA="sse9")
    assert done.returncode == 1 and "RUSTTORCH_ISA" in done.stdout
    assert "softmax" in python("-m", "rusttorch", "ops").stdout
