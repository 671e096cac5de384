"""Libraries of the small models, each built once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from profiled import integer_model

from irnn_tvm import Library


@pytest.fixture(scope="session")
def library(built: Callable[..., Library]) -> Callable[[str, str], Library]:
    """library("lstm", "arm")"""
    return lambda name, target: built(
        f"profiled-{name}", target, lambda: integer_model(name), name=name, max_seq_len=40
    )
