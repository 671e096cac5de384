"""ONNX Runtime: float32, and its dynamic quantization (DynamicQuantizeLSTM; a GRU stays float)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from workloads import Workload

from peers import Unsupported, only_plain

NAME, NAME_INT8 = "onnxruntime f32", "onnxruntime dynamic int8"
# ONNX orders gates i, o, f, c and z, r, h; PyTorch i, f, g, o and r, z, n.
GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}


def prepare(workload: Workload, steps: int) -> Callable[[], object]:
    return _prepare(workload, steps, quantized=False)


def prepare_int8(workload: Workload, steps: int) -> Callable[[], object]:
    return _prepare(workload, steps, quantized=True)


def _prepare(workload: Workload, steps: int, quantized: bool) -> Callable[[], object]:
    only_plain(workload)
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise Unsupported(f"{error.name} is not installed") from error
    with tempfile.TemporaryDirectory(prefix="irnn-bench-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model(workload), path)
        if quantized:
            from onnxruntime.quantization import QuantType, quantize_dynamic

            quantize_dynamic(path, Path(folder) / "int8.onnx", weight_type=QuantType.QInt8)
            path = Path(folder) / "int8.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {"x": np.random.default_rng(0).standard_normal((steps, 1, workload.hidden)).astype(np.float32)}
    return lambda: session.run(None, feed)


def model(workload: Workload) -> object:
    """The workload as an ONNX graph, x [T, 1, X] -> y [T, 1, directions * H]."""
    from onnx import TensorProto, helper, numpy_helper

    rnn = workload.network().rnn
    hidden, directions = workload.hidden, 2 if workload.bidirectional else 1
    nodes, constants, x = [], [], "x"
    order = GATES[workload.cell]

    def gates(name: str) -> np.ndarray:
        rows = getattr(rnn, name).detach().numpy()
        return np.concatenate([np.split(rows, len(order))[gate] for gate in order])

    for layer in range(workload.layers):
        suffixes = [f"l{layer}{end}" for end in ("", "_reverse")[:directions]]
        parts = {
            "w": [gates(f"weight_ih_{s}") for s in suffixes],
            "r": [gates(f"weight_hh_{s}") for s in suffixes],
            "b": [np.concatenate([gates(f"bias_ih_{s}"), gates(f"bias_hh_{s}")]) for s in suffixes],
        }
        constants += [numpy_helper.from_array(np.stack(v), f"{k}{layer}") for k, v in parts.items()]
        attributes = {"hidden_size": hidden, "direction": "bidirectional" if directions == 2 else "forward"}
        if workload.cell == "gru":
            attributes["linear_before_reset"] = 1
        nodes.append(
            helper.make_node(
                workload.cell.upper(),
                [x, f"w{layer}", f"r{layer}", f"b{layer}"],
                [f"y{layer}"],
                **attributes,
            )
        )
        nodes.append(helper.make_node("Transpose", [f"y{layer}"], [f"t{layer}"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", [f"t{layer}", "shape"], [f"x{layer}"]))
        x = f"x{layer}"
    constants.append(numpy_helper.from_array(np.array([0, 1, directions * hidden]), "shape"))
    graph = helper.make_graph(
        nodes,
        workload.name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", 1, hidden])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["T", 1, directions * hidden])],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    return made
