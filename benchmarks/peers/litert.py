"""LiteRT (once TensorFlow Lite): int8 weights with float activations, and integers alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from workloads import Workload

from peers import FilePeer, Inference, Unsupported, example, only_plain


def write(workload: Workload, steps: int, batch: int, folder: Path, integers: bool = False) -> None:
    from peers import tflite_rnn

    only_plain(workload)
    if workload.cell == "gru" and integers:
        raise Unsupported("it has no integer kernel for a GRU")
    if workload.cell == "gru" and workload.bidirectional:
        raise Unsupported("bidirectional GRU layers are not written for it")
    if workload.cell == "gru":
        model = tflite_rnn.gru_step(workload, batch)
    else:
        ranges = tflite_rnn.calibrate(workload) if integers else None
        model = tflite_rnn.lstm(workload, steps, batch, ranges)
    (folder / "model.tflite").write_bytes(model)


def load(workload: Workload, steps: int, batch: int, folder: Path) -> Inference:
    running = interpreter((folder / "model.tflite").read_bytes())
    if workload.cell == "gru":
        return _gru(running, workload, steps, batch)
    x = np.ascontiguousarray(example(steps, batch, workload.hidden).transpose(1, 0, 2))
    source, target = running.get_input_details()[0]["index"], running.get_output_details()[0]["index"]
    streams = workload.streams(steps)

    def run() -> np.ndarray:
        if not streams:
            running.reset_all_variables()
        running.set_tensor(source, x)
        running.invoke()
        y: np.ndarray = running.get_tensor(target)
        return y

    return Inference(x.transpose(1, 0, 2), run, lambda y: y.transpose(1, 0, 2))


def _gru(running: Any, workload: Workload, steps: int, batch: int) -> Inference:
    """Step by step from here: faster than one graph of all steps, where every product has a copy of the weights."""
    source, *states = (entry["index"] for entry in running.get_input_details())
    targets = [entry["index"] for entry in running.get_output_details()]
    x = np.ascontiguousarray(example(steps, batch, workload.hidden).transpose(1, 0, 2))
    zeros = np.zeros((batch, workload.hidden), np.float32)
    streams = workload.streams(steps)
    after: list[np.ndarray] = [zeros for _ in states]

    def run() -> np.ndarray:
        nonlocal after
        if not streams:
            after = [zeros for _ in states]
        rows = []
        for t in range(steps):
            running.set_tensor(source, x[t])
            for index, state in zip(states, after, strict=True):
                running.set_tensor(index, state)
            running.invoke()
            after = [running.get_tensor(index) for index in targets]
            rows.append(after[-1])
        return np.stack(rows)

    return Inference(x.transpose(1, 0, 2), run, lambda y: y.transpose(1, 0, 2))


def interpreter(model: bytes) -> Any:
    """A .tflite file on one thread, with the delegate that LiteRT takes by itself."""
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_content=model, num_threads=1)
    made.allocate_tensors()
    return made


HYBRID = FilePeer("litert hybrid int8", write, load)
INT8 = FilePeer("litert int8", partial(write, integers=True), load)
