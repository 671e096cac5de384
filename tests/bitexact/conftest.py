"""The bundles of cases, their reference outputs, and their outputs on every target that a test asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from bundle import VARIANTS, Bundle, Outputs
from cases import BUNDLES

import irnn_tvm
from irnn_tvm.compiler.compile_sources import compile_c_library


@cache
def _bundle(name: str) -> Bundle:
    return Bundle(BUNDLES[name])


@pytest.fixture(scope="session")
def reference() -> Callable[[str], Outputs]:
    """reference("recurrent"): what torch computes for the cases of a bundle."""
    return cache(lambda name: _bundle(name).reference())


@pytest.fixture(scope="session")
def outputs(
    tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]
) -> Callable[[str, str], Outputs]:
    """outputs("recurrent", "arm"): builds a bundle for a target and runs it, the first time that it is asked for."""
    folder = tmp_path_factory.mktemp("bundles")

    @cache
    def get(name: str, target: str) -> Outputs:
        emulator = irnn_tvm.TARGETS[target].emulator
        if emulator is not None:
            require_tool(emulator.qemu)
        return _run(_bundle(name), target, folder / f"{name}-{target}", require_tool)

    return get


def _run(bundle: Bundle, target: str, folder: Path, require_tool: Callable[[str], str]) -> Outputs:
    program = torch.export.export(bundle, bundle.inputs("zeros"))
    library = irnn_tvm.build(program, target, out=folder)
    if target == "c":
        library = compile_c_library(folder, require_tool("gcc"))
    results = library.run_many(tuple(x.numpy() for x in bundle.inputs(v)) for v in VARIANTS)
    return {v: bundle.by_case(result) for v, result in zip(VARIANTS, results, strict=True)}
