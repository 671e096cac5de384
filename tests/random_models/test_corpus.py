"""Every model that ever failed, as small as it could be made: corpus/*.py, whose first line says what went wrong."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from model_check import check

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.py"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_model_that_once_failed(path: Path) -> None:
    targets = tuple(runpy.run_path(str(path)).get("TARGETS", ()))
    outcome = check(path, path.read_text(encoding="utf-8"), targets)
    assert outcome.stage == "equal" or outcome.reason
