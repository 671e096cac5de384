"""What build and its inputs refuse: a named exception, the thing and the reason in its text, nothing half written."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm import IntegerModel, Library, errors, ops

pytestmark = pytest.mark.xdist_group("errors")


class Product(nn.Module):
    """y = linear(x) with weights of one value: the smallest integer program."""

    def __init__(
        self, depth: int = 4, bias: int = 0, shift: int = 30, mult: int = 2**30, zp: int = 0
    ) -> None:
        super().__init__()
        self.register_buffer("w", torch.full((2, depth), 127, dtype=torch.int8))
        self.register_buffer("bias", torch.full((2,), bias, dtype=torch.int32))
        self.register_buffer("mult", torch.full((2,), mult, dtype=torch.int32))
        self.shift, self.zp = shift, zp

    def forward(self, x: Tensor) -> Tensor:
        return ops.linear(x, self.w, self.bias, self.mult, self.shift, self.zp, 16)


def _program(module: nn.Module, shape: tuple[int, ...] = (1, 4)) -> torch.export.ExportedProgram:
    return torch.export.export(module, (torch.zeros(shape, dtype=torch.int8),))


@pytest.fixture(scope="module")
def model() -> IntegerModel:
    torch.manual_seed(0)
    batches = [torch.randn(6, 2, 5) for _ in range(2)]
    return irnn_tvm.quantize(nn.LSTM(5, 4), batches, irnn_tvm.QuantConfig(gate_bits=8, cell_bits=8))


@pytest.fixture(scope="module")
def library(model: IntegerModel) -> Library:
    return irnn_tvm.build(model)


def test_typo_in_the_target(model: IntegerModel) -> None:
    with pytest.raises(errors.UnknownTargetError, match="cortex-m4"):
        irnn_tvm.build(model, target="cortexm4")


@pytest.mark.parametrize("name", ["", "Model", "2model", "my-model", "réseau"])
def test_a_name_that_c_cannot_have(model: IntegerModel, name: str) -> None:
    with pytest.raises(errors.BuildError, match="cannot prefix C symbols"):
        irnn_tvm.build(model, name=name)


@pytest.mark.parametrize("size", ["batch", "seq_len", "max_seq_len"])
def test_sizes_below_one(model: IntegerModel, size: str) -> None:
    with pytest.raises(errors.InputError, match=f"{size}=0"):
        irnn_tvm.build(model, **{size: 0})


@pytest.mark.parametrize(("size", "shape"), [("batch", (6, 1, 5)), ("seq_len", (1, 2, 5))])
def test_a_size_that_the_calibration_fixed(size: str, shape: tuple[int, ...]) -> None:
    config = irnn_tvm.QuantConfig(gate_bits=8)
    fixed = irnn_tvm.quantize(nn.GRU(5, 4), [torch.randn(shape) for _ in range(2)], config)
    with pytest.raises(errors.InputError, match=f"{size}=4.*at least 2"):
        irnn_tvm.build(fixed, **{size: 4})


def test_a_float_module_without_calibration() -> None:
    with pytest.raises(errors.BuildError, match="quantize it first"):
        irnn_tvm.build(nn.LSTM(3, 4))


def test_something_that_is_no_model() -> None:
    with pytest.raises(errors.BuildError, match="cannot build: the model is a dict"):
        irnn_tvm.build({})


def test_a_float_program() -> None:
    program = torch.export.export(nn.Linear(4, 2), (torch.zeros(1, 4),))
    with pytest.raises(errors.UnsupportedModuleError, match="aten"):
        irnn_tvm.build(program)


def test_a_program_without_an_irnn_operator() -> None:
    class Copy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(2, 2)

    with pytest.raises(errors.ProgramError, match="no irnn op"):
        irnn_tvm.build(_program(Copy()))


def test_an_accumulator_that_could_overflow() -> None:
    with pytest.raises(errors.AccumulatorOverflowError, match=r"irnn\.linear .*row 0 can reach"):
        irnn_tvm.build(_program(Product(bias=2**31 - 1)))


def test_more_terms_than_an_accumulator_holds() -> None:
    with pytest.raises(errors.AccumulatorOverflowError, match="an int32 accumulator holds 2147483647"):
        irnn_tvm.build(_program(Product(depth=140_000), (1, 140_000)))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"shift": 63}, "shift 63"),
        ({"zp": 5}, "16-bit tensors have zero point 0"),
        ({"mult": 0}, "multiplier"),
    ],
)
def test_parameters_outside_the_contract(settings: dict[str, int], match: str) -> None:
    with pytest.raises(errors.BuildError, match=match):
        irnn_tvm.build(_program(Product(**settings)))


def test_missing_compiler(model: IntegerModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IRNN_ZIG", str(tmp_path / "nowhere"))
    with pytest.raises(errors.ToolNotFoundError, match="IRNN_ZIG"):
        irnn_tvm.build(model, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_missing_emulator(
    model: IntegerModel, monkeypatch: pytest.MonkeyPatch, require_tool: Callable[[str], str]
) -> None:
    require_tool("qemu-aarch64")
    library = irnn_tvm.build(model, target="arm")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(errors.ToolNotFoundError, match="qemu-user"):
        library.run(np.zeros((3, 1, 5), np.int8))


@pytest.mark.parametrize("kept", [0, 10, 2000, -1])
def test_truncated_program(model: IntegerModel, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "model.pt2"
    irnn_tvm.save_program(model, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(errors.ProgramError, match=r"model\.pt2"):
        irnn_tvm.build(path)


def test_program_with_a_damaged_byte(model: IntegerModel, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    irnn_tvm.save_program(model, path)
    with zipfile.ZipFile(path) as archive:
        entry = max(archive.infolist(), key=lambda item: item.file_size)
        offset = entry.header_offset + 200
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(errors.ProgramError, match=r"model\.pt2"):
        irnn_tvm.build(path)


def test_missing_program(tmp_path: Path) -> None:
    with pytest.raises(errors.ProgramError, match="does not exist"):
        irnn_tvm.build(tmp_path / "nothing.pt2")


def test_a_zip_that_is_no_program(tmp_path: Path) -> None:
    path = tmp_path / "other.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello", "world")
    with pytest.raises(errors.ProgramError, match="cannot be read as an exported program"):
        irnn_tvm.build(path)


def test_a_failing_save_leaves_nothing(model: IntegerModel, tmp_path: Path) -> None:
    with pytest.raises(errors.ProgramError, match="nowhere is not a directory"):
        irnn_tvm.save_program(model, tmp_path / "nowhere" / "model.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_destination_with_other_things_in_it(model: IntegerModel, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(errors.BuildError, match="is not an earlier build"):
        irnn_tvm.build(model, out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_destination_that_is_a_file(model: IntegerModel, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(errors.BuildError, match="is a file"):
        irnn_tvm.build(model, out=path)
    assert path.read_text() == "mine"


def test_a_failed_build_keeps_the_former_one(
    model: IntegerModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    irnn_tvm.build(model, out=out)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    monkeypatch.setenv("IRNN_ZIG", os.devnull)
    with pytest.raises(errors.ToolNotFoundError):
        irnn_tvm.build(model, out=out)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


class TooManyLengths(nn.Module):
    """Two inputs of lengths that nothing ties together."""

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return ops.clamp(a, 0, 100), ops.clamp(b, 0, 100)


def test_two_run_time_sizes() -> None:
    auto = torch.export.Dim.AUTO
    inputs = torch.zeros(3, 4, dtype=torch.int8), torch.zeros(5, 4, dtype=torch.int8)
    program = torch.export.export(TooManyLengths(), inputs, dynamic_shapes=({0: auto}, {0: auto}))
    with pytest.raises(errors.BuildError, match="2 run-time sizes"):
        irnn_tvm.build(program)


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (np.zeros((0, 1, 5), np.int8), "T = 0"),
        (np.zeros((3, 1, 5), np.float32), "Quantize it first"),
        (np.zeros((3, 1, 5), np.int16), "expected dtype int8"),
        (np.zeros((3, 2, 5), np.int8), "expected shape"),
        (np.zeros((3, 5), np.int8), "expected shape"),
        ([[1, 2]], "got list"),
    ],
)
def test_inputs_of_a_built_library(library: Library, x: object, match: str) -> None:
    with pytest.raises(errors.InputError, match=match):
        library.run(x)


def test_ids_outside_their_table() -> None:
    class Lookup(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.rnn = nn.Embedding(7, 4), nn.GRU(4, 3, batch_first=True)

        def forward(self, ids: Tensor) -> Tensor:
            return self.rnn(self.table(ids))[0]

    config = irnn_tvm.QuantConfig(gate_bits=8)
    model = irnn_tvm.quantize(Lookup(), [torch.randint(0, 7, (2, 5)) for _ in range(2)], config)
    library = irnn_tvm.build(model)
    for bad in (-1, 7, 2**31 - 1):
        with pytest.raises(errors.InputError):
            library.run(np.array([[0, bad, 1]], np.int32))
    assert library.run(np.array([[0, 6, 1]], np.int32)).shape == (1, 3, 3)
