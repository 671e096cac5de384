"""ONNX Runtime: float32, and its dynamic quantization (DynamicQuantizeLSTM; a GRU stays float).

Weights have a scale per row, and 7 bits (reduce_range), as its documentation advises for x86 without VNNI: with 8 bits
the 16-bit sums of its products saturate there, and an LSTM's outputs are 20 dB worse. The kernels are the same ones.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from workloads import Workload

from peers import Inference, Unsupported, example, only_plain, onnx_graph

NAME, NAME_INT8 = "onnxruntime f32", "onnxruntime dynamic int8"


def prepare(workload: Workload, steps: int, batch: int) -> Inference:
    return _prepare(workload, steps, batch, quantized=False)


def prepare_int8(workload: Workload, steps: int, batch: int) -> Inference:
    return _prepare(workload, steps, batch, quantized=True)


def session(model: Any, quantized: bool) -> Any:
    """An onnx.ModelProto as a session on one thread."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="irnn-bench-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        if quantized:
            from onnxruntime.quantization import QuantType, quantize_dynamic

            narrow = Path(folder) / "int8.onnx"
            quantize_dynamic(path, narrow, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
            path = narrow
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _prepare(workload: Workload, steps: int, batch: int, quantized: bool) -> Inference:
    only_plain(workload)
    streams = workload.streams(steps)
    try:
        running = session(onnx_graph.model(workload, batch, states=streams), quantized)
    except ImportError as error:
        raise Unsupported(f"{error.name} is not installed") from error
    # ONNX wants T in front of B; where one of them is 1, the bytes are the same ones.
    x = np.ascontiguousarray(example(steps, batch, workload.hidden).transpose(1, 0, 2))
    feed = {"x": x}
    if not streams:
        return Inference(x.transpose(1, 0, 2), lambda: running.run(None, feed)[0], _output)
    states = [name for name, _ in onnx_graph.state_names(workload)]
    feed |= {name: np.zeros((1, batch, workload.hidden), np.float32) for name in states}

    def step() -> np.ndarray:
        y, *after = running.run(None, feed)
        feed.update(zip(states, after, strict=True))
        found: np.ndarray = y
        return found

    return Inference(x.transpose(1, 0, 2), step, _output)


def _output(y: np.ndarray) -> np.ndarray:
    return y.transpose(1, 0, 2)
