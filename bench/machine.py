"""The machine and the software that figures belong to."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

#: What keeps each library to an instruction set. They read these when they are loaded.
CAPS = {
    "avx2": {
        "RUSTTORCH_ISA": "avx2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
    },
    "avx512": {"RUSTTORCH_ISA": "avx512"},
}


def cap(isa: str | None) -> None:
    """Keeps RustTorch, torch and torch's libraries to an instruction set; call before torch is loaded.

    A figure for AVX2 must not be one against stock torch's AVX-512.
    """
    os.environ.update(CAPS.get(isa or os.environ.get("RUSTTORCH_ISA", ""), {}))


def describe() -> dict[str, Any]:
    """The processor, the system and the versions."""
    import torch

    import rusttorch

    return {
        "cpu": _cpu(),
        "vendor": rusttorch.system()["vendor"],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory(),
        "caches": _caches(),
        "system": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}".strip(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "rusttorch": rusttorch.__version__,
        "door": rusttorch.system()["door"],
    }


def isa() -> str:
    """The instruction set that RustTorch's kernels run on."""
    import rusttorch

    found = rusttorch.system()["isa"]
    if found is None:
        raise SystemExit(f"nothing to measure: {rusttorch.system()['unavailable']}")
    return str(found)


def slug(machine: dict[str, Any]) -> str:
    """A file name for the machine and its torch."""
    text = f"{machine['cpu']} {machine['cores']} cores torch {machine['torch'].partition('+')[0]}"
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def _cpu() -> str:
    """The model's name, with the numbers that tell generations of one name apart."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    name = re.sub(r"\((R|TM)\)", "", facts.get("model name", platform.machine()))
    return f"{name} (family {facts.get('cpu family', '?')} model {facts.get('model', '?')})"


def _memory() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None


def _caches() -> str:
    found = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind = (index / "type").read_text().strip()
        if kind != "Instruction":
            found.append(f"L{(index / 'level').read_text().strip()} {(index / 'size').read_text().strip()}")
    return ", ".join(found)
