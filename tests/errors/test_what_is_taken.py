"""Everything that people try instead of a float module has a sentence of its own; wrappers are looked through."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import irnn_tvm
from irnn_tvm.errors import BuildError, IrnnError, ProgramError, UnsupportedModuleError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 8, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0])


def batches() -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(3, 6, 4) for _ in range(2)]


def _dynamic(net: Net) -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)


def _prepared(net: Net) -> nn.Module:
    net.qconfig = torch.ao.quantization.default_qconfig
    return torch.ao.quantization.prepare(net)


def _part_compiled(net: Net) -> nn.Module:
    net.out = torch.compile(net.out)
    return net


class ModelProto:
    """As onnx.ModelProto: the class of another framework is known by its module."""


ModelProto.__module__ = "onnx.onnx_ml_pb2"
REFUSED: dict[str, tuple[Callable[[Net], Any], str]] = {
    "scripted": (torch.jit.script, "torch.jit module"),
    "traced": (lambda net: torch.jit.trace(net, torch.randn(3, 6, 4)), "torch.jit module"),
    "exported": (lambda net: torch.export.export(net, (torch.randn(3, 6, 4),)), "nn.Module that was exported|aten"),
    "dynamic": (_dynamic, "layer 'out' is quantized already, by PyTorch"),
    "prepared": (_prepared, "belongs to PyTorch's own quantization"),
    "part compiled": (_part_compiled, "layer 'out' was made by torch.compile"),
    "onnx": (lambda _: ModelProto(), "ONNX model"),
    "state dict": (lambda net: net.state_dict(), "state dict.*load_state_dict"),
    "checkpoint": (lambda net: {"model": net.state_dict(), "epoch": 3}, "a dict"),
    "function": (lambda net: net.forward, "the function forward"),
    "class": (lambda _: Net, r"the class Net.*Net\(\.\.\.\)"),
    "list": (lambda net: [net.rnn, net.out], "nn.Sequential"),
    "none": (lambda _: None, "NoneType"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("entry", ["quantize", "prepare_qat", "build", "tune"])
def test_refused_by_its_own_sentence(name: str, entry: str) -> None:
    make, text = REFUSED[name]
    model = make(Net().eval())
    more = {"quantize": {"calibration": batches()}, "prepare_qat": {}}.get(entry, {"calibration": batches()})
    with pytest.raises((UnsupportedModuleError, BuildError), match=text):
        getattr(irnn_tvm, entry)(model, **more)


def test_an_integer_model_is_not_quantized_again() -> None:
    q = irnn_tvm.quantize(Net(), batches())
    for again in (lambda: irnn_tvm.quantize(q, batches()), lambda: irnn_tvm.prepare_qat(q)):
        with pytest.raises(UnsupportedModuleError, match="quantized already"):
            again()


@pytest.mark.parametrize(
    "wrap",
    [torch.compile, nn.DataParallel, AveragedModel, lambda n: torch.compile(nn.DataParallel(n))],
)
def test_wrappers_are_looked_through(wrap: Callable[[nn.Module], nn.Module]) -> None:
    net = Net()
    expected = irnn_tvm.quantize(net, batches())
    found = irnn_tvm.quantize(wrap(net), batches())
    x = expected.quantize_inputs(*batches()[:1])
    assert torch.equal(expected(*x), found(*x))


def test_a_module_that_was_compiled_in_place() -> None:
    net = Net()
    expected = irnn_tvm.quantize(net, batches())
    net.compile()
    compiled = net._compiled_call_impl
    found = irnn_tvm.quantize(net, batches())
    x = expected.quantize_inputs(*batches()[:1])
    assert torch.equal(expected(*x), found(*x))
    assert net._compiled_call_impl is compiled


def _write(kind: str, path: Path) -> None:
    net = Net().eval()
    if kind == "state dict":
        torch.save(net.state_dict(), path)
    elif kind == "old state dict":
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False)
    elif kind == "module":
        torch.save(net, path)
    elif kind == "torch.jit":
        torch.jit.save(torch.jit.script(net), str(path))
    elif kind == "float program":
        torch.export.save(torch.export.export(net, (torch.randn(3, 6, 4),)), path)
    elif kind == "HDF5":
        path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    elif kind == "TensorFlow Lite":
        path.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(64))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "a")
    else:
        path.write_bytes(b"\x08\x07\x12\x07pytorch")


FILES = {
    "state dict": ("m.pt", "a file of torch.save"),
    "old state dict": ("m.pth", "a file of torch.save in the old format"),
    "module": ("m.pt2", "a file of torch.save"),
    "torch.jit": ("m.pt", "a torch.jit module"),
    "float program": ("float.pt2", "float.pt2 is a float program"),
    "HDF5": ("m.pt2", "HDF5"),
    "TensorFlow Lite": ("m.pt2", "TensorFlow Lite"),
    "ONNX": ("m.onnx", "ONNX model"),
    "Keras": ("m.keras", "Keras"),
    "zip": ("m.pt2", "cannot be read as an exported program"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FILES)
def test_files_of_other_formats(kind: str, tmp_path: Path) -> None:
    name, text = FILES[kind]
    path = tmp_path / name
    _write(kind, path)
    with pytest.raises((ProgramError, UnsupportedModuleError), match=text) as caught:
        irnn_tvm.build(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["m.pt", "m.onnx", "m.pt2", "m.h5", "m"])
def test_paths_are_no_float_models(name: str) -> None:
    with pytest.raises(IrnnError, match=rf"the path {name}, not a torch.nn.Module"):
        irnn_tvm.quantize(name, batches())  # type: ignore[arg-type]
