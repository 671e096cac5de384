"""Files and programs that are taken for an integer program, and are something else: what they are, what to do."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from irnn_tvm.errors import UnsupportedModuleError

if TYPE_CHECKING:
    import torch

QUANTIZE = "quantize the nn.Module with irnn_tvm.quantize, and build or save_program the result"
COPY = f"copy its weights into a torch.nn.Module, then {QUANTIZE}"
# First bytes of the files of other formats.
MAGIC = (
    (b"\x89HDF\r\n\x1a\n", f"an HDF5 file (Keras saves weights so): {COPY}"),
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9", f"a file of torch.save in the old format: load it, and {QUANTIZE}"),
    (b"\x80", f"a pickle: load what it holds into the model, and {QUANTIZE}"),
)
SUFFIXES = {
    ".onnx": f"an ONNX model: {COPY}",
    ".h5": f"a Keras model: {COPY}",
    ".hdf5": f"a Keras model: {COPY}",
    ".keras": f"a Keras model: {COPY}",
    ".tflite": f"a TensorFlow Lite model: {COPY}",
    ".pb": f"a TensorFlow or ONNX graph: {COPY}",
    ".safetensors": f"a file of weights: load them into the model, and {QUANTIZE}",
}


def other_format(path: Path) -> str | None:
    """What an existing file is, where it is a known one that is no exported program; else None."""
    if path.suffix.lower() in SUFFIXES:
        return SUFFIXES[path.suffix.lower()]
    with path.open("rb") as file:
        head = file.read(16)
    if head[4:8] == b"TFL3":
        return SUFFIXES[".tflite"]
    for magic, what in MAGIC:
        if head.startswith(magic):
            return what
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        inner = [name.partition("/")[2] for name in archive.namelist()]
    if any(name.startswith("code/") for name in inner) and "constants.pkl" in inner:
        return (
            "a torch.jit module, whose Python code is gone: load its weights into the nn.Module that was scripted or "
            f"traced, and {QUANTIZE}"
        )
    if "data.pkl" in inner and not any(name.startswith("models/") for name in inner):
        return f"a file of torch.save (weights, or a pickled module): load it into the model, and {QUANTIZE}"
    return None


def integer_program(program: torch.export.ExportedProgram, what: str) -> torch.export.ExportedProgram:
    """The program itself. Raises UnsupportedModuleError when it computes on floats."""
    import torch

    for node in program.graph.nodes:
        made = node.meta.get("val")
        if node.op == "call_function" and isinstance(made, torch.Tensor) and made.is_floating_point():
            dtype = str(made.dtype).removeprefix("torch.")
            raise UnsupportedModuleError(
                f"{what} is a float program (it calls {node.target} on {dtype}); a library computes on integers only: "
                f"{QUANTIZE}"
            )
    return program
