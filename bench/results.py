"""Where figures are kept: a working file, and the short copy of it that is committed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import machine
from .cases import Case
from .stats import Spread

BENCH = Path(__file__).parent
OUT = BENCH / "out" / "results.json"
COMMITTED = BENCH / "results"


@dataclass(frozen=True)
class Record:
    """What was measured of a case."""

    case: Case
    isa: str
    threads: int
    #: the accelerated side's sizes: "forced" to every one, or as "shipped"
    sizes: str
    #: whether a kernel took the call
    taken: bool
    #: seconds of a call
    stock: float
    ours: float
    #: ours against stock, below 1 where RustTorch is faster
    ratio: Spread
    #: what binds at best, "memory" or "compute", and the least seconds that it allows
    limit: str
    floor: float
    #: whether both sides ran under the memory policy
    policy: bool = False
    #: whose the CPU is; the same for all of a file
    vendor: str = "other"

    @property
    def key(self) -> tuple[Any, ...]:
        """What a newer record replaces an older one by."""
        return (self.case, self.isa, self.threads, self.sizes, self.policy)

    @property
    def fraction(self) -> float:
        """Of the machine's best, what RustTorch reaches."""
        return self.floor / self.ours

    @property
    def stock_fraction(self) -> float:
        """Of the machine's best, what stock torch reaches."""
        return self.floor / self.stock


#: What the records of a series have in common, what of it goes without saying, and the names of its points' columns.
_COMMON = ("op", "call", "dtype", "mode", "columns", "isa", "threads", "sizes", "policy")
_USUAL = {"columns": 0, "policy": False}
_LIMITS = ("memory", "compute")
_POINT = ("size", "taken", "stock", "ours", "median", "low", "high", "rounds", "limit", "floor")


def pack(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Records as series over the sizes, with few digits: files stay small."""
    series: dict[tuple[Any, ...], dict[str, Any]] = {}
    for record in records:
        flat = {**vars(record.case), **vars(record), **vars(record.ratio)}
        common = {name: flat[name] for name in _COMMON}
        entry = series.setdefault(tuple(common.values()), {**common, "points": []})
        flat |= {"taken": int(record.taken), "limit": _LIMITS.index(record.limit)}
        entry["points"].append([_short(flat[name]) for name in _POINT])
    for entry in series.values():
        entry["points"].sort()
    ordered = [series[key] for key in sorted(series)]
    return [{name: value for name, value in entry.items() if _USUAL.get(name, entry) != value} for entry in ordered]


def unpack(series: Iterable[dict[str, Any]], vendor: str) -> Iterator[Record]:
    """The inverse of `pack`, for a vendor's CPU."""
    for entry in ({**_USUAL, **entry} for entry in series):
        for values in entry["points"]:
            point = dict(zip(_POINT, values, strict=True))
            case = Case(entry["op"], entry["call"], entry["dtype"], entry["mode"], point["size"], entry["columns"])
            yield Record(
                case=case,
                isa=entry["isa"],
                threads=entry["threads"],
                sizes=entry["sizes"],
                policy=entry["policy"],
                vendor=vendor,
                taken=bool(point["taken"]),
                stock=point["stock"],
                ours=point["ours"],
                ratio=Spread(point["median"], point["low"], point["high"], point["rounds"]),
                limit=_LIMITS[point["limit"]],
                floor=point["floor"],
            )


def _short(value: Any, digits: int = 3) -> Any:
    """Floats with few digits, inside lists and dictionaries too."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, list):
        return [_short(part, digits) for part in value]
    if isinstance(value, dict):
        return {name: _short(part, digits) for name, part in value.items()}
    return value


@dataclass
class Store:
    """All figures of one machine and one torch."""

    machine: dict[str, Any] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    #: by "isa/threads": what `roof.measure` gives
    roofs: dict[str, Any] = field(default_factory=dict)
    #: by "isa": lists of plain rows
    accuracy: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    calls: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    programs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    steps: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Store:
        """What a file holds."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**data, "records": list(unpack(data["records"], data["machine"].get("vendor", "other")))})

    @classmethod
    def here(cls, path: Path = OUT) -> Store:
        """The working file; where its figures are of another machine, they are moved aside, and this one's back."""
        described = machine.describe()
        store = cls.load(path) if path.exists() else None
        if store and machine.slug(store.machine) != machine.slug(described):
            path.rename(path.with_name(f"{machine.slug(store.machine)}.json"))
            own = path.with_name(f"{machine.slug(described)}.json")
            store = cls.load(own.rename(path)) if own.exists() else None
        return replace(store, machine=described) if store else cls(machine=described)

    def add(self, records: Iterable[Record]) -> None:
        """Adds records, in place of older ones of the same cases."""
        kept = {record.key: record for record in self.records}
        kept.update((record.key, record) for record in records)
        self.records = list(kept.values())

    def add_rows(self, section: str, isa: str, rows: Iterable[dict[str, Any]], names: Sequence[str]) -> None:
        """Adds plain rows, in place of older ones that agree in ``names``."""
        table = getattr(self, section)
        kept = {tuple(row[name] for name in names): row for row in table.get(isa, [])}
        kept.update((tuple(row[name] for name in names), row) for row in rows)
        table[isa] = list(kept.values())

    def save(self, path: Path = OUT) -> None:
        """Writes everything."""
        path.parent.mkdir(parents=True, exist_ok=True)
        data = {**_short(vars(self), 5), "records": pack(self.records)}
        lines = [f"{json.dumps(name)}: {_layout(value)}" for name, value in data.items()]
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        temporary = path.with_suffix(".partial")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)

    def committed(self) -> Store:
        """The part worth keeping: what users get, or the forced sizes where that was not measured."""

        def group(record: Record) -> tuple[Any, ...]:
            return (record.isa, record.threads, record.policy)

        shipped = {group(record) for record in self.records if record.sizes == "shipped"}
        records = [record for record in self.records if record.sizes == "shipped" or group(record) not in shipped]
        return replace(self, records=records)


def _layout(value: Any) -> str:
    """JSON with one row a line."""
    if isinstance(value, list):
        return "[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in value) + "\n]"
    if isinstance(value, dict) and any(isinstance(part, (dict, list)) for part in value.values()):
        return "{" + ",\n".join(f"{json.dumps(name)}: {_layout(part)}" for name, part in value.items()) + "}"
    return json.dumps(value)
