"""Data movement by all of its names: integers of a library equal the reference's, for every length."""

from __future__ import annotations

import pytest
from movement_rows import MOVEMENT
from written_models import outcome_of, source

IN_ONE_MODEL = 8


@pytest.mark.parametrize("target", ["host", pytest.param("c", marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("first", range(0, len(MOVEMENT), IN_ONE_MODEL))
def test_forms_of_movement(first: int, target: str) -> None:
    forms = MOVEMENT[first : first + IN_ONE_MODEL]
    body = "return {" + ", ".join(f"{form!r}: {form}" for form in forms) + "}"
    outcome = outcome_of(source(body), target)
    assert outcome.stage == "equal", outcome.reason


def test_memory_read_as_another_type_is_refused() -> None:
    outcome = outcome_of(source("return y.view(torch.int32).float()"))
    assert outcome.error == "UnsupportedModuleError"
    assert "view" in outcome.reason
