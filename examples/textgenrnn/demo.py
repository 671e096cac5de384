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
LAYERS = {
    "embedding": slice(0, textgenrnn.EMBEDDING),
    "rnn_1": slice(textgenrnn.EMBEDDING, textgenrnn.EMBEDDING + textgenrnn.HIDDEN),
    "rnn_2": slice(textgenrnn.EMBEDDING + textgenrnn.HIDDEN, textgenrnn.EMBEDDING + 2 * textgenrnn.HIDDEN),
}


def quantized() -> IntegerModel:
    """The integer stack, calibrated on the sentences set apart for that."""
    calibration, _ = text.split()
    batches = [torch.from_numpy(textgenrnn.encode(sentence))[None] for sentence in calibration]
    return irnn_tvm.quantize(textgenrnn.load(), batches)


def sqnr_db(reference: np.ndarray, approximation: np.ndarray) -> float:
    """Signal-to-quantization-noise ratio in decibels."""
    noise = np.sum((reference.astype(np.float64) - approximation) ** 2)
    return float(10 * np.log10(np.sum(reference.astype(np.float64) ** 2) / noise)) if noise else float("inf")


def stream_text(library: Library, ids: np.ndarray) -> np.ndarray:
    """Features of ids [1, T] fed one character at a time through one stream."""
    stream = library.stream()
    return np.concatenate([np.asarray(stream.step(ids[:, t : t + 1])) for t in range(ids.shape[1])], axis=1)


def run(seconds: float = 2.0) -> dict[str, Any]:
    """Quantizes, builds for TARGETS, compares; `seconds` of timing per implementation."""
    _, evaluation = text.split()
    float_model, values = textgenrnn.load(), textgenrnn.weights()
    integer_model = quantized()
    result: dict[str, Any] = {"sentences": len(evaluation)}
    with tempfile.TemporaryDirectory(prefix="irnn-textgenrnn-") as folder:
        libraries = {
            target: irnn_tvm.build(integer_model, target=target, out=Path(folder) / target, name="textgenrnn")
            for target in TARGETS
        }
        host = libraries["host"]
        output = host.report["outputs"][0]
        dtype = np.dtype(host.report["inputs"][0]["dtype"])

        floats, integers, same_character, characters = [], [], 0, 0
        for sentence in evaluation:
            ids = textgenrnn.encode(sentence)
            with torch.inference_mode():
                expected = float_model(torch.from_numpy(ids)[None])[0].numpy()
            raw = np.asarray(host.run(ids[None].astype(dtype)))
            got = ((raw[0].astype(np.float64) - output["zero_point"]) * output["scale"]).astype(np.float32)
            floats.append(expected)
            integers.append(got)
            for end in range(textgenrnn.CONTEXT, len(ids)):
                window = slice(end - textgenrnn.CONTEXT, end)
                choices = [
                    textgenrnn.next_character(values, features[window]).argmax()
                    for features in (expected, got)
                ]
                same_character += int(choices[0] == choices[1])
                characters += 1
        reference, approximation = np.concatenate(floats), np.concatenate(integers)
        for layer, columns in LAYERS.items():
            result[f"{layer}_sqnr_db"] = round(sqnr_db(reference[:, columns], approximation[:, columns]), 2)
        result |= {"characters": characters, "same_next_character": round(same_character / characters, 4)}

        sample = textgenrnn.encode(evaluation[0])[None]
        wanted = integer_model(torch.from_numpy(sample))
        wanted = np.asarray(wanted[0] if isinstance(wanted, tuple | list) else wanted)
        for target, library in libraries.items():
            whole = np.asarray(library.run(sample.astype(dtype)))
            result[f"{target}_equals_reference"] = bool((whole == wanted).all())
            streamed = stream_text(library, sample.astype(dtype))
            result[f"{target}_stream_equals_run"] = bool((streamed == whole).all())

        result["weights_ratio"] = round(_float_bytes(float_model) / _constant_bytes(integer_model), 3)
        result |= _latency(float_model, host, sample, dtype, seconds)
    return result


def _float_bytes(model: torch.nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def _constant_bytes(model: torch.nn.Module) -> int:
    """Weights, biases, multipliers and tables: everything that the integer model stores."""
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def _latency(
    float_model: torch.nn.Module, library: Library, sample: np.ndarray, dtype: np.dtype[Any], seconds: float
) -> dict[str, float]:
    """Median microseconds per character of a sentence, torch on one thread and the library, in turns."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ids, narrow, stream = torch.from_numpy(sample), sample.astype(dtype), library.stream()
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
        return {
            f"{kind}_us_per_character": round(median(t) * 1e6 / ids.shape[1], 2) for kind, t in times.items()
        }
    finally:
        torch.set_num_threads(threads)


def table(result: dict[str, Any]) -> Table:
    """The result for a terminal."""
    from rich.table import Table

    shown = Table("", "", title="textgenrnn: embedding 100, LSTM 128, LSTM 128", show_header=False)
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
