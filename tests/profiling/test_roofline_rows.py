"""benchmarks/roofline.py: rows of a profile, and the section of docs/performance.md that they become."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from profiled import integer_model

from irnn_tvm import Library
from irnn_tvm.profiling import profile

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[ModuleType, ModuleType]]:
    """roofline.py and roofline_section.py, with results in a folder of the test."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import roofline
    import roofline_section

    monkeypatch.setattr(roofline_section, "RESULTS", tmp_path / "roofline.jsonl")
    yield roofline, roofline_section
    for name in ("roofline", "roofline_section", "workloads"):
        sys.modules.pop(name, None)


@pytest.mark.emulator
def test_rows_become_a_section(
    scripts: tuple[ModuleType, ModuleType], library: Callable[[str, str], Library]
) -> None:
    roofline, section = scripts
    assert section.roofline_section() == []
    rows = []
    for target in ("host", "arm"):
        found = profile(
            library("lstm", target).directory,
            steps=1,
            model=integer_model("lstm"),
            seconds=0.05,
            levels=False,
        )
        rows.append(roofline.row("lstm-128", 1, found))
    assert json.loads(json.dumps(rows)) == rows
    section.add([rows[0] | {"us": 1e9}])
    section.add(rows)  # replaces the row before
    assert section.load(section.RESULTS) == rows
    lines = section.roofline_section()
    assert lines[0].startswith("## ")
    timed = next(
        line for line in lines if line.startswith("| lstm-128 | 1 |") and f"{rows[0]['us']:,.2f}" in line
    )
    assert timed.count("|") == 11
    assert f"{100 * rows[0]['elementwise_share']:.0f} %" in timed
    counted = next(line for line in lines if f"| {rows[1]['instructions']:,.0f} |" in line)
    assert counted.endswith(f"| {100 * rows[1]['elementwise_share']:.0f} % |")
