"""benchmarks/performance.py: merging rows, tables, charts, and which sections a page has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import performance
import performance_charts
import pytest
from performance_tables import latency_table, models_table, streams_table

Row = dict[str, Any]
WHERE = {"cpu": "A CPU", "instruction_set": "avx2", "commit": "abc", "versions": {"torch": "1.0"}}


def timed(runtime: str, us: float, steps: int = 1, batch: int = 1, workload: str = "lstm-256") -> Row:
    return WHERE | {
        "workload": workload,
        "T": steps,
        "batch": batch,
        "runtime": runtime,
        "us_median": us,
        "us_min": us,
        "rounds": 3,
    }


LAYERS = [
    *(timed("irnn_tvm", 10.0), timed("irnn_tvm.runtime", 11.0), timed("fast", 20.0), timed("slow", 90.0)),
    *(timed("irnn_tvm", 1000.0, 100), timed("fast", 500.0, 100)),
    *(timed("irnn_tvm", 24.0, batch=4), timed("slow", 180.0, batch=4)),
]
TIMED = WHERE | {
    "bench": "operator",
    "workload": "tanh",
    "T": 100,
    "us_median": 6.6,
    "float_us_median": 66.0,
}
COUNTED = {
    "bench": "operator",
    "workload": "tanh",
    "T": 100,
    "target": "arm",
    "instructions": 105998,
    "commit": "abc",
}
MODEL = WHERE | {
    "bench": "model",
    "model": "g2p",
    "runtime": "irnn_tvm.runtime",
    "item": "word",
    "us_median": 500.0,
    "same": 0.99,
    "compared": 300,
    "what": "words",
}
FOOTPRINT = WHERE | {
    "bench": "footprint",
    "figure": "start",
    "workload": "lstm-1024",
    "value": 1.5,
    "unit": "ms",
    "digits": 1,
    "goal": 5,
}
SIZE = {
    "bench": "code size",
    "workload": "lstm-256",
    "target": "arm",
    "code_bytes": 10,
    "constant_bytes": 2,
    "other_bytes": 3,
    "beside_weights_bytes": 15,
    "weight_bytes": 99,
    "commit": "abc",
}
COUNT = {
    "workload": "lstm-256",
    "T": 1,
    "target": "arm",
    "runtime": "irnn_tvm",
    "instructions": 123456,
    "per_mac": 0.2,
    "commit": "abc",
}


def test_the_fastest_peer_is_compared() -> None:
    lines = latency_table([row for row in LAYERS if row["batch"] == 1])
    assert lines[0].startswith("| layer | T | irnn_tvm | irnn_tvm.runtime | fast | slow |")
    assert lines[2:] == [
        "| lstm-256 | 1 | 10.0 | 11.0 | 20.0 | 90.0 | 2.00 |",
        "| lstm-256 | 100 | 1,000.0 |  | 500.0 |  | 0.50 |",
    ]


def test_streams_are_counted_one_by_one() -> None:
    assert streams_table([row for row in LAYERS if row["T"] == 1])[2:] == [
        "| lstm-256 | 1 | irnn_tvm | 10.0 | 6.0 | 1.67 |",
        "| lstm-256 | 1 | slow | 90.0 | 45.0 | 2.00 |",
    ]


def test_models_are_compared_with_ours() -> None:
    lines = models_table([MODEL, MODEL | {"runtime": "torch f32", "us_median": 2000.0, "same": 1.0}])
    assert lines[2:] == [
        "| g2p, per word | irnn_tvm.runtime | 500.0 | 2,000 | 1.00 | 99.0 % of 300 words |",
        "| g2p, per word | torch f32 | 2,000.0 | 500 | 4.00 | 100.0 % of 300 words |",
    ]


def test_counts_of_others_are_beside_ours() -> None:
    """On the same target, with the fewest of them as the measure; and not among the targets."""
    peers = [
        COUNT | {"runtime": name, "instructions": n, "emulator": "qemu -cpu it", "versions": {"fast": "1"}}
        for name, n in (("fast", 246912), ("slow", 999999))
    ]
    call = peers[0] | {"workload": "lstm-4", "instructions": 46912}
    whole = performance.page([COUNT, *peers, call, peers[0] | {"target": "arm-a53", "instructions": 7}])
    assert "| lstm-4 | 1 |  | 46,912 |  |  |" in whole
    assert "| lstm-256 | 1 | 123,456 | 246,912 | 999,999 | 0.62 |" in whole
    assert "| lstm-256 | 1 |  | 7 |  |" in whole
    assert "| lstm-256 | 1 | 123,456 | 0.200 |\n" in whole


def test_every_kind_of_row_has_a_section() -> None:
    everything = [*LAYERS, COUNT, COUNTED, TIMED, MODEL, FOOTPRINT, SIZE]
    whole = performance.page(everything)
    sections = {
        "## Instructions under emulators": (COUNT, "123,456"),
        "## Microseconds on A CPU, avx2": (LAYERS[2], "| 20.0 |"),
        "## Streams that share a call, on A CPU, avx2": (LAYERS[-1], "| 45.0 |"),
        "Operators without a recurrence": (COUNTED, "| tanh | 105,998 |"),
        "## Operators on A CPU, avx2": (TIMED, "| tanh | 6.6 | 66.0 | 10.00 |"),
        "## Whole models on A CPU, avx2": (MODEL, "g2p, per word"),
        "## Start, memory and calls on A CPU, avx2": (FOOTPRINT, "| start | lstm-1024 | 1.5 ms | < 5 ms |"),
        "## Code beside weights": (SIZE, "| lstm-256 | arm | 10 | 2 | 3 | 15 | 99 |"),
    }
    for title, (row, figure) in sections.items():
        assert title in whole
        assert figure in whole
        if row is not COUNT and row not in LAYERS:
            assert title not in performance.page([other for other in everything if other is not row])


def test_rows_replace_older_ones_of_the_same_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, new = tmp_path / "results.jsonl", tmp_path / "new.jsonl"
    monkeypatch.setattr(performance, "RESULTS", results)
    old = [*LAYERS, COUNT, MODEL, FOOTPRINT, SIZE]
    changed = [
        *(timed("irnn_tvm", 5.0), timed("irnn_tvm", 20.0, batch=4), timed("irnn_tvm", 7.0, batch=8)),
        *(MODEL | {"us_median": 1.0}, FOOTPRINT | {"value": 9.0}, FOOTPRINT | {"figure": "other"}),
        *(SIZE | {"code_bytes": 11}, SIZE | {"target": "host"}, COUNT | {"instructions": 1}),
    ]
    for path, rows in ((results, old), (new, changed)):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    performance.add([new])
    merged = performance.load(results)
    assert len(merged) == len(old) + 3
    assert all(row in merged for row in changed)
    assert all((row in merged) != (key in [performance.key(c) for c in changed]) for row, key in _keyed(old))


def _keyed(rows: list[Row]) -> list[tuple[Row, tuple[Any, ...]]]:
    return [(row, performance.key(row)) for row in rows]


def test_charts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(performance_charts, "FIGURES", tmp_path)
    files = {
        name: [
            performance_charts.figure_path(name, WHERE["cpu"], WHERE["instruction_set"]).with_suffix(
                f".{kind}"
            )
            for kind in ("svg", "png")
        ]
        for name in ("ratios", "streams")
    }
    assert performance_charts.draw([]) == []
    single = [row for row in LAYERS if row["batch"] == 1]
    assert performance_charts.draw(single) == files["ratios"]
    written = performance_charts.draw(LAYERS)
    assert written == [*files["ratios"], *files["streams"]]
    other = [row | {"instruction_set": "other"} for row in single]
    assert len(performance_charts.draw([*LAYERS, *other])) == len(written) + 2, "each machine has its own"
    before = [path.read_bytes() for path in written]
    performance_charts.draw(LAYERS)
    assert [path.read_bytes() for path in written] == before  # nothing in them but the rows
    performance_charts.draw([timed("fast", 40.0) if row is LAYERS[2] else row for row in LAYERS])
    assert written[0].read_bytes() != before[0]
