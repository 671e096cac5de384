"""The bundle of all cases, its reference outputs, and its outputs on every target that a test asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bundle import VARIANTS, Array, Bundle
from cases import CASES

import irnn_tvm
from irnn_tvm.compiler.compile_sources import compile_c_library

# variant -> case -> outputs
Outputs = dict[str, dict[str, tuple[Array, ...]]]


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return Bundle(CASES)


@pytest.fixture(scope="session")
def reference(bundle: Bundle) -> Outputs:
    """What torch computes."""
    return {v: bundle.by_case(y.numpy() for y in bundle(*bundle.inputs(v))) for v in VARIANTS}


@pytest.fixture(scope="session")
def outputs(
    bundle: Bundle, tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]
) -> Callable[[str], Outputs]:
    """outputs("arm"): builds the bundle for the target and runs all variants, the first time that it is asked."""
    cache: dict[str, Outputs] = {}

    def get(target: str) -> Outputs:
        emulator = irnn_tvm.TARGETS[target].emulator
        if emulator is not None:
            require_tool(emulator.qemu)
        if target not in cache:
            cache[target] = run_on(target, tmp_path_factory.mktemp("bundle") / target)
        return cache[target]

    def run_on(target: str, folder: Path) -> Outputs:
        program = torch.export.export(bundle, bundle.inputs("zeros"))
        library = irnn_tvm.build(program, target, name="bundle", out=folder)
        if target == "c":
            library = compile_c_library(folder, require_tool("gcc"))
        results = library.run_many(tuple(x.numpy() for x in bundle.inputs(v)) for v in VARIANTS)
        return {v: bundle.by_case(result) for v, result in zip(VARIANTS, results, strict=True)}

    return get
