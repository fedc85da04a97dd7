"""Run a program as ``python program.py ...`` would, and write RustTorch's report at its end.

Arguments: the report's path, the program, the program's arguments.
"""

import json
import runpy
import sys
from pathlib import Path

report_path, program, *arguments = sys.argv[1:]
sys.argv = [program, *arguments]
sys.path[0] = str(Path(program).parent)
runpy.run_path(program, run_name="__main__")

import rusttorch  # noqa: E402  (after the program, which must run as if this were not here)

Path(report_path).write_text(json.dumps(rusttorch.report().as_dict()))
