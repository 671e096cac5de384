"""The libraries of the sample models, built once per target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from samples import integer_model

import irnn_tvm
from irnn_tvm import Library


@pytest.fixture(scope="session")
def library(built: Callable[..., Library]) -> Callable[[str, str], Library]:
    """library("tagger", "arm")"""
    return lambda name, target: built(f"sample-{name}", target, lambda: integer_model(name), name=name)


@pytest.fixture(scope="session")
def c_sources(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The folder of the tagger built for target c."""
    return once(
        "sample-tagger-c", lambda path: irnn_tvm.build(integer_model("tagger"), "c", out=path, name="tagger")
    )
