"""Batches and lengths: those of a saved program hold, and what contradicts them is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import irnn_tvm
from irnn_tvm.cli import app
from irnn_tvm.errors import InputError


def test_a_file_has_its_batch(scores: irnn_tvm.IntegerModel, tmp_path: Path) -> None:
    path = tmp_path / "four.pt2"
    irnn_tvm.save_program(scores, path, batch=4)
    x = scores.quantize_inputs(torch.randn(4, 5, 6))[0]
    for batch in (None, 4):
        library = irnn_tvm.build(path, "host", batch=batch)
        assert library.inputs[0].shape == (4, "T", 6)
        assert (library.run(x.numpy()) == scores(x).numpy()).all()
    for batch in (1, 2, 8):
        with pytest.raises(
            InputError, match=rf"batch={batch}: .*four.pt2 is fixed to a batch of 4.*save_program"
        ):
            irnn_tvm.build(path, "host", batch=batch)


def test_programs_without_a_note_of_their_batch(scores: irnn_tvm.IntegerModel) -> None:
    program = irnn_tvm.export_program(scores, batch=3)
    assert irnn_tvm.build(program, "host", batch=3).inputs[0].shape == (3, "T", 6)
    with pytest.raises(InputError, match="batch=2: the program is fixed to a batch of 3"):
        irnn_tvm.build(program, "host", batch=2)
    linear = irnn_tvm.quantize(torch.nn.Linear(5, 2).eval(), [torch.randn(8, 5)])
    with pytest.raises(InputError, match="batch=5: the program is fixed to a batch of 7"):
        irnn_tvm.build(irnn_tvm.export_program(linear, batch=7), "host", batch=5)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_length_is_fixed_later(scores: irnn_tvm.IntegerModel, tmp_path: Path, steps: int) -> None:
    irnn_tvm.save_program(scores, tmp_path / "any.pt2", batch=2)
    library = irnn_tvm.build(tmp_path / "any.pt2", "host", seq_len=steps)
    assert library.inputs[0].shape == (2, steps, 6)
    x = scores.quantize_inputs(torch.randn(2, steps + 2, 6))[0]
    assert (library.run(x[:, :steps].contiguous().numpy()) == scores(x).numpy()[:, :steps]).all()


def test_a_fixed_length_stays(scores: irnn_tvm.IntegerModel, tmp_path: Path) -> None:
    irnn_tvm.save_program(scores, tmp_path / "nine.pt2", seq_len=9)
    assert irnn_tvm.build(tmp_path / "nine.pt2", seq_len=9, max_seq_len=20).inputs[0].shape == (1, 9, 6)
    with pytest.raises(InputError, match=r"seq_len=8: .* is fixed to sequences of 9"):
        irnn_tvm.build(tmp_path / "nine.pt2", seq_len=8)
    with pytest.raises(InputError, match=r"max_seq_len=8: .* is fixed to sequences of 9"):
        irnn_tvm.build(tmp_path / "nine.pt2", max_seq_len=8)


@pytest.mark.parametrize("value", [0, -1, 2.5, "4", True, 1 << 40])
@pytest.mark.parametrize("name", ["batch", "seq_len", "max_seq_len"])
def test_what_is_no_size_is_refused_before_any_work(
    scores: irnn_tvm.IntegerModel, tmp_path: Path, name: str, value: object
) -> None:
    def never() -> object:
        pytest.fail("calibration data was read")
        yield

    sizes = {name: value}
    floats = torch.nn.GRU(6, 8)
    refused = pytest.raises(InputError, match=rf"^{name}={value!r} is ")
    with refused:
        irnn_tvm.build(floats, "host", calibration=never(), **sizes)
    with refused:
        irnn_tvm.tune(floats, "host", calibration=never(), logs=tmp_path, **sizes)
    with refused:
        irnn_tvm.export_program(scores, **sizes)
    with refused:
        irnn_tvm.save_program(scores, tmp_path / "no.pt2", **sizes)
    assert not list(tmp_path.iterdir())


def test_numpys_integers_are_sizes(scores: irnn_tvm.IntegerModel) -> None:
    assert irnn_tvm.build(scores, batch=np.int64(2)).inputs[0].shape == (2, "T", 6)


def test_options(folder: Path) -> None:
    def invoke(*arguments: str) -> str:
        return CliRunner().invoke(app, ["build", "model.pt2", "--out", "new", *arguments]).output

    assert "InputError: batch=4: model.pt2 is fixed to a batch of 1" in invoke("--batch", "4")
    assert "Invalid value for '--batch'" in invoke("--batch", "0")
    assert "Invalid value for '--seq-len'" in invoke("--seq-len", "-3")
    assert not (folder / "new").exists()
    assert "int8[1, 5, 6]" in invoke("--batch", "1", "--seq-len", "5")
