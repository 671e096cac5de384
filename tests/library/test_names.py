"""Names of models and tensors that C, C++, compilers or the generated code need for themselves."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm.compiler.compile_sources import compile_c_library
from irnn_tvm.compiler.names import LANGUAGES, USED, library_name, tensor_name
from irnn_tvm.compiler.toolchain import find_zig
from irnn_tvm.errors import BuildError


class Reserved(nn.Module):
    """Inputs with names that C++ reserves, and such as the generated functions use."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(7, 6)

    def forward(
        self, new: Tensor, this: Tensor, template: Tensor, count: Tensor, T: Tensor
    ) -> tuple[Tensor, Tensor]:
        y = self.rnn(torch.cat([new, this, template, count, T], dim=-1))[0]
        return y, torch.relu(y)


@pytest.fixture(scope="module")
def model() -> irnn_tvm.IntegerModel:
    torch.manual_seed(2)
    widths = (2, 1, 2, 1, 1)
    batches = [tuple(torch.randn(6, 3, width) for width in widths) for _ in range(2)]
    return irnn_tvm.quantize(Reserved().eval(), batches)


@pytest.mark.parametrize("target", ["host", "c", "cortex-m4"])
def test_a_library_with_such_names(
    target: str, model: irnn_tvm.IntegerModel, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    if target == "cortex-m4":
        require_tool("qemu-system-arm")
    built = irnn_tvm.build(model, target, out=tmp_path / "float", name="float")
    built = compile_c_library(tmp_path / "float") if target == "c" else built
    assert built.name == "float_model"
    assert [t.name for t in built.inputs] == ["new_", "this_", "template_", "count_", "t_"]
    notes = " ".join(built.report["notes"])
    assert "the model 'float' is float_model in C: C or C++ reserves the word" in notes
    assert all(f"{name!r} is " in notes for name in ("new", "this", "count", "T"))
    inputs = model.quantize_inputs(*(torch.randn(5, 1, width) for width in (2, 1, 2, 1, 1)))
    expected = model(*inputs)
    for ours, theirs in zip(built.run(*(x.numpy() for x in inputs)), expected, strict=True):
        assert (ours == theirs.numpy()).all()
    source = tmp_path / "main.cpp"
    source.write_text('#define FLOAT_MODEL_WITH_FLOAT\n#include "float_model.h"\nint main() { return 0; }\n')
    command = [find_zig(), "c++", "-std=c++20", "-Wall", "-Wextra", "-Werror", "-pedantic", "-c", source]
    subprocess.run([*command, "-I", built.directory, "-o", tmp_path / "main.o"], check=True)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("new", "new_model"),
        ("stdint", "stdint_model"),
        ("main", "main_model"),
        ("m", "m_model"),
        ("2nd net", "net_2nd_net"),
        ("My-Model.v2", "my_model_v2"),
        ("Réseau", "reseau"),
        ("сеть", "model"),
        ("___", "model"),
        ("__x", "x"),
        ("good_name2", "good_name2"),
    ],
)
def test_names_of_libraries(text: str, name: str) -> None:
    found, note = library_name(text)
    assert found == name
    assert (note is None) == (text == name)
    assert re.fullmatch(r"[a-z_][a-z0-9_]*", found)


def test_names_of_tensors_are_distinct_identifiers() -> None:
    used: set[str] = set()
    labels = [
        "new",
        "new_",
        "new",
        "a.b",
        "a b",
        "A_B",
        "x",
        "X",
        "ж",
        "ж",
        "",
        "1",
        "_1",
        "__func__",
        "int8_t",
    ]
    found = [tensor_name(label, used, "input") for label in [*labels, *sorted(LANGUAGES), *sorted(USED)]]
    names = [name for name, _ in found]
    assert len(set(names)) == len(names)
    assert not set(names) & (LANGUAGES | USED)
    assert all(re.fullmatch(r"[a-z_][a-z0-9_]*", name) and not name.startswith("__") for name in names)
    assert all((note is None) == (label == name) for label, (name, note) in zip(labels, found, strict=False))


def test_what_generated_functions_use_is_reserved(model: irnn_tvm.IntegerModel, tmp_path: Path) -> None:
    """Every identifier of the functions that take tensors is a tensor's own, or one that no tensor gets."""
    for target in ("c", "x86"):
        built = irnn_tvm.build(model, target, out=tmp_path / target, name="net")
        own = {tensor.name for tensor in (*built.inputs, *built.outputs)}
        for file in built.directory.glob("net*.c"):
            text = re.sub(r"/\*.*?\*/", "", file.read_text(), flags=re.S)
            for body in re.findall(
                r"^(?:static )?int \w+\(void \*state, void \*arena,.*?^}", text, re.M | re.S
            ):
                words = set(re.findall(r"(?<![\w>.])[a-z_]\w*", re.sub(r"struct \w+", "", body)))
                left = words - own - USED - LANGUAGES
                assert {word for word in left if not word.startswith("net_")} == set(), file.name


def test_a_name_that_is_no_identifier_is_refused(model: irnn_tvm.IntegerModel) -> None:
    with pytest.raises(BuildError, match="cannot prefix C symbols"):
        irnn_tvm.build(model, name="My Model")
