"""C99 sources for microcontrollers: the integers of the reference with intrinsics (emulated) and without (here)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import irnn_tvm
from irnn_tvm import IntegerModel, Library
from irnn_tvm.compiler import toolchain
from irnn_tvm.compiler.compile_sources import compile_c_library
from irnn_tvm.errors import BuildError

Libraries = Callable[..., Library]
BOARDS = ("cortex-m0plus", "cortex-m4", "cortex-m33", "cortex-m55", "riscv32")


@pytest.mark.emulator
@pytest.mark.parametrize("target", BOARDS)
def test_sources_compute_the_same(
    target: str,
    library: Libraries,
    model: IntegerModel,
    sequence: np.ndarray,
    require_tool: Callable[[str], str],
) -> None:
    expected = model(torch.from_numpy(sequence)).numpy()
    built = library(target, sources=True)
    assert built.report["kind"] == "sources"
    assert np.array_equal(built.run(sequence), expected)
    portable = compile_c_library(built.directory, require_tool("gcc"))
    assert np.array_equal(portable.run(sequence), expected)


def test_more_than_512_activations(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    """Sums of two rows in one register are taken apart after every 512 activations: all of the largest products."""
    weight = torch.full((6, 1100), -127, dtype=torch.int8)
    weight[1::2] = 127

    class Sums(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("w", weight)
            self.register_buffer("bias", torch.arange(6, dtype=torch.int32))
            self.register_buffer("mult", torch.full((6,), 2**30, dtype=torch.int32))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ops.irnn.linear(x, self.w, self.bias, self.mult, 30, 0, 32)

    sums = Sums()
    x = torch.full((1, 1100), -128, dtype=torch.int8)
    expected = sums(x).numpy()
    assert abs(expected).max() > 1 << 23
    program = torch.export.export(sums, (x,))
    require_tool("qemu-system-arm")
    for target in ("cortex-m4", "cortex-m55"):
        for sources in (False, True):
            built = irnn_tvm.build(program, target, out=tmp_path / f"{target}{sources}", sources=sources)
            assert np.array_equal(built.run(x.numpy()), expected)
            if sources:
                assert np.array_equal(compile_c_library(built.directory).run(x.numpy()), expected)


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_another_compiler_takes_them(
    target: str, library: Libraries, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    gcc = require_tool("arm-none-eabi-gcc")
    built = library(target, sources=True)
    flags = [f"-mcpu={target}", "-O2", "-std=c99", "-Wall", "-Wextra", "-Werror"]
    flags += ["-isystem", str(toolchain.FIRMWARE / "include")]
    for file in (*built.report["files"]["sources"], "tiny_selftest.c"):
        done = subprocess.run(
            [gcc, *flags, "-c", str(built.directory / file), "-o", str(tmp_path / "out.o")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_sources_of_what_is_no_microcontroller_are_refused(model: IntegerModel) -> None:
    with pytest.raises(BuildError, match="sources=True is for microcontrollers, not for arm; target 'c'"):
        irnn_tvm.build(model, "arm", sources=True)
