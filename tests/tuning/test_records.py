"""Tuning logs: read, ranked, repaired, merged and pruned without TVM."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from irnn_tvm.errors import TuningError
from irnn_tvm.schedules.choice import Choice
from irnn_tvm.tuning import edit, records
from irnn_tvm.tuning.records import FINAL, RECORDS, SEARCH, WORKLOADS

CLOCK, COUNT = ("wall clock", "rpi", "Cortex-A72"), ("instructions", "emulator", "cortex-a76")


def line(
    values: list[float], how: tuple[str, str, str] = COUNT, turn: str = SEARCH, lanes: int = 16, task: str = "step a",
    workload: int = 0,
) -> str:  # fmt: skip
    """A record as MetaSchedule writes it; `lanes` is its only setting, 16 the default."""
    notes = {"task": task, "isa": "neon", "metric": how[0], "device": how[1], "cpu": how[2], "versions": "1",
             "job": "j", "round": turn}  # fmt: skip
    trace = [["GetSBlock", [], ["workload", "main"], ["b0"]]]
    trace += [["Annotate", ["b0", json.dumps(value)], [f"irnn.{name}"], []] for name, value in notes.items()]
    options = [16, 8, 4]
    trace += [["SampleCategorical", [], [options, [0.3, 0.3, 0.3]], ["v1"]],
              ["Annotate", ["b0", "v1"], ["irnn.chosen_lanes"], []]]  # fmt: skip
    decisions = [[len(trace) - 2, options.index(lanes)]]
    return json.dumps([workload, [[trace, decisions], values, {"kind": "llvm"}, []]])


def write(folder: Path, lines: list[str], workloads: int = 1, end: str = "\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WORKLOADS).write_text("".join(f'["{n}","mod{n}"]\n' for n in range(workloads)))
    (folder / RECORDS).write_text("\n".join(lines) + end)
    return folder


def test_a_record_says_everything(tmp_path: Path) -> None:
    [record] = records.read(write(tmp_path, [line([3.0, 1.0, 2.0], CLOCK, FINAL, 8)]))
    assert record.choice == Choice("neon", {"chosen_lanes": 8})
    assert (record.value, record.how, record.round) == (2.0, CLOCK, FINAL)


def test_the_faster_one_wins_and_the_default_stays_without_gain(tmp_path: Path) -> None:
    ten, eleven, less = line([100]), line([99.5], lanes=8), line([80], lanes=4)
    group = records.read(write(tmp_path, [ten, eleven, less]))
    assert [record.value for record in records.ranked(group)] == [80, 100]
    group = records.read(write(tmp_path, [ten, eleven]))
    assert [record.value for record in records.ranked(group)] == [100], "half a percent is no gain"


def test_repeats_that_differ_hide_small_gains(tmp_path: Path) -> None:
    default = line([80.0, 90.0, 100.0, 110.0, 120.0], CLOCK)
    small, large = line([93.0] * 5, CLOCK, lanes=8), line([70.0] * 5, CLOCK, lanes=4)
    assert len(records.ranked(records.read(write(tmp_path, [default, small])))) == 1
    assert len(records.ranked(records.read(write(tmp_path, [default, large])))) == 2


def test_final_rounds_count(tmp_path: Path) -> None:
    """What a search measured first and last may have met different clocks."""
    searched = [line([100.0], CLOCK), line([50.0], CLOCK, lanes=8)]
    again = [line([100.0], CLOCK, FINAL), line([120.0], CLOCK, FINAL, 8)]
    [best] = records.ranked(records.read(write(tmp_path, searched + again)))
    assert best.choice.values["chosen_lanes"] == 16


def test_ways_of_measuring_are_never_compared(tmp_path: Path) -> None:
    lines = [
        line([100.0]),
        line([1e-6], CLOCK, lanes=16),
        line([2e-6], CLOCK, lanes=8),
        line([90.0], lanes=4),
    ]
    best = records.best(records.read(write(tmp_path, lines)))
    assert best["step a", COUNT].value == 90
    assert best["step a", CLOCK].value == 1e-6


@pytest.mark.parametrize("torn", ['[0,[[[["GetSB', '["12', "\x00"])
def test_a_line_that_was_never_finished(torn: str, tmp_path: Path) -> None:
    write(tmp_path, [line([1.0]), torn], end="")
    assert len(records.read(tmp_path)) == 1
    records.repair(tmp_path)
    assert (tmp_path / RECORDS).read_text().count("\n") == 1
    assert len(records.read(tmp_path)) == 1


def test_a_whole_line_without_its_end_is_kept(tmp_path: Path) -> None:
    write(tmp_path, [line([1.0]), line([2.0], lanes=8)], end="")
    records.repair(tmp_path)
    assert len(records.read(tmp_path)) == 2
    assert (tmp_path / RECORDS).read_text().endswith("\n")


def test_other_contents_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [json.dumps([0, [[[], []], [1.0], {}, []]]), line([1.0])])
    with pytest.raises(TuningError, match=r"database_tuning_record.json, line 1: not a record of irnn_tvm"):
        records.read(tmp_path)


def test_merge_and_prune(tmp_path: Path) -> None:
    a = [line([100.0]), line([90.0], lanes=8)]
    b = [line([90.0], lanes=8), line([5.0], task="step b", workload=1), line([80.0], lanes=4)]
    write(tmp_path / "a" / "arm", a)
    write(tmp_path / "b" / "arm", b, workloads=2)
    write(tmp_path / "b" / "armv7", [line([1.0])])
    assert edit.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out") == 5
    workloads, found = edit.load(tmp_path / "out" / "arm")
    assert (len(workloads), len(found)) == (2, 4)
    assert records.best(found)["step a", COUNT].value == 80
    assert edit.merge([tmp_path / "out", tmp_path / "a"], tmp_path / "out") == 5, "nothing is there twice"
    assert edit.prune(tmp_path / "out", keep=0) == (5, 4)
    _, found = edit.load(tmp_path / "out" / "arm")
    assert sorted(record.value for record in found) == [5, 80, 100]


def test_reading_needs_neither_tvm_nor_torch(tmp_path: Path) -> None:
    write(tmp_path, [line([1.0])])
    code = (
        "import sys; from pathlib import Path; from irnn_tvm.tuning import records, edit\n"
        f"assert len(records.read(Path({str(tmp_path)!r}))) == 1\n"
        "assert not {'tvm', 'torch'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
