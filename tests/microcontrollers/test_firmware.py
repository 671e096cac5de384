"""Firmware with a library's self-test runs on every board; what the self-test looks for is found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import irnn_tvm
from irnn_tvm import IntegerModel, Library
from irnn_tvm.cli import app
from irnn_tvm.compiler import firmware_image
from irnn_tvm.errors import BuildError, EmulatorError

pytestmark = pytest.mark.emulator
Libraries = Callable[..., Library]
BOARDS = [
    (target.name, board)
    for target in irnn_tvm.TARGETS.values()
    if target.is_bare_metal
    for board in firmware_image.boards(target)
]


@pytest.mark.parametrize(("target", "board"), BOARDS)
def test_the_self_test_passes(target: str, board: str, library: Libraries, tmp_path: Path) -> None:
    image = firmware_image.link(library(target), tmp_path / "firmware.elf", board)
    firmware_image.run(image)
    report = library(target).report
    assert image.flash["weights and tables"] == report["weight_bytes"]
    assert image.ram["state"] == report["state_bytes"]
    assert image.ram["arena"] == report["arena_bytes"]
    assert all(size > 0 for size in (*image.flash.values(), *image.ram.values()))


@pytest.mark.parametrize(
    ("pattern", "replacement", "code"),
    [
        (r"(expected0\[\d+\] = \{\s*)(-?\d+)", lambda m: f"{m[1]}{(int(m[2]) + 1) % 100}", 1),
        (r"_INTERFACE \^ 1u", lambda _: "_INTERFACE", 5),
        (r"memory \+ ARENA \+ 1", lambda _: "memory + ARENA", 6),
        (r"\] \^= 1u", lambda _: "] ^= 0u", 4),
    ],
)
def test_the_self_test_can_fail(
    pattern: str, replacement: Callable[[re.Match[str]], str], code: int, library: Libraries, tmp_path: Path
) -> None:
    """With another expectation, or without the mistake that the library has to refuse."""
    folder = library("cortex-m4").export(tmp_path / "library")
    source = folder / "tiny_selftest.c"
    text, changes = re.subn(pattern, replacement, source.read_text(), count=1)
    assert changes == 1
    source.write_text(text)
    image = firmware_image.link(irnn_tvm.load(folder), tmp_path / "firmware.elf")
    with pytest.raises(EmulatorError, match="the self-test failed"):
        firmware_image.run(image)
    main = (folder / "tiny_selftest.h").read_text()
    assert f"= {code}," in main or f"= {code} " in main


def test_command(library: Libraries, tmp_path: Path) -> None:
    elf = tmp_path / "f.elf"
    arguments = ["firmware", str(library("cortex-m55").directory), "-o", str(elf), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["board"], found["self_test"]) == ("mps3-an547", "passed")
    assert found["instructions_per_step"] > 500
    assert 0 < found["stack_bytes_measured"] <= found["stack_bytes_bound"]
    assert elf.is_file()
    assert len(found["outputs"]) == 1


def test_command_with_a_graph(model: IntegerModel, library: Libraries, tmp_path: Path) -> None:
    """A .pt2 file is built for the target on the way, with the outputs of a library that was built before."""
    irnn_tvm.save_program(model, tmp_path / "tiny-net.pt2")
    result = CliRunner().invoke(
        app, ["firmware", str(tmp_path / "tiny-net.pt2"), "-t", "cortex-m33", "--json"]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["library"], found["self_test"]) == ("tiny_net for cortex-m33", "passed")
    directory = str(library("cortex-m55").directory)
    before = json.loads(CliRunner().invoke(app, ["firmware", directory, "--json"]).stdout)
    assert found["outputs"] == before["outputs"]
    refused = CliRunner().invoke(app, ["firmware", directory, "-t", "cortex-m4"])
    assert refused.exit_code == 2
    assert "was built for cortex-m55, not for cortex-m4" in refused.output


def test_bad_requests(library: Libraries, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="No board 'mps2-an386' with a cortex-m55; there are: mps3-an547"):
        firmware_image.link(library("cortex-m55"), tmp_path / "f.elf", "mps2-an386")
    with pytest.raises(BuildError, match="host is no microcontroller"):
        firmware_image.link(library("host"), tmp_path / "f.elf")
    assert not (tmp_path / "f.elf").exists()
