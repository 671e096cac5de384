"""The textgenrnn stack as a streaming integer library, on this machine and under QEMU for AArch64.

    python -m irnn_tvm.examples.textgenrnn.demo [--json]

Prints how close the integer features are to the float ones, layer by layer, on sentences that were not used
for calibration; how often the next character agrees; and that a character at a time gives the very integers
of whole sentences, on every target.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import irnn_tvm
from irnn_tvm.examples.textgenrnn import model as textgenrnn
from irnn_tvm.examples.textgenrnn import text
from irnn_tvm.quantization import IntegerModel
from irnn_tvm.runtime import Library

if TYPE_CHECKING:
    from rich.table import Table

TARGETS = ("host", "arm")
LAYERS = ("embedding", "rnn_1", "rnn_2")


def quantized() -> IntegerModel:
    """The integer stack, calibrated on the sentences set apart for that."""
    calibration, _ = text.split()
    batches = [torch.from_numpy(textgenrnn.encode(sentence))[None] for sentence in calibration]
    return irnn_tvm.quantize(textgenrnn.load(), batches)


def sqnr_db(reference: np.ndarray, approximation: np.ndarray) -> float:
    """Signal-to-quantization-noise ratio in decibels."""
    noise = np.sum((reference.astype(np.float64) - approximation) ** 2)
    return float(10 * np.log10(np.sum(reference.astype(np.float64) ** 2) / noise)) if noise else float("inf")


def run(seconds: float = 2.0) -> dict[str, Any]:
    """Quantizes, builds for TARGETS, compares; `seconds` of timing per implementation.

    All of it on one thread: matrices this small gain nothing from more, and latencies compare thread by thread.
    """
    torch.set_num_threads(1)
    _, evaluation = text.split()
    float_model = textgenrnn.load()
    integer_model = quantized()
    result: dict[str, Any] = {"sentences": len(evaluation)}
    with tempfile.TemporaryDirectory(prefix="irnn-textgenrnn-") as folder:
        libraries = {
            target: irnn_tvm.build(integer_model, target=target, out=Path(folder) / target, name="textgenrnn")
            for target in TARGETS
        }
        result |= _compare_with_float(float_model, libraries["host"], evaluation)
        sample = textgenrnn.encode(evaluation[0])[None]
        reference = [tensor.numpy() for tensor in integer_model(torch.from_numpy(sample))]
        for target, library in libraries.items():
            ids = sample.astype(library.inputs[0].dtype)
            whole = list(library.run(ids))
            result[f"{target}_equals_reference"] = _same(whole, reference)
            single = library.stream().steps(ids[:, t : t + 1] for t in range(ids.shape[1]))
            streamed = [np.concatenate(pieces, axis=1) for pieces in zip(*single, strict=True)]
            result[f"{target}_stream_equals_run"] = _same(streamed, whole)
        result["weights_ratio"] = round(_float_bytes(float_model) / _constant_bytes(integer_model), 3)
        result |= _latency(float_model, libraries["host"], sample, seconds)
    return result


def _compare_with_float(
    float_model: torch.nn.Module, library: Library, sentences: Sequence[str]
) -> dict[str, Any]:
    """SQNR of every layer in decibels, and how often the next character is the float features' choice."""
    values = textgenrnn.weights()
    floats: list[list[np.ndarray]] = []
    integers: list[list[np.ndarray]] = []
    same = characters = 0
    for sentence in sentences:
        ids = textgenrnn.encode(sentence)
        with torch.inference_mode():
            floats.append([layer[0].numpy() for layer in float_model(torch.from_numpy(ids)[None])])
        raw = library.run(ids[None].astype(library.inputs[0].dtype))
        integers.append([spec.dequantize(y)[0] for spec, y in zip(library.outputs, raw, strict=True)])
        features = [np.concatenate(layers, axis=-1) for layers in (floats[-1], integers[-1])]
        for end in range(textgenrnn.CONTEXT, len(ids)):
            window = slice(end - textgenrnn.CONTEXT, end)
            choices = [textgenrnn.next_character(values, part[window]).argmax() for part in features]
            same += int(choices[0] == choices[1])
            characters += 1
    result: dict[str, Any] = {}
    for index, layer in enumerate(LAYERS):
        expected, got = (np.concatenate([layers[index] for layers in part]) for part in (floats, integers))
        result[f"{layer}_sqnr_db"] = round(sqnr_db(expected, got), 2)
    return result | {"characters": characters, "same_next_character": round(same / characters, 4)}


def _same(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def _float_bytes(model: torch.nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def _constant_bytes(model: torch.nn.Module) -> int:
    """Weights, biases, multipliers and tables: everything that the integer model stores."""
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def _latency(
    float_model: torch.nn.Module, library: Library, sample: np.ndarray, seconds: float
) -> dict[str, float]:
    """Median microseconds per character of a sentence, torch on one thread and the library, in turns."""
    ids, stream = torch.from_numpy(sample), library.stream()
    narrow = sample.astype(library.inputs[0].dtype)
    times: dict[str, list[float]] = {"float": [], "integer": []}
    deadline = time.perf_counter() + 2 * seconds
    with torch.inference_mode():
        while time.perf_counter() < deadline or len(times["integer"]) < 5:
            start = time.perf_counter()
            float_model(ids)
            middle = time.perf_counter()
            stream.reset()
            stream.run(narrow)
            times["float"].append(middle - start)
            times["integer"].append(time.perf_counter() - middle)
    return {f"{kind}_us_per_character": round(median(t) * 1e6 / ids.shape[1], 2) for kind, t in times.items()}


def table(result: dict[str, Any]) -> Table:
    """The result for a terminal."""
    from rich.table import Table

    shown = Table("", "", title="textgenrnn: LSTM 128, LSTM 128", show_header=False)
    for key, value in result.items():
        shown.add_row(key.replace("_", " "), str(value))
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description="textgenrnn as a streaming integer library.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    from rich.console import Console

    with Console(stderr=True).status("quantizing, building, comparing"):
        result = run()
    if as_json:
        json.dump(result, sys.stdout)
        print()
    else:
        Console().print(table(result))


if __name__ == "__main__":
    main()
