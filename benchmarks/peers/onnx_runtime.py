"""ONNX Runtime: float32, and its dynamic quantization (DynamicQuantizeLSTM; a GRU stays float).

Weights have a scale per row, and 7 bits (reduce_range), as its documentation advises for x86 without VNNI: with 8 bits
the 16-bit sums of its products saturate there, and an LSTM's outputs are 20 dB worse. The kernels are the same ones.
On ARM, where no sum saturates, weights have 8 bits and one scale, which is faster there.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from workloads import Workload

from peers import FilePeer, Inference, example, only_plain, onnx_graph


def write(
    workload: Workload, steps: int, batch: int, folder: Path, quantized: bool = False, for_x86: bool = True
) -> None:
    only_plain(workload)
    save(onnx_graph.model(workload, batch, states=workload.streams(steps)), folder, quantized, for_x86)


def load(workload: Workload, steps: int, batch: int, folder: Path) -> Inference:
    running = session(folder)
    # ONNX wants T in front of B; where one of them is 1, the bytes are the same ones.
    x = np.ascontiguousarray(example(steps, batch, workload.hidden).transpose(1, 0, 2))
    feed = {"x": x}
    if not workload.streams(steps):
        return Inference(x.transpose(1, 0, 2), lambda: running.run(None, feed)[0], _output)
    states = [name for name, _ in onnx_graph.state_names(workload)]
    feed |= {name: np.zeros((1, batch, workload.hidden), np.float32) for name in states}

    def step() -> np.ndarray:
        y, *after = running.run(None, feed)
        feed.update(zip(states, after, strict=True))
        found: np.ndarray = y
        return found

    return Inference(x.transpose(1, 0, 2), step, _output)


def save(model: Any, folder: Path, quantized: bool, for_x86: bool = True) -> None:
    """Writes an onnx.ModelProto as `session` reads it. for_x86: see the module; else the tool's own settings."""
    import onnx

    path = folder / "model.onnx"
    onnx.save(model, path)
    if quantized:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        narrow = folder / "int8.onnx"
        quantize_dynamic(path, narrow, weight_type=QuantType.QInt8, per_channel=for_x86, reduce_range=for_x86)
        narrow.replace(path)


def of_model(model: Any, quantized: bool) -> Any:
    """An onnx.ModelProto as a session."""
    with tempfile.TemporaryDirectory(prefix="irnn-bench-") as folder:
        save(model, Path(folder), quantized)
        return session(Path(folder))


def session(folder: Path) -> Any:
    """An onnxruntime.InferenceSession on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )


def _output(y: np.ndarray) -> np.ndarray:
    return y.transpose(1, 0, 2)


F32 = FilePeer("onnxruntime f32", write, load)
INT8 = FilePeer("onnxruntime dynamic int8", partial(write, quantized=True), load)
INT8_ARM = FilePeer(INT8.name, partial(write, quantized=True, for_x86=False), load)
