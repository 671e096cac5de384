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


USES = """
#define ENCODER_WITH_FLOAT
#include "tagger.h"
#include "encoder.h"
#include "tagger.h"
#define TAGGER_WITH_FLOAT
#include "tagger.h"
#include "encoder.h"

IRNN_ALIGNED static unsigned char state[TAGGER_STATE_BYTES], arena[TAGGER_ARENA_BYTES];
static TAGGER_INPUT_0_T ids[TAGGER_INPUT_0_SIZE];
static TAGGER_OUTPUT_0_T scores[TAGGER_OUTPUT_0_COUNT(1)];

int NAME(void);
int NAME(void) {
  float real[TAGGER_OUTPUT_0_SIZE];
  static const float given[2] = {0.5f, -1.0f};
  ENCODER_INPUT_0_T quantized[2];
  if (tagger_init(state) != IRNN_OK || tagger_step(state, arena, ids, scores) != IRNN_OK) return 1;
  tagger_dequantize_SCORES(scores, real, TAGGER_OUTPUT_0_SIZE);
  encoder_quantize_GIVEN(given, quantized, 2);
  return TAGGER_INPUTS + TAGGER_OUTPUTS + (quantized[0] > quantized[1]) == 3 ? 0 : 2;
}
"""
STANDARDS = {"c": ("c99", "c11", "c17"), "cpp": ("c++11", "c++17", "c++20")}


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("target", ["host", "cortex-m4", "c"])
def test_header_compiles_alone(
    target: str, compiler: str, library: Libraries, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """As C99 to C17 and C++11 to C++20, included twice, with and without floats, in two translation units and together
    with the header of another model."""
    built = [library(name, target) for name in ("tagger", "encoder")]
    paths = [word for one in built for word in ("-I", one.directory)]
    text = USES.replace("SCORES", built[0].outputs[0].name).replace("GIVEN", built[1].inputs[0].name)
    for suffix, standards in STANDARDS.items():
        sources = []
        for unit in ("one", "two"):
            sources.append(tmp_path / f"{unit}.{suffix}")
            sources[-1].write_text(text.replace("NAME", unit))
        main = tmp_path / f"main.{suffix}"
        main.write_text("int one(void);\nint two(void);\nint main(void) { return one() + two(); }\n")
        if compiler == "gcc":
            program: list[str | Path] = [require_tool("gcc" if suffix == "c" else "g++")]
        else:
            program = [find_zig(), "cc" if suffix == "c" else "c++"]
        # The whole range with gcc, which takes a fifth of the time.
        for standard in standards if compiler == "gcc" else standards[:1]:
            for source in sources:
                _run(
                    [
                        *program,
                        f"-std={standard}",
                        *STRICT,
                        *paths,
                        "-c",
                        source,
                        "-o",
                        source.with_suffix(".o"),
                    ]
                )
        if target == "host" and compiler == "gcc":
            link = [word for one in built for word in ("-L", one.directory, f"-l{one.name}")]
            link += [f"-Wl,-rpath,{one.directory}" for one in built]
            objects = [source.with_suffix(".o") for source in sources]
            _run([*program, main, *objects, *link, "-o", tmp_path / "main"])
            _run([tmp_path / "main"])


FLOATS = """
#define ENCODER_WITH_FLOAT
#include "encoder.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
  FILE *file = fopen(argv[argc - 1], "rb");
  float x;
  while (fread(&x, sizeof x, 1, file) == 1) {
    ENCODER_INPUT_0_T q;
    ENCODER_OUTPUT_0_T y;
    float real;
    encoder_quantize_GIVEN(&x, &q, 1);
    y = (ENCODER_OUTPUT_0_T)(q * 3);
    encoder_dequantize_SCORES(&y, &real, 1);
    printf("%d %d %a\\n", q, y, real);
  }
  return fclose(file);
}
"""


@pytest.mark.parametrize(
    "flags", [("-O2", "-march=native"), ("-O0", "-fsanitize=undefined", "-fno-sanitize-recover")]
)
def test_floats_become_the_integers_of_python(
    flags: tuple[str, ...], library: Libraries, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """Halves, their neighbours, what saturates, infinities; not-a-number, which Python refuses, is the zero point."""
    built = library("encoder", "host")
    given, result = built.inputs[0], built.outputs[0]
    assert given.scale is not None
    halves = ((np.arange(-300, 300) + 0.5) * given.scale).astype(np.float32)
    values = np.concatenate(
        [
            halves,
            np.nextafter(halves, np.float32(np.inf)),
            np.nextafter(halves, np.float32(-np.inf)),
            np.random.default_rng(1).normal(0, 200 * given.scale, 2000),
            [0.0, -0.0, 1e30, -1e30, np.inf, -np.inf, 1e-45, np.finfo(np.float32).max],
        ]
    ).astype(np.float32)
    (tmp_path / "x.bin").write_bytes(np.append(values, np.float32(np.nan)).tobytes())
    source = tmp_path / "main.c"
    source.write_text(FLOATS.replace("SCORES", result.name).replace("GIVEN", given.name))
    command = [require_tool("gcc"), "-std=c99", *STRICT, *flags, "-I", built.directory, source]
    _run([*command, "-o", tmp_path / "main"])
    rows = [line.split() for line in _run([tmp_path / "main", tmp_path / "x.bin"]).splitlines()]
    ours = np.array([int(row[0]) for row in rows])
    assert np.array_equal(ours[:-1], given.quantize(values).astype(int))
    assert ours[-1] == given.zero_point
    outputs = np.array([int(row[1]) for row in rows]).astype(result.dtype)
    assert np.array_equal([np.float32(float.fromhex(row[2])) for row in rows], result.dequantize(outputs))
