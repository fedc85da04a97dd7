"""The benchmarks' statistics, their plan, and what is derived from their figures. Nothing is timed here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from bench import accuracy, cases, report, results, stats, steps, thresholds, timing
from bench.__main__ import names, size
from bench.cases import Case, Inputs, Work
from bench.ops import is_loss, short
from bench.results import Record, Store
from bench.roof import Roof
from bench.stats import Spread

from rusttorch import thresholds as shipped
from rusttorch.catalog import CATALOG, DTYPES, TENSOR_OPS

WIN, EVEN, SLOWER = Spread(0.5, 0.4, 0.6, 9), Spread(1.0, 0.95, 1.05, 9), Spread(1.5, 1.4, 1.6, 9)
ROOF = {
    "bandwidth": {kind: [[2**14, 10e9], [2**20, 40e9], [2**28, 20e9]] for kind in ("copy", "inplace", "read")},
    "fma": {"float32": 100e9, "float64": 50e9},
}


def record(spread: Spread = WIN, size: int = 4096, **changes: object) -> Record:
    case = {"op": "gelu", "call": "F.gelu(x)", "dtype": "float32", "mode": "forward", "size": size, "columns": 0}
    case.update({name: changes.pop(name) for name in list(changes) if name in case})
    fields = {
        "isa": "avx512", "threads": 2, "sizes": "forced", "taken": True, "stock": 1e-5, "ours": 1e-5 * spread.median,
        "limit": "memory", "floor": 1e-6,
    }  # fmt: skip
    return Record(case=Case(**case), ratio=spread, **{**fields, **changes})


# Statistics.


def test_spread_drops_outliers_when_there_are_enough_rounds() -> None:
    assert Spread.of([1.0]) == Spread(1.0, 1.0, 1.0, 1)
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)
    assert Spread.of([0.1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 99.0]) == Spread(1.4, 1.1, 1.7, 9)


@pytest.mark.parametrize("count", [6, 9, 15, 30])
def test_interval_holds_the_median_as_often_as_it_says(count: int) -> None:
    random = np.random.default_rng(count)
    spreads = [Spread.of(list(random.exponential(size=count))) for _ in range(3000)]
    inside = sum(spread.low <= np.log(2) <= spread.high for spread in spreads) / len(spreads)
    assert inside > 0.94


def test_gain_and_loss_need_size_and_certainty() -> None:
    assert WIN.gain and not WIN.loss
    assert SLOWER.loss and not SLOWER.gain
    for unsure in (EVEN, Spread(0.8, 0.5, 1.1, 9), Spread(1.2, 0.9, 1.5, 9), Spread(0.99, 0.985, 0.995, 9)):
        assert not unsure.gain and not unsure.loss


def test_ratios_pair_the_rounds() -> None:
    assert stats.ratios([1.0, 10.0, 100.0], [2.0, 20.0, 200.0]) == Spread(0.5, 0.5, 0.5, 3)
    assert WIN.inverse() == Spread(2.0, pytest.approx(1 / 0.6), 2.5, 9)
    assert WIN.show() == "0.50 (0.40-0.60)"
    with pytest.raises(ValueError, match="argument 2"):
        stats.ratios([1.0], [1.0, 2.0])


def test_geometric_mean() -> None:
    assert stats.geometric_mean([2.0, 8.0]) == pytest.approx(4)
    assert np.isnan(stats.geometric_mean([]))


# Thresholds.


@pytest.mark.parametrize(
    ("spreads", "window"),
    [
        ([], None),
        ([EVEN, EVEN, EVEN], None),
        ([SLOWER, WIN, WIN], [2**11, None]),
        ([WIN, WIN, WIN], [2**10, None]),
        ([WIN, EVEN, WIN], [2**10, None]),
        ([EVEN, WIN, EVEN], [2**11, None]),
        ([WIN, WIN, SLOWER], [2**10, 2**11]),
        ([WIN, SLOWER, WIN, WIN], [2**12, None]),
        ([WIN, SLOWER, SLOWER], None),
        ([WIN, WIN, SLOWER, WIN], [2**10, 2**11]),
    ],
)
def test_window(spreads: list[Spread], window: list[int | None] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "ENOUGH", 0)
    sizes = {2 ** (10 + index): [spread] for index, spread in enumerate(spreads)}
    assert thresholds.window(sizes) == window


def test_window_is_closed_where_nothing_larger_was_measured() -> None:
    assert thresholds.window({16: [WIN], 1024: [WIN]}) == [16, 1024]
    assert thresholds.window({16: [WIN], thresholds.ENOUGH: [WIN]}) == [16, None]


def test_every_measurement_of_a_size_must_win() -> None:
    assert thresholds.window({2**10: [WIN, EVEN], 2**20: [WIN, WIN]}) == [2**20, None]
    assert thresholds.window({2**10: [WIN, SLOWER], 2**20: [SLOWER, WIN]}) is None


def test_kinds_of_inputs_have_windows_of_their_own() -> None:
    row = TENSOR_OPS["batch_norm"]
    columns, planes, _ = cases.plain_calls(row)
    assert [row.kind(call) for call in cases.plain_calls(row)] == [0, 1, 2]
    records = [record(ratio, 2**20, op=row.name, call=call) for ratio, call in ((SLOWER, columns), (WIN, planes))]
    assert thresholds.derive(records, {}) == {
        "avx512": {
            "batch_norm.columns": {"float32": {"forward": None}},
            "batch_norm.planes": {"float32": {"forward": [2**20, None]}},
        }
    }
    assert {case.call for case in cases.plan(["batch_norm"], variants=False)} == set(cases.plain_calls(row))


def test_derive_takes_what_kernels_ran_without_the_policy() -> None:
    records = [
        record(WIN, 2**20),
        record(WIN, 2**20, isa="avx2"),
        record(WIN, 2**20, mode="training", taken=False),
        record(SLOWER, 2**20, op="silu", call="F.silu(x)"),
        record(WIN, 2**22, op="silu", call="F.silu(x)"),
        record(WIN, 2**20, op="mish", call="F.mish(x)"),
        record(SLOWER, 2**20, op="mish", call="F.mish(x)", sizes="shipped"),
        record(SLOWER, 2**20, policy=True),
        record(WIN, 2**20, dtype="float64"),
        record(SLOWER, 2**20, dtype="float64", call="F.gelu(x, approximate='tanh')"),
    ]
    errors = [
        {"op": "gelu", "call": "F.gelu(x)", "dtype": "float32", "stock": 0.50, "ours": 0.54},
        {"op": "gelu", "call": "F.gelu(x, approximate='tanh')", "dtype": "float32", "stock": 1.0, "ours": 2.0},
    ]
    assert thresholds.derive(records, {"avx512": errors}) == {
        "avx512": {
            "gelu": {
                "float32": {"forward": [2**20, None], "training": None},
                "float64": {"forward": None},
            },
            "silu": {"float32": {"forward": [2**22, None]}},
            "mish": {"float32": {"forward": None}},
        },
        "avx2": {"gelu": {"float32": {"forward": [2**20, None]}}},
    }


def test_what_is_less_accurate_than_stock_has_no_window() -> None:
    errors = [{"op": "gelu", "call": "F.gelu(x)", "dtype": "float32", "stock": 0.50, "ours": 0.56}]
    records = [record(WIN, 2**20), record(WIN, 2**20, isa="avx2")]
    assert thresholds.derive(records, {"avx512": errors}) == {
        "avx512": {"gelu": {"float32": {"forward": None}}},
        "avx2": {"gelu": {"float32": {"forward": [2**20, None]}}},
    }


def test_thresholds_are_merged_into_the_file(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    old = {"avx512": {"gelu": {"float32": {"forward": [1, 2], "training": None}}, "relu": {}}, "avx2": {}}
    path.write_text(json.dumps({"amd": old, "intel": old}))
    thresholds.update(Store({"vendor": "intel"}, [record(WIN, 2**20)]), path)
    assert json.loads(path.read_text()) == {
        "amd": old,
        "intel": {
            "avx512": {"gelu": {"float32": {"forward": [2**20, None], "training": None}}, "relu": {}},
            "avx2": {},
        },
    }
    empty = tmp_path / "none.json"
    thresholds.update(Store({"vendor": "intel"}), empty)
    assert json.loads(empty.read_text()) == {}


def test_windows_are_those_of_the_vendor_or_what_all_have_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    def isas(forward: object, training: object, **more: object) -> dict[str, object]:
        return {"avx2": {"gelu": {"float32": {"forward": forward, "training": training}}, **more}}

    both = {"amd": isas([1, None], None), "intel": isas([16, 64], [1, None], relu={"float32": {"forward": [1, 2]}})}
    monkeypatch.setattr("rusttorch.thresholds.measured", lambda: both)
    table = shipped.table.__wrapped__
    relu = {"relu": {"float32": {"forward": [1, 2]}}}
    assert table("intel", "avx2") == both["intel"]["avx2"]
    # What was not measured of one vendor has the sizes of the others.
    assert table("amd", "avx2") == both["amd"]["avx2"] | relu
    common = isas([16, 64], None, **relu)
    assert table("other", "avx2") == common["avx2"] and table("amd", "avx512") == {}
    both["intel"]["avx512"] = {"gelu": {}}
    assert table("amd", "avx512") == {"gelu": {}}
    both["amd"] = isas([128, None], None)
    assert table("other", "avx2")["gelu"]["float32"]["forward"] is None


def test_shipped_thresholds_name_ops_of_the_catalogue() -> None:
    for ops in (ops for isas in json.loads(thresholds.PATH.read_text()).values() for ops in isas.values()):
        assert set(ops) <= {name for row in TENSOR_OPS.values() for name in row.sized}
        for dtypes in ops.values():
            assert set(dtypes) <= set(DTYPES)
            for modes in dtypes.values():
                assert set(modes) <= set(cases.MODES)
                for window in filter(None, modes.values()):
                    assert window[0] >= 0 and (window[1] is None or window[1] >= window[0])


# The plan.


def test_plan_covers_the_catalogue() -> None:
    planned = cases.plan()
    assert {case.op for case in planned} == set(TENSOR_OPS)
    assert {case.call for case in planned} == {call for op in TENSOR_OPS.values() for call in op.calls}
    assert len(set(planned)) == len(planned)
    assert {case.size for case in planned if case.call == "torch.exp(x)"} == set(cases.SIZES)
    assert len(cases.plan(everything=True)) > len(planned) > len(cases.plan(variants=False))


@pytest.mark.parametrize(
    ("op", "call", "expected"),
    [
        ("relu", "F.relu(x)", "F.relu(x, inplace=True)"),
        ("elu", "F.elu(x, 0.5)", "F.elu(x, 0.5, inplace=True)"),
        ("exp", "torch.exp(x)", "torch.exp_(x)"),
        ("pow", "torch.pow(x, 1.7)", "x.pow_(1.7)"),
        ("pow", "x ** 2", None),
        ("gelu", "F.gelu(x)", None),
        ("softmax", "F.softmax(x, -1)", None),
    ],
)
def test_inplace_call(op: str, call: str, expected: str | None) -> None:
    assert cases.inplace_call(op, call) == expected


@pytest.mark.parametrize("case", cases.plan(dtypes=["float32"], sizes=[1, 16, 4096]), ids=str)
def test_every_case_runs(case: Case) -> None:
    inputs = Inputs()
    x = inputs.get(case)
    assert x.numel() == case.size and x.shape == case.shape
    before = x.clone()
    work = cases.build(case, inputs)
    if work.prepare:
        work.prepare()
    work.run(1)
    if case.mode == "training":
        kind = case.row.kind(case.call)
        leaf = work.scope[case.row.kinds[kind] if kind else "x"]
        assert leaf.grad.shape == leaf.shape and leaf.numel() == x.numel()
    elif case.mode == "inplace" and case.op not in ("relu6", "hardtanh") and case.size > 1:
        assert not torch.equal(work.scope["tensors"][0], before)
    assert torch.equal(x, before)
    work.close()
    assert not work.scope


def test_traffic() -> None:
    def traffic(op: str, mode: str) -> tuple[str, int]:
        return Case(op, CATALOG[op].calls[0], "float32", mode, 1024).traffic

    assert traffic("exp", "forward") == ("copy", 2 * 4096)
    assert traffic("exp", "inplace") == ("inplace", 2 * 4096)
    assert traffic("exp", "training") == ("copy", 5 * 4096)
    assert traffic("logsumexp", "forward") == ("read", 4096)
    assert traffic("glu", "forward") == ("copy", 1.5 * 4096)
    assert Case("softmax", "F.softmax(x, 0)", "float32", "forward", 2**20).shape == (1024, 1024)
    assert Case("softmax", "F.softmax(x, 0)", "float32", "forward", 2**20, 64).shape == (2**14, 64)


# Schedules and roofs.


@pytest.mark.parametrize("call", [1e-6, 1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("limit", [None, 1, 256])
def test_schedule_fits_the_time(call: float, limit: int | None) -> None:
    schedule = timing.Schedule.fit(0.1, 2, call, limit, timing.MOST)
    calls = 2 * schedule.rounds * (schedule.passes * schedule.calls + schedule.warm)
    assert timing.FEWEST <= schedule.rounds <= timing.MOST
    assert schedule.calls <= (limit or schedule.calls)
    assert calls * call <= 0.1 or schedule.rounds == timing.FEWEST


def test_compare_takes_turns() -> None:
    order: list[str] = []

    class Side:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> None:
            order.append(self.name)

        def __exit__(self, *_: object) -> None:
            order.append("/")

    times = timing.compare(Work(lambda n: None), [lambda: Side("a"), lambda: Side("b")], 0.0)
    assert [len(rounds) for rounds in times] == [timing.FEWEST] * 2
    assert "".join(order).replace("/", "") == "ab" + "ba" + "ab" + "ba"


def test_roof() -> None:
    roof = Roof(ROOF)
    # A smaller working set is no slower than a larger one.
    assert roof.bandwidth("copy", 1) == roof.bandwidth("copy", 2**20) == 40e9
    assert roof.bandwidth("copy", 2**24) == pytest.approx(30e9)
    assert roof.bandwidth("copy", 2**40) == 20e9
    assert roof.floor("copy", 2**20, 1, "float32") == ("memory", 2**20 / 40e9)
    assert roof.floor("copy", 1, 2**20, "float64") == ("compute", 2**20 / 50e9)
    assert roof.rate("bfloat16") == 100e9


# Results.


def test_store_keeps_the_newest_and_reads_what_it_wrote(tmp_path: Path) -> None:
    store = Store(machine={"cpu": "c", "cores": 2, "torch": "2.15"}, roofs={"avx512/2": ROOF})
    store.add([record(SLOWER), record(WIN, 2**20), record(WIN, dtype="float64")])
    store.add([record(WIN)])
    store.add_rows("calls", "avx512", [{"call": "a", "ours": 1}, {"call": "b", "ours": 1}], ["call"])
    store.add_rows("calls", "avx512", [{"call": "a", "ours": 2}], ["call"])
    path = tmp_path / "results.json"
    store.save(path)
    found = Store.load(path)
    assert sorted(found.records, key=str) == sorted(store.records, key=str)
    assert len(found.records) == 3
    assert (found.machine, found.roofs, found.calls) == (store.machine, store.roofs, store.calls)
    assert found.calls["avx512"] == [{"call": "a", "ours": 2}, {"call": "b", "ours": 1}]


def test_figures_of_another_machine_are_moved_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cpus = tmp_path / "results.json", {"cpu": "a", "cores": 2, "torch": "2.15"}
    monkeypatch.setattr("bench.machine.describe", lambda: dict(cpus))
    for cpu in ("a", "b", "a"):
        cpus["cpu"] = cpu
        store = Store.here(path)
        store.add([record(threads=len(store.records) + 1)])
        store.save(path)
    assert len(Store.here(path).records) == 2
    cpus["cpu"] = "b"
    assert len(Store.here(path).records) == 1


def test_committed_figures_are_what_users_get() -> None:
    shipped, forced, other = record(sizes="shipped"), record(), record(threads=1)
    assert Store(records=[shipped, forced, other]).committed().records == [shipped, other]


def test_losses_are_those_that_users_get(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.ops.in_window", lambda record: record.case.size >= 4096)
    assert is_loss(record(SLOWER)) and is_loss(record(SLOWER, sizes="shipped"))
    assert not is_loss(record(SLOWER, 16)) and not is_loss(record(EVEN))
    # A declined call may cost a little more.
    assert not is_loss(record(SLOWER, sizes="shipped", taken=False, stock=2e-7))
    assert is_loss(record(SLOWER, sizes="shipped", taken=False, stock=2e-6))


def test_report_is_written_from_saved_figures(tmp_path: Path) -> None:
    machine = {
        "cpu": "A CPU", "cores": 2, "memory_gib": 8, "caches": "L1 32K", "system": "Linux", "python": "3.11",
        "torch": "2.15.0", "rusttorch": "0.1.0", "door": 1,
    }  # fmt: skip
    way = {"seconds": 0.1, "ratio": [0.8, 0.7, 0.9], "peak": 2**30}
    program = {"program": "gpt", "threads": 2, "about": "a step", "stock": way, "policy": way, "rusttorch": way}
    call = {"call": "F.relu(i)", "threads": 2, "why": "integers", "stock": 1e-6, "ours": 1e-6, "extra": [2e-7] * 3}
    step = {
        "optimizer": "Adam()", "dtype": "float32", "parameters": 4, "elements": 1000, "threads": 2, "stock": 1e-3,
        "ours": 4e-4, "ratio": [0.4, 0.38, 0.42, 9], "fused": None, "floor": 1e-4,
    }  # fmt: skip
    store = Store(
        machine=machine,
        steps={"avx512": [step]},
        records=[record(WIN, 2**20, sizes="shipped"), record(SLOWER, 16, sizes="shipped")],
        roofs={"avx512/2": ROOF},
        programs={"avx512": [program]},
        calls={"avx512": [call]},
        accuracy={
            "avx512": [
                {
                    "call": "F.gelu(x)", "dtype": "float32", "values": 9, "stock": 3.0, "ours": 1.5,
                    "stock_ordinary": 3.0, "ours_ordinary": 1.0,
                }
            ]
        },
    )  # fmt: skip
    page = tmp_path / "PERFORMANCE.md"
    report.write([store], page, None)
    text = page.read_text()
    for expected in (
        "A CPU", "memory policy alone", "1.25 (1.11-1.43)", "2.00 (1.67-2.50)", "Where stock is faster",
        "0.67 (0.62-0.71)", "3 / 1.5", "| `F.relu(i)` | integers |", "4 x 1,000 | 1,000 | 2.50 (2.38-2.63) |  | 25% |",
    ):  # fmt: skip
        assert expected in text, expected


def test_a_kind_keeps_as_many_tensors_as_it_says() -> None:
    for kind in steps.KINDS:
        optimizer = steps.build(kind, 2, 10, "float32")
        kept = list(optimizer.state[optimizer.param_groups[0]["params"][0]].values())
        assert sum(torch.is_tensor(value) and value.dim() > 0 for value in kept) == kind.state


def test_committed_copies_are_small_and_readable() -> None:
    for path in results.COMMITTED.glob("*.json"):
        assert path.stat().st_size < 1_000_000
        assert Store.load(path).machine["cpu"]


# Accuracy.


def test_ulps() -> None:
    expected = np.array([1.0, 1.0, 0.0, 2.0**-149, 2.0**127, np.inf, np.nan, 1.0])
    actual = np.array([1.0, 1 + 2.0**-23, 2.0**-149, 0.0, np.inf, 2.0**127 * (2 - 2**-23), np.nan, np.nan])
    assert accuracy.ulps(actual, expected, "float32").tolist() == [0, 1, 1, 1, 2**23, 1, 0, np.inf]
    assert accuracy.ulps(np.array([2.0**-30]), np.array([0.0]), "float32", 1.0).tolist() == [2.0**-7]


def test_halves_are_tried_whole() -> None:
    for dtype in ("float16", "bfloat16"):
        (values,) = accuracy.patterns(dtype, 1)
        assert values.view(torch.int16).unique().numel() == 2**16
        assert accuracy.FORMATS[dtype] == (
            1 - int(np.log2(torch.finfo(getattr(torch, dtype)).eps)),
            int(np.log2(torch.finfo(getattr(torch, dtype)).tiny)),
            int(np.log2(torch.finfo(getattr(torch, dtype)).max)),
        )


@pytest.mark.parametrize("call", [call for op in CATALOG.values() if accuracy.has_error(op) for call in op.calls])
def test_references_agree_with_stock(call: str) -> None:
    op = next(op for op in CATALOG.values() if call in op.calls)
    x = torch.linspace(-6, 6, 4096, dtype=torch.float64)
    x = x.abs() + 0.01 if op.domain == "positive" else x
    x = x if op.shape == "pointwise" else x.view(64, 64)
    expected = eval(call, {"torch": torch, "F": torch.nn.functional, "x": x}).numpy()
    for kind in [np.float64, np.longdouble] if accuracy.wide_enough() else [np.float64]:
        reference = accuracy.Reference(single=False)
        actual = eval(call, {"torch": reference, "F": reference, "x": x.numpy().astype(kind)})
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual.astype(float), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.skipif(not accuracy.wide_enough(), reason="no longdouble")
def test_normal_distribution_in_its_tail() -> None:
    # Computed with 60 digits.
    x = np.array([-1, -10, -30, 0.5], dtype=np.longdouble)
    exact = [
        "0.158655253931457051415",
        "7.61985302416052606597e-24",
        "4.90671392714818705953e-198",
        "0.691462461274013103638",
    ]
    np.testing.assert_allclose(accuracy._normal_cdf(x), np.array([np.longdouble(text) for text in exact]), rtol=2e-18)


# The command line.


def test_sizes_and_names() -> None:
    assert [size(text) for text in ("1", "64K", "16m")] == [1, 2**16, 2**24]
    assert [short(number) for number in (1, 1024, 2**24, 1000)] == ["1", "1K", "16M", "1000"]
    assert names(("a", "b"), "b,a") == ["b", "a"]
    for wrong in ("a,c", ""):
        with pytest.raises(Exception, match="not among"):
            names(("a", "b"), wrong)
    for wrong in ("0", "-4", "x"):
        with pytest.raises(ValueError, match=r".*"):
            size(wrong)
