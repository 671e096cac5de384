"""docs/training.md: its example runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL))
    exec(compile(code, "training.md", "exec"), {})
    correct = re.search(r"correct: ([\d.]+)", capsys.readouterr().out)
    assert correct is not None
    assert float(correct[1]) > 0.95
