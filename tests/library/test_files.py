"""Programs in .pt2 files, and directories that are either complete or untouched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import integer_model, reference, sample
from sampling import sampled

import irnn_tvm
from irnn_tvm import Library
from irnn_tvm.errors import BuildError, LoadError

Libraries = Callable[[str, str], Library]


@pytest.mark.parametrize("name", ["tagger", "encoder"])
def test_program_survives_its_file(name: str, tmp_path: Path) -> None:
    """Saved, loaded and built from the path: the same integers, names and scales as the model that was saved."""
    model, path = integer_model(name), tmp_path / "model.pt2"
    irnn_tvm.save_program(model, path)
    program, specs = irnn_tvm.load_program(path)
    assert [spec["name"] for spec in specs["inputs"]] == [spec.name for spec in model.input_specs]
    inputs = sample(name, 9)
    expected = reference(name, inputs)
    assert np.array_equal(program.module()(*(torch.from_numpy(x) for x in inputs)).numpy(), expected)
    library = irnn_tvm.build(path)
    assert np.array_equal(library.run(*inputs), expected)
    for tensor, spec in zip(
        (*library.inputs, *library.outputs), (*model.input_specs, *model.output_specs), strict=True
    ):
        assert (tensor.name, tensor.scale, tensor.zero_point) == (spec.name, spec.scale, spec.zero_point)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pt2"]


def test_same_program_gives_the_same_bytes(library: Libraries, tmp_path: Path) -> None:
    first = library("tagger", "cortex-m4").directory
    second = irnn_tvm.build(
        integer_model("tagger"), "cortex-m4", out=tmp_path / "again", name="tagger"
    ).directory
    for file in ("libtagger.a", "tagger.h", "tagger.c", "report.json"):
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _fail(*_: object, **__: object) -> None:
    raise BuildError("the disk is full")


# Functions that the stages of a build call, first to last.
STAGES = (
    "irnn_tvm.compiler.emit.header",
    "irnn_tvm.compiler.toolchain.link_shared",
    "irnn_tvm.compiler.emit.cost_report",
)


@pytest.mark.parametrize("stage", sampled(reversed(STAGES), 3))
def test_a_build_that_fails_leaves_the_former_one(
    stage: str, library: Libraries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    library("tagger", "host").export(folder)
    before = _contents(folder)
    monkeypatch.setattr(stage, _fail)
    with pytest.raises(BuildError, match="the disk is full"):
        irnn_tvm.build(integer_model("encoder"), out=folder)
    assert _contents(folder) == before
    with pytest.raises(BuildError, match="the disk is full"):
        irnn_tvm.build(integer_model("encoder"), out=tmp_path / "new" / "place")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_rename_that_fails_leaves_the_former_build(
    library: Libraries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    library("tagger", "host").export(folder)
    before = _contents(folder)
    rename = Path.rename

    def fail_into_place(self: Path, target: Path) -> Path:
        if Path(target) == folder and self.parent == tmp_path:
            raise OSError("no space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_into_place)
    with pytest.raises(LoadError, match="no space left"):
        irnn_tvm.build(integer_model("encoder"), out=folder)
    assert _contents(folder) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_new_build_replaces_the_former_one(library: Libraries, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    library("tagger", "cortex-m4").export(folder)
    replaced = irnn_tvm.build(integer_model("encoder"), out=folder, name="encoder")
    assert not [file for file in _contents(folder) if "tagger" in file or "emulator" in file]
    inputs = sample("encoder", 5)
    assert np.array_equal(replaced.run(*inputs), reference("encoder", inputs))
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_no_temporary_files_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build without out= lives as long as its Library."""
    import gc
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    library = irnn_tvm.build(integer_model("encoder"))
    assert library.directory.is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == [library.directory.parent]
    del library
    gc.collect()
    assert list(tmp_path.iterdir()) == []
