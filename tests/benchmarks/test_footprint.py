"""benchmarks/footprint.py: what is counted in a library's file, and libraries whose kernels do nothing."""

from __future__ import annotations

from pathlib import Path

import footprint
import numpy as np
import pytest
from code_size import code_size
from disassembly import sections
from layers import build, integer_model
from performance_tables import code_size_table, footprint_table
from workloads import Workload

from irnn_tvm import Library
from irnn_tvm.errors import InputError

LAYER = Workload("lstm", 24, layers=2)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return build(integer_model(LAYER), LAYER, "host", tmp_path_factory.mktemp("footprint"), 32)


def file(library: Library) -> Path:
    return library.directory / library.report["files"]["library"]


def test_every_byte_that_is_loaded_counts_once(library: Library) -> None:
    found = code_size(file(library), library.name)
    loaded = [
        section["sh_size"]
        for section, _ in sections(file(library))
        if section["sh_flags"] & 2 and section["sh_type"] != "SHT_NOBITS"
    ]
    assert found["beside_weights_bytes"] + found["weight_bytes"] == sum(loaded)
    parts = found["code_bytes"] + found["constant_bytes"] + found["other_bytes"]
    assert found["beside_weights_bytes"] == parts
    assert found["weight_bytes"] == sum(entry["bytes"] for entry in library.report["weights"])
    assert found["file_bytes"] >= sum(loaded)
    assert all(value >= 0 for value in found.values())


def test_names_that_are_no_weights_are_code_or_constants(library: Library) -> None:
    whole, other = code_size(file(library), library.name), code_size(file(library), "another")
    assert other["weight_bytes"] == 0
    assert other["constant_bytes"] == whole["constant_bytes"] + whole["weight_bytes"]


def test_less_than_40_kib_beside_the_weights(library: Library) -> None:
    assert code_size(file(library), library.name)["beside_weights_bytes"] < 40 * 1024


def test_kernels_that_do_nothing(library: Library, tmp_path: Path) -> None:
    empty = footprint.empty_kernels(library, tmp_path / "empty")
    x = np.ones((1, 1, LAYER.hidden), np.int8)
    y = np.full((1, 1, LAYER.hidden), 77, np.int8)
    before = library.stream().step(x)
    assert (empty.stream().step(x, out=y) == 77).all()  # no kernel wrote it
    stream = empty.stream()
    stream.state = bytes(len(stream.state))
    with pytest.raises(InputError, match="code -5"):  # the library's own checks are there
        stream.step(x)
    assert np.array_equal(library.stream().step(x), before)  # the copied one is as it was


@pytest.mark.parametrize("mode", ["start", "call", "memory", "bare"])
def test_the_program_prints_a_number(library: Library, tmp_path: Path, mode: str) -> None:
    caller = footprint.compile_program(footprint.HERE / "footprint_caller.c", tmp_path / "caller")
    assert footprint.in_c(caller, mode, library, count=2, calls=10) > 0


def test_the_program_says_what_is_wrong(library: Library, tmp_path: Path) -> None:
    caller = footprint.compile_program(footprint.HERE / "footprint_caller.c", tmp_path / "caller")
    sizes = ["64", "4096", "64", "64", "1"]
    for command, words in (
        (["start", str(tmp_path / "none.so"), "none", *sizes], "none.so"),
        (["start", str(file(library)), "another", *sizes], "another_init"),
        (["start"], "number of arguments"),
    ):
        with pytest.raises(RuntimeError, match=words):
            footprint.output([str(caller), *command])


@pytest.mark.parametrize("program", [footprint.START, footprint.STEP, footprint.IMPORT])
def test_programs_of_python(library: Library, program: str) -> None:
    assert footprint.in_python(program, library, count=1) > 0


def test_rows_of_sizes_make_a_table() -> None:
    rows = list(footprint.sizes(["lstm-128"], ["host"]))
    assert [(row["bench"], row["workload"], row["target"]) for row in rows] == [
        ("code size", "lstm-128", "host")
    ]
    assert f"| {rows[0]['weight_bytes']:,} |" in code_size_table(rows)[2]


def test_goals_stand_beside_figures() -> None:
    row = {"figure": "start", "workload": "lstm-1024", "value": 1.234, "unit": "ms", "digits": 2, "goal": 5}
    assert footprint_table([row])[2] == "| start | lstm-1024 | 1.23 ms | < 5 ms |"
    assert footprint_table([row | {"goal": None}])[2] == "| start | lstm-1024 | 1.23 ms |  |"


def test_declarations_become_definitions() -> None:
    source = "extern const int8_t a_w0[128]; /* 1 */\nextern void a_k_x(const int8_t *p0, int8_t *p1);\nint a(void);"
    text = footprint.without_kernels(source)
    assert text.splitlines()[1:] == [
        "const int8_t a_w0[1] = {0};",
        "void a_k_x(const int8_t *p0, int8_t *p1) {}",
    ]
