"""Parameters of tests of which `make test` runs a sample, and `make test-exhaustive` the rest."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


def sampled(values: Iterable[object], every: int) -> list[object]:
    """All values as parameters; but for the first of `every` of them, they are marked as exhaustive."""
    return [
        pytest.param(value, marks=[pytest.mark.exhaustive] if number % every else [])
        for number, value in enumerate(values)
    ]
