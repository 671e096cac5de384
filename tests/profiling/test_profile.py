"""The profile as a whole: its shape, that figures fit together, and that nothing of a library is changed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from profiled import integer_model
from test_twin import _digests
from typer.testing import CliRunner

import irnn_tvm
from irnn_tvm import Library
from irnn_tvm.cli import app
from irnn_tvm.errors import InputError, LoadError, ToolNotFoundError
from irnn_tvm.profiling import plot, profile, tables
from irnn_tvm.tuning.instruction_count import count_instructions
from irnn_tvm.tuning.measure import example_inputs

Libraries = Callable[[str, str], Library]
KEYS = {
    *(
        "name",
        "target",
        "where",
        "measure",
        "call",
        "steps",
        "instruction_set",
        "device",
        "per_step",
        "kernels",
    ),
    *("outside_kernels", "elementwise", "ceilings", "clocks"),
}
WORK = {"weight_bytes", "activation_bytes", "macs", "macs_per_weight_byte"}
TIME = {"us", "gbytes_per_s", "gbytes_per_s_ceiling", "gmacs_per_s", "floor_us", "bound_by", "roofline_share"}
COUNT = {"instructions", "instructions_per_mac"}
KERNEL = {"kernel", "op", "executions", "share", "elementwise_share"}


@pytest.mark.parametrize("steps", [1, 20])
def test_time(steps: int, library: Libraries) -> None:
    lib = library("tagger", "host")
    before = _digests(lib.directory)
    found = profile(lib.directory, steps=steps, model=integer_model("tagger"), seconds=0.1, levels=False)
    assert _digests(lib.directory) == before
    assert json.loads(json.dumps(found)) == found
    assert set(found) == KEYS
    assert found["measure"] == "time"
    assert found["call"] == ("step" if steps == 1 else "run")
    step = found["per_step"]
    assert set(step) == WORK | TIME
    assert all(set(row) == WORK | TIME | KERNEL for row in found["kernels"])
    shares = [row["share"] for row in found["kernels"]] + [found["outside_kernels"]["share"]]
    assert sum(shares) == pytest.approx(1, abs=0.15)
    assert step["macs"] == sum(row["macs"] for row in found["kernels"]) == lib.report["macs_per_step"]
    assert step["us"] > 0
    assert step["gbytes_per_s"] == pytest.approx(step["weight_bytes"] / step["us"] / 1e3, rel=0.01)
    ceilings = found["ceilings"]
    bounds = {"bandwidth": step["weight_bytes"] / step["gbytes_per_s_ceiling"] / 1e3}
    if ceilings["gmacs_per_s"]:
        bounds["products"] = step["macs"] / ceilings["gmacs_per_s"] / 1e3
    assert step["floor_us"] == pytest.approx(max(bounds.values()), rel=0.02, abs=1e-3)
    assert bounds[step["bound_by"]] == max(bounds.values())
    # Ceilings are the best and times a median: no kernel is faster than this core can be, on a busy machine either.
    assert all(row["roofline_share"] is None or row["roofline_share"] <= 1.15 for row in found["kernels"])
    assert 0 < found["elementwise"]["share"] <= 1
    assert found["clocks"]["us_per_step_with_clocks"] > 0
    assert [table.title for table in tables(found)]


@pytest.mark.emulator
@pytest.mark.parametrize("target", ["arm", "cortex-m4"])
def test_instructions(target: str, library: Libraries) -> None:
    lib = library("lstm", target)
    found = profile(lib.directory, steps=1, model=integer_model("lstm"))
    assert set(found) == KEYS
    assert found["measure"] == "instructions (emulated)"
    assert found["ceilings"] is found["clocks"] is found["device"] is None
    assert set(found["per_step"]) == WORK | COUNT
    inside = sum(row["instructions"] for row in found["kernels"])
    whole = found["per_step"]["instructions"]
    assert whole == pytest.approx(inside + found["outside_kernels"]["instructions"], abs=1)
    # What else `count_instructions` sees is the caller's loop.
    counted = count_instructions(lib, "step", example_inputs(lib, 1), 5)
    assert 0 < counted - whole < 40
    assert 0.02 < found["elementwise"]["share"] < 0.6
    assert [table.title for table in tables(found)]


def test_c_sources_are_profiled_as_they_are_compiled_here(library: Libraries, require_tool, once) -> None:
    require_tool("gcc")
    folder = once(
        "profiled-c", lambda path: irnn_tvm.build(integer_model("lstm"), "c", out=path, name="lstm")
    )
    found = profile(folder, steps=1, seconds=0.05, levels=False)
    assert found["ceilings"]["gmacs_per_s"] is None
    assert found["per_step"]["bound_by"] == "bandwidth"
    assert found["elementwise"] is None
    assert [table.title for table in tables(found)]


def test_lengths_are_checked(library: Libraries) -> None:
    with pytest.raises(InputError):
        profile(library("lstm", "host").directory, steps=1000)
    with pytest.raises(InputError, match="must be positive"):
        profile(library("lstm", "host").directory, seconds=0, levels=False)


def test_a_library_without_symbols_or_source_is_refused(library: Libraries, tmp_path: Path) -> None:
    copy = library("lstm", "host").export(tmp_path / "copy")
    (copy / "lstm.c").rename(copy / "other.c")
    report = json.loads((copy / "report.json").read_text())
    report["files"]["sources"] = []
    (copy / "report.json").write_text(json.dumps(report))
    with pytest.raises(LoadError, match=r"lstm\.c is missing: without it kernels cannot be timed"):
        profile(copy, steps=1)
    (copy / "other.c").rename(copy / "lstm.c")
    _strip(copy / "liblstm.so")
    with pytest.raises(LoadError, match="no symbol table"):
        profile(copy, steps=1)


def _strip(library: Path) -> None:
    """Turns the symbol table into a section of no type."""
    data = bytearray(library.read_bytes())
    elf = ELFFile(io.BytesIO(bytes(data)))
    for number, section in enumerate(elf.iter_sections()):
        if section.name == ".symtab":
            at = elf["e_shoff"] + number * elf["e_shentsize"] + 4
            data[at : at + 4] = bytes(4)
    other = library.with_suffix(".stripped")
    other.write_bytes(data)
    other.replace(library)  # the file that is loaded stays as it is


@pytest.mark.emulator
def test_without_qemu(library: Libraries, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lib = library("lstm", "cortex-m4")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolNotFoundError, match="apt-get install qemu-system-arm"):
        profile(lib.directory, steps=1)
    result = CliRunner().invoke(app, ["bench", str(lib.directory), "--profile"])
    assert result.exit_code == 2
    assert "ToolNotFoundError" in result.output


@pytest.mark.emulator
def test_instructions_have_no_roofline(library: Libraries, tmp_path: Path) -> None:
    found = profile(library("lstm", "arm").directory, steps=1)
    with pytest.raises(InputError, match="instructions have no roofline"):
        plot(found, tmp_path / "roofline.png")


def test_command(library: Libraries, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    lib = library("lstm", "host")
    model = tmp_path / "lstm.pt2"
    irnn_tvm.save_program(integer_model("lstm"), model)
    picture = tmp_path / "roofline.png"
    arguments = ["bench", str(lib.directory), "--profile", "--steps", "4"]
    result = CliRunner().invoke(app, [*arguments, "--model", str(model), "--plot", str(picture)])
    assert result.exit_code == 0, result.output
    for words in (
        "lstm_step",
        "of the roofline",
        "GMAC/s",
        "% of the step",
        "ceilings of this core",
        "memory",
    ):
        assert words in result.output, words
    assert picture.read_bytes().startswith(b"\x89PNG")
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert set(json.loads(result.output)) == KEYS
    result = CliRunner().invoke(app, ["bench", str(lib.directory), "--plot", str(picture)])
    assert result.exit_code == 2
    assert "--profile" in result.output
