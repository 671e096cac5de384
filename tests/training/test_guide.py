"""docs/training.md: its blocks run as they stand, one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_block_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) >= 4
    names: dict[str, Any] = {}
    for number, code in enumerate(blocks):
        exec(compile(code, f"training.md, block {number}", "exec"), names)
    said = dict(re.findall(r"(correct|averaged): ([\d.]+)", capsys.readouterr().out))
    assert float(said["correct"]) > 0.95
    assert float(said["averaged"]) > 0.95
    integers = names["averaged"].state_dict(), names["integer"].state_dict()
    assert any((a != b).any() for a, b in zip(*(s.values() for s in integers), strict=True))
