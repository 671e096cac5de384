"""A plain C or C++ program uses a build: its header compiles alone, and the integers are those of torch."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from samples import reference, sample

import irnn_tvm
from irnn_tvm import Library
from irnn_tvm.compiler.toolchain import find_zig

Libraries = Callable[[str, str], Library]
STEPS = 9
PROGRAM = """
#include "tagger.h"
#include <stdio.h>
#include <string.h>

enum {{ STEPS = {steps}, ROW = {row} }};
static const int32_t ids[STEPS] = {{{ids}}};
static union {{ long double alignment; unsigned char bytes[TAGGER_STATE_BYTES]; }} one, two;
static union {{ long double alignment; unsigned char bytes[TAGGER_ARENA_BYTES]; }} arena;

int main(void) {{
  int16_t whole[STEPS * ROW], stepped[ROW], other[ROW];
  const int32_t wrong = 1000000;
  int t;
  if (tagger_step(&one, &arena, ids, stepped) != IRNN_E_STATE) return 1;
  if (tagger_init(&one) != IRNN_OK || tagger_init(&two) != IRNN_OK) return 2;
  if (tagger_init(NULL) != IRNN_E_NULL || tagger_init(one.bytes + 1) != IRNN_E_ALIGN) return 3;
  if (tagger_run(&one, &arena, 0, ids, whole) != IRNN_E_LENGTH) return 4;
  if (tagger_step(&one, &arena, &wrong, stepped) != IRNN_E_INDEX) return 5;
  if (tagger_step(&one, NULL, ids, stepped) != IRNN_E_NULL) return 6;
  if (tagger_run(&one, &arena, STEPS, ids, whole) != IRNN_OK) return 7;
  if (tagger_reset(&one) != IRNN_OK) return 8;
  /* Two streams in turn, the second one three steps behind, share one arena. */
  for (t = 0; t < STEPS; ++t) {{
    if (tagger_step(&one, &arena, ids + t, stepped) != IRNN_OK) return 9;
    if (memcmp(stepped, whole + t * ROW, sizeof stepped) != 0) return 10;
    if (t >= 3 && tagger_step(&two, &arena, ids + t - 3, other) != IRNN_OK) return 11;
    if (t >= 3 && memcmp(other, whole + (t - 3) * ROW, sizeof other) != 0) return 12;
  }}
  for (t = 0; t < STEPS * ROW; ++t) printf("%d\\n", whole[t]);
  return 0;
}}
"""
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")


def _run(command: Sequence[str | Path]) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def program(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A C program and what it must print."""
    inputs = sample("tagger", STEPS)
    expected = reference("tagger", inputs)
    ids = ", ".join(str(value) for value in inputs[0].ravel())
    source = tmp_path / "main.c"
    source.write_text(PROGRAM.format(steps=STEPS, row=expected[0].size, ids=ids))
    return source, expected


@pytest.mark.parametrize(
    "target",
    [
        "host",
        pytest.param(
            "x86",
            marks=pytest.mark.skipif(not irnn_tvm.TARGETS["x86"].runs_natively, reason="not a CPU with AVX2"),
        ),
    ],
)
def test_program_with_the_shared_library(
    target: str,
    program: tuple[Path, np.ndarray],
    library: Libraries,
    tmp_path: Path,
    require_tool: Callable[[str], str],
) -> None:
    source, expected = program
    folder = library("tagger", target).directory
    link = ["-I", folder, "-L", folder, "-ltagger", f"-Wl,-rpath,{folder}"]
    _run([require_tool("gcc"), "-std=c99", *STRICT, source, *link, "-o", tmp_path / "main"])
    assert [int(line) for line in _run([tmp_path / "main"]).split()] == expected.ravel().tolist()


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(("-O0",), id="O0"),
        pytest.param(("-O3", "-march=native"), id="O3"),
        pytest.param(("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"), id="sanitizers"),
    ],
)
def test_program_with_the_c_sources(
    program: tuple[Path, np.ndarray],
    flags: tuple[str, ...],
    c_sources: Path,
    tmp_path: Path,
    require_tool: Callable[[str], str],
) -> None:
    source, expected = program
    sources = [c_sources / name for name in irnn_tvm.load(c_sources).report["files"]["sources"]]
    command = [require_tool("gcc"), "-std=c99", *flags, *STRICT, "-I", c_sources]
    _run([*command, source, *sources, "-o", tmp_path / "main"])
    assert [int(line) for line in _run([tmp_path / "main"]).split()] == expected.ravel().tolist()


@pytest.mark.parametrize("triple", ["x86_64-linux-musl", "riscv32-linux-musl", "aarch64_be-linux-musl"])
def test_c_sources_compile_for_anything(triple: str, c_sources: Path, tmp_path: Path) -> None:
    """With clang, for machines that are no target."""
    for name in irnn_tvm.load(c_sources).report["files"]["sources"]:
        command = [find_zig(), "cc", "-target", triple, "-std=c99", "-O2", *STRICT, "-c", c_sources / name]
        _run([*command, "-o", tmp_path / f"{name}.o"])


@pytest.mark.parametrize("target", ["host", "cortex-m4", "c"])
def test_header_compiles_alone(target: str, library: Libraries, tmp_path: Path) -> None:
    """As C99, as C++, included twice and together with the header of another model."""
    folders = [library(name, target).directory for name in ("tagger", "encoder")]
    text = "".join(f'#include "{name}.h"\n' for name in ("tagger", "encoder", "tagger"))
    paths = [word for folder in folders for word in ("-I", folder)]
    for suffix, standards in (("c", ("c99", "c17")), ("cpp", ("c++11", "c++20"))):
        source = tmp_path / f"main.{suffix}"
        source.write_text(text + "int main(void) { return tagger_init(0) == encoder_init(0); }\n")
        for standard in standards:
            command = [find_zig(), "cc" if suffix == "c" else "c++", f"-std={standard}", *STRICT, *paths]
            _run([*command, "-c", source, "-o", tmp_path / "main.o"])
