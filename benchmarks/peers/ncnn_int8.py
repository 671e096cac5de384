"""ncnn with int8 weights, in files that are made here: what its LSTM and GRU layers load with int8_scale_term."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from workloads import Workload

from peers import FilePeer, Inference, Unsupported, example, only_plain

INT8_TAG = 0x000D4B38  # in front of int8 weights in a model file
# ncnn orders gates i, f, o, g and r, u, n; PyTorch i, f, g, o and r, z, n.
GATES = {"lstm": (0, 1, 3, 2), "gru": (0, 1, 2)}


STATES = {"lstm": ("h", "c"), "gru": ("h",)}


def write(workload: Workload, steps: int, batch: int, folder: Path) -> None:
    only_plain(workload)
    if batch != 1:
        raise Unsupported("its layers have no batch")
    (folder / "model.param").write_text(graph(workload, workload.streams(steps)), encoding="ascii")
    (folder / "model.bin").write_bytes(model(workload))


def load(workload: Workload, steps: int, batch: int, folder: Path) -> Inference:
    import ncnn

    del batch
    streams = workload.streams(steps)
    net = ncnn.Net()
    net.opt.num_threads = 1
    if net.load_param(str(folder / "model.param")) or net.load_model(str(folder / "model.bin")):
        raise Unsupported("ncnn refused the model")
    x = example(steps, 1, workload.hidden)
    mat = ncnn.Mat(x[0])  # on the array's own memory
    if not streams:

        def run() -> Any:
            with net.create_extractor() as extractor:
                extractor.input("x", mat)
                return extractor.extract("y")[1]

    else:
        names = [f"{state}{layer}" for layer in range(workload.layers) for state in STATES[workload.cell]]
        zeros = np.zeros((1, workload.hidden), np.float32)  # which no Mat keeps alive
        states = {name: ncnn.Mat(zeros).clone() for name in names}

        def run() -> Any:
            with net.create_extractor() as extractor:
                extractor.input("x", mat)
                for name in names:
                    extractor.input(f"{name}_in", states[name])
                y = extractor.extract("y")[1]
                for name in names:
                    states[name] = extractor.extract(f"{name}_out")[1]
                return y

    return Inference(x, run, lambda y: np.array(y)[None])


def graph(workload: Workload, streams: bool = False) -> str:
    """The .param file. streams: states are inputs and outputs."""
    lines, x, blobs = ["Input input 0 1 x"], "x", 1
    for layer in range(workload.layers):
        y = "y" if layer == workload.layers - 1 else f"y{layer}"
        width = workload.hidden * (1 if layer == 0 or not workload.bidirectional else 2)
        gates, directions = len(GATES[workload.cell]), 2 if workload.bidirectional else 1
        size = gates * workload.hidden * width * directions
        states = [f"{state}{layer}" for state in STATES[workload.cell]] if streams else []
        lines += [f"Input {name} 0 1 {name}_in" for name in states]
        count = 1 + len(states)
        inputs, outputs = [x, *(f"{n}_in" for n in states)], [y, *(f"{n}_out" for n in states)]
        kind, direction = workload.cell.upper(), 2 if workload.bidirectional else 0
        lines.append(
            f"{kind} rnn{layer} {count} {count} {' '.join(inputs)} {' '.join(outputs)} "
            f"0={workload.hidden} 1={size} 2={direction} 8=2"
        )
        blobs += count + len(states)
        x = y
    return f"7767517\n{len(lines)} {blobs}\n" + "\n".join(lines) + "\n"


def model(workload: Workload) -> bytes:
    """The .bin file: per layer the weights of x, the biases, the weights of h, and the scales of the rows."""
    rnn, order = workload.network().rnn, GATES[workload.cell]
    found = b""
    for layer in range(workload.layers):
        ends = ("", "_reverse")[: 2 if workload.bidirectional else 1]

        def gates(name: str) -> np.ndarray:
            rows = getattr(rnn, name).detach().numpy()
            return np.concatenate([np.split(rows, len(order))[gate] for gate in order])

        def stacked(name: str, layer: int = layer, ends: tuple[str, ...] = ends) -> np.ndarray:
            return np.stack([gates(f"{name}_l{layer}{end}") for end in ends])

        inputs, states = stacked("weight_ih"), stacked("weight_hh")
        biases = stacked("bias_ih"), stacked("bias_hh")
        if workload.cell == "lstm":
            bias = (biases[0] + biases[1]).reshape(len(ends), 4, workload.hidden)
        else:  # both biases of n, since r comes between them
            sums = (biases[0] + biases[1]).reshape(len(ends), 3, workload.hidden)
            parts = [b.reshape(len(ends), 3, workload.hidden)[:, 2] for b in biases]
            bias = np.stack([sums[:, 0], sums[:, 1], *parts], axis=1)
        scales = [127.0 / np.abs(w).max(axis=2) for w in (inputs, states)]
        found += _int8(inputs, scales[0]) + _float(bias) + _int8(states, scales[1])
        found += b"".join(s.astype("<f4").tobytes() for s in scales)
    return found


def _int8(weights: np.ndarray, scales: np.ndarray) -> bytes:
    data = np.round(weights * scales[..., None]).astype(np.int8).tobytes()
    return struct.pack("<I", INT8_TAG) + data + bytes(-len(data) % 4)


def _float(values: np.ndarray) -> bytes:
    return struct.pack("<I", 0) + values.astype("<f4").tobytes()


INT8 = FilePeer("ncnn int8", write, load)
