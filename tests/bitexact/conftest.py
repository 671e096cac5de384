"""The bundles of cases, their reference outputs, and their outputs on every target that a test asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from bundle import VARIANTS, Bundle, Outputs
from cases import BUNDLES, FEW_BUNDLES, SAMPLE
from tile_cases import TILE_BUNDLES, TILE_SAMPLE

from irnn_tvm import Library


@cache
def _bundle(name: str) -> Bundle:
    return Bundle((BUNDLES | FEW_BUNDLES | SAMPLE | TILE_BUNDLES | TILE_SAMPLE)[name])


@pytest.fixture(scope="session")
def reference() -> Callable[[str], Outputs]:
    """reference("recurrent"): what torch computes for the cases of a bundle."""
    return cache(lambda name: _bundle(name).reference())


@pytest.fixture(scope="session")
def library(built: Callable[..., Library]) -> Callable[[str, str], Library]:
    """library("recurrent", "arm"): a bundle built for a target."""

    def export(bundle: Bundle) -> torch.export.ExportedProgram:
        return torch.export.export(bundle, bundle.inputs("zeros"))

    return lambda name, target: built(f"bundle-{name}", target, lambda: export(_bundle(name)))


@pytest.fixture(scope="session")
def outputs(library: Callable[[str, str], Library]) -> Callable[[str, str], Outputs]:
    """outputs("recurrent", "arm"): what a target computes; built and run the first time that it is asked for."""

    @cache
    def get(name: str, target: str) -> Outputs:
        bundle = _bundle(name)
        results = library(name, target).run_many(tuple(x.numpy() for x in bundle.inputs(v)) for v in VARIANTS)
        return {v: bundle.by_case(result) for v, result in zip(VARIANTS, results, strict=True)}

    return get
