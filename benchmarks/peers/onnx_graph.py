"""A workload as an ONNX graph, which ONNX Runtime and OpenVINO read."""

from __future__ import annotations

from typing import Any

import numpy as np
from workloads import Workload

# ONNX orders gates i, o, f, c and z, r, h; PyTorch i, f, g, o and r, z, n.
GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
STATES = {"lstm": ("h", "c"), "gru": ("h",)}


def state_names(workload: Workload) -> list[tuple[str, str]]:
    """(input, output) of every state of a model with states, float32 [directions, B, H] each."""
    return [
        (f"{state}{layer}_in", f"{state}{layer}_out")
        for layer in range(workload.layers)
        for state in STATES[workload.cell]
    ]


def model(workload: Workload, batch: int = 1, states: bool = False) -> Any:
    """x [T, B, X] -> y [T, B, directions * H] as onnx.ModelProto; with states, these are inputs and outputs, too."""
    from onnx import TensorProto, helper, numpy_helper

    rnn = workload.network().rnn
    hidden, directions = workload.hidden, 2 if workload.bidirectional else 1
    nodes, constants, x = [], [], "x"

    for layer in range(workload.layers):
        suffixes = [f"l{layer}{end}" for end in ("", "_reverse")[:directions]]
        constants += [
            numpy_helper.from_array(value, f"{name}{layer}")
            for name, value in parameters(rnn, workload.cell, suffixes).items()
        ]
        attributes = {"hidden_size": hidden, "direction": "bidirectional" if directions == 2 else "forward"}
        if workload.cell == "gru":
            attributes["linear_before_reset"] = 1
        inputs, outputs = [x, f"w{layer}", f"r{layer}", f"b{layer}"], [f"y{layer}"]
        if states:
            kinds = STATES[workload.cell]
            inputs += ["", *(f"{kind}{layer}_in" for kind in kinds)]  # the empty one: lengths
            outputs += [f"{kind}{layer}_out" for kind in kinds]
        nodes.append(helper.make_node(workload.cell.upper(), inputs, outputs, **attributes))
        last = layer == workload.layers - 1
        nodes.append(helper.make_node("Transpose", [f"y{layer}"], [f"t{layer}"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", [f"t{layer}", "shape"], ["y" if last else f"x{layer}"]))
        x = f"x{layer}"
    constants.append(numpy_helper.from_array(np.array([0, batch, directions * hidden]), "shape"))

    def value(name: str, *shape: int | str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    pairs = state_names(workload) if states else []
    graph = helper.make_graph(
        nodes,
        workload.name,
        [value("x", "T", batch, hidden), *(value(name, directions, batch, hidden) for name, _ in pairs)],
        [value("y", "T", batch, directions * hidden)]
        + [value(name, directions, batch, hidden) for _, name in pairs],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    return made


def parameters(rnn: Any, cell: str, suffixes: list[str]) -> dict[str, np.ndarray]:
    """w [directions, G * H, X], r [directions, G * H, H] and b [directions, 2 * G * H] of a layer."""

    def gates(name: str) -> np.ndarray:
        order = GATES[cell]
        rows = getattr(rnn, name).detach().numpy()
        return np.concatenate([np.split(rows, len(order))[gate] for gate in order])

    return {
        "w": np.stack([gates(f"weight_ih_{s}") for s in suffixes]),
        "r": np.stack([gates(f"weight_hh_{s}") for s in suffixes]),
        "b": np.stack([np.concatenate([gates(f"bias_ih_{s}"), gates(f"bias_hh_{s}")]) for s in suffixes]),
    }
