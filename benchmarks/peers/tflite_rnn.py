"""A workload as a .tflite file: hybrid (int8 weights, float activations), or integers alone where there is a kernel.

LSTM layers are UNIDIRECTIONAL_SEQUENCE_LSTM, with their states inside. There is no operator for a GRU: a step of it is
two products and the rest of the formula, with the state as input and output.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from workloads import Workload

from peers.tflite_graph import Affine, Graph

Array = np.ndarray
# Operators want the gates as PyTorch has them: i, f, g (their "cell"), o.
_GATES = 4
# What integers have here: all gates have 12 bits behind the point, the cell state a power of two as its scale.
_SIGNED = 127


def lstm(workload: Workload, steps: int, batch: int, ranges: list[Ranges] | None = None) -> bytes:
    """x float32 [T, B, X] -> y float32 [T, B, directions * H]. ranges: of every layer, for integers alone."""
    graph = Graph()
    first = x = graph.tensor((steps, batch, workload.hidden))
    rnn = workload.network().rnn
    if ranges is not None:
        quantized = graph.tensor((steps, batch, workload.hidden), np.int8, ranges[0].x)
        graph.operator("QUANTIZE", [x], [quantized], options="QuantizeOptions")
        x = quantized
    width = workload.hidden
    for layer in range(workload.layers):
        layer_ranges = None if ranges is None else ranges[layer]
        dtype, affine = (np.float32, None) if layer_ranges is None else (np.int8, layer_ranges.h)
        parts = []
        for end in ("", "_reverse")[: 2 if workload.bidirectional else 1]:
            suffix = f"l{layer}{end}"
            weights, states = (_gates(getattr(rnn, f"weight_{kind}_{suffix}")) for kind in ("ih", "hh"))
            bias = _gates(getattr(rnn, f"bias_ih_{suffix}") + getattr(rnn, f"bias_hh_{suffix}"))
            source = _reversed(graph, x, (steps, batch, width), layer_ranges.x if layer_ranges else None, end)
            y = graph.tensor((steps, batch, workload.hidden), dtype, affine)
            _lstm_operator(graph, source, y, batch, weights, states, bias, layer_ranges)
            parts.append(_reversed(graph, y, (steps, batch, workload.hidden), affine, end))
        x, width = parts[0], workload.hidden * len(parts)
        if len(parts) > 1:
            x = graph.tensor((steps, batch, width), dtype, affine)
            graph.operator("CONCATENATION", parts, [x], options="ConcatenationOptions", axis=2)
    if ranges is not None:
        real = graph.tensor((steps, batch, width))
        graph.operator("DEQUANTIZE", [x], [real], version=2, options="DequantizeOptions")
        x = real
    return graph.finish([first], [x])


def gru_step(workload: Workload, batch: int) -> bytes:
    """x [B, X] and every layer's h [B, H] -> the next h of every layer; float32."""
    graph, rnn, hidden = Graph(), workload.network().rnn, workload.hidden
    x = graph.tensor((batch, hidden))
    inputs, outputs = [x], []
    for layer in range(workload.layers):
        h = graph.tensor((batch, hidden))
        inputs.append(h)
        x = _gru_cell(graph, x, h, batch, *(getattr(rnn, f"{n}_l{layer}") for n in _GRU_PARAMETERS))
        outputs.append(x)
    return graph.finish(inputs, outputs)


class Ranges:
    """Scales of one layer's activations: x and h int8, c int16."""

    def __init__(self, x: Array, h: Array, c: Array) -> None:
        self.x, self.h = _affine(x), _affine(h)
        # Its tables of tanh are for cells of 2**-15 and more a step; what it does with finer ones is no tanh.
        step = max(2.0**-15, 2.0 ** np.ceil(np.log2(np.abs(c).max() / 32767)))
        self.c = Affine((float(step),))


def calibrate(workload: Workload) -> list[Ranges]:
    """What the layers' values are on random inputs."""
    found, rnn = [], workload.network().rnn
    x = torch.randn(4, 16, workload.hidden, generator=torch.Generator().manual_seed(1))
    for layer in range(workload.layers):
        outputs, cells = [], []
        for end in ("", "_reverse")[: 2 if workload.bidirectional else 1]:
            parameters = [getattr(rnn, f"{name}_l{layer}{end}") for name in _GRU_PARAMETERS]
            output, cell = _cell_states(x.flip(1) if end else x, *parameters)
            outputs.append(output.flip(1) if end else output)
            cells.append(cell)
        y = torch.cat(outputs, dim=2)
        found.append(Ranges(x.numpy(), y.numpy(), torch.cat(cells).numpy()))
        if layer:  # a layer reads the very integers that the one below it wrote
            found[-1].x = found[-2].h
        x = y
    return found


_GRU_PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@torch.inference_mode()
def _cell_states(x: torch.Tensor, *parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """All outputs and all cell states of an LSTM layer."""
    h = c = torch.zeros(x.shape[0], parameters[1].shape[1])
    outputs, cells = [], []
    for t in range(x.shape[1]):
        h, c = torch._VF.lstm_cell(x[:, t], (h, c), *parameters)
        outputs.append(h)
        cells.append(c)
    return torch.stack(outputs, dim=1), torch.stack(cells, dim=1)


def _affine(values: Array) -> Affine:
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = (high - low) / 255
    return Affine((scale,), round(-128 - low / scale))


def _gates(rows: torch.Tensor) -> list[Array]:
    return np.split(rows.detach().numpy(), _GATES)


def _weights(graph: Graph, rows: Array, by_row: bool = False) -> tuple[int, Affine]:
    largest = np.abs(rows).max(axis=1) if by_row else np.abs(rows).max(keepdims=True)[0]
    affine = Affine(tuple(float(value) / _SIGNED for value in largest))
    return graph.constant(affine.quantize(rows, np.int8), affine), affine


def _reversed(graph: Graph, x: int, shape: Sequence[int], affine: Affine | None, end: str) -> int:
    """x backwards in time, for the direction that wants it."""
    if not end:
        return x
    y = graph.tensor(shape, np.float32 if affine is None else np.int8, affine)
    axis = graph.constant(np.array([0], np.int32))
    graph.operator(
        "REVERSE_V2", [x, axis], [y], version=1 if affine is None else 3, options="ReverseV2Options"
    )
    return y


def _lstm_operator(
    graph: Graph,
    x: int,
    y: int,
    batch: int,
    weights: list[Array],
    states: list[Array],
    biases: list[Array],
    ranges: Ranges | None,
) -> None:
    none, hidden = graph.NONE, len(weights[0])
    pairs = [_weights(graph, w) for w in weights]
    recurrent = [_weights(graph, w)[0] for w in states]
    intermediates: list[int] = []
    if ranges is None:
        constants = [graph.constant(b) for b in biases]
        state = graph.tensor((batch, hidden), variable=True)
        cell = graph.tensor((batch, hidden), variable=True)
    else:
        scales = [Affine((affine.scale[0] * ranges.x.scale[0],)) for _, affine in pairs]
        constants = [graph.constant(a.quantize(b, np.int32), a) for a, b in zip(scales, biases, strict=True)]
        state = graph.tensor((batch, hidden), np.int8, ranges.h, variable=True)
        cell = graph.tensor((batch, hidden), np.int16, ranges.c, variable=True)
        # Gates before their activation (their scales count for layer normalization alone), then h before a projection.
        gate = Affine((2.0**-12,))
        intermediates = [graph.tensor((0,), np.int16, gate) for _ in range(_GATES)]
        intermediates.append(graph.tensor((0,), np.int8, ranges.h))
    inputs = [x, *(number for number, _ in pairs), *recurrent, *[none] * 3, *constants]
    inputs += [none, none, state, cell, *[none] * 4]
    graph.operator(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        inputs,
        [y],
        version=3,
        intermediates=intermediates,
        options="UnidirectionalSequenceLSTMOptions",
        fusedActivationFunction=graph.schema.ActivationFunctionType.TANH,
        timeMajor=True,
        asymmetricQuantizeInputs=ranges is None,
    )


def _gru_cell(graph: Graph, x: int, h: int, batch: int, *parameters: torch.Tensor) -> int:
    weights, states, bias, state_bias = (p.detach().numpy() for p in parameters)
    hidden = states.shape[1]
    axis = graph.constant(np.array(1, np.int32))
    sizes = graph.constant(np.array([2 * hidden, hidden], np.int32))

    def floats(width: int = hidden) -> int:
        return graph.tensor((batch, width))

    def binary(name: str, options: str, left: int, right: int, width: int = hidden) -> int:
        result = floats(width)
        graph.operator(name, [left, right], [result], options=options)
        return result

    products = []
    for source, matrix, added in ((x, weights, bias), (h, states, state_bias)):
        product = floats(3 * hidden)
        graph.operator(
            "FULLY_CONNECTED",
            [source, _weights(graph, matrix, by_row=True)[0], graph.constant(added)],
            [product],
            version=9,
            options="FullyConnectedOptions",
            asymmetricQuantizeInputs=True,
        )
        parts = [floats(2 * hidden), floats()]
        graph.operator("SPLIT_V", [product, sizes, axis], parts, options="SplitVOptions", numSplits=2)
        products.append(parts)
    gates = floats(2 * hidden)
    sums = binary("ADD", "AddOptions", products[0][0], products[1][0], 2 * hidden)
    graph.operator("LOGISTIC", [sums], [gates])
    r, z = floats(), floats()
    graph.operator("SPLIT", [axis, gates], [r, z], options="SplitOptions", numSplits=2)
    n = floats()
    reset = binary("MUL", "MulOptions", r, products[1][1])
    graph.operator("TANH", [binary("ADD", "AddOptions", products[0][1], reset)], [n])
    rest = binary("MUL", "MulOptions", z, binary("SUB", "SubOptions", h, n))
    return binary("ADD", "AddOptions", n, rest)
