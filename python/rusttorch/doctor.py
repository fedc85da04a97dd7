"""``python -m rusttorch doctor``: what was found here, and what is missing."""

from __future__ import annotations

from . import _rusttorch, memory
from .patching import operations
from .runtime import UnavailableError, system
from .settings import SettingError, Settings

DOORS = {1: "stable C functions", 2: "DLPack table", 3: "Python calls"}


def main() -> int:
    """Prints the findings; returns 1 where nothing can be accelerated."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    healthy = True
    facts = system()
    table.add_row("version", facts["version"])
    table.add_row("torch", facts["torch"])
    if facts["door"] is None:
        healthy = False
        table.add_row("unavailable", facts["unavailable"])
    else:
        table.add_row("door", f"{facts['door']}: {DOORS[facts['door']]}")
        table.add_row("modes", "dispatcher's own state" if facts["native_state"] else "Python queries (slower)")
        table.add_row("instruction set", f"{facts['isa']} (of {', '.join(_rusttorch.available_isas())})")
        table.add_row("CPU", f"{facts['vendor']}'s")
        table.add_row("threads", str(facts["threads"]))
        try:
            table.add_row("ops", f"{len(operations())}, self-check passed")
        except (UnavailableError, SettingError) as error:
            healthy = False
            table.add_row("ops", str(error))
    table.add_row("memory policy", "glibc" if memory.available() else "no effect: malloc is not glibc's")
    try:
        Settings.from_environment()
        table.add_row("environment", "valid")
    except SettingError as error:
        healthy = False
        table.add_row("environment", str(error))
    Console().print(table)
    return 0 if healthy else 1
