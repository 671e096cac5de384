"""Whole pretrained networks on one core, from Python: the integer libraries beside PyTorch and ONNX Runtime.

g2p (a GRU encoder and a GRU decoder, a word at a time) and textgenrnn (two LSTM layers; whole sentences, or a
character at a time). Answers are compared with those of the float model: phonemes of whole words, the most probable
next character. All runtimes take turns; figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from latency import environment, take_turns, timer
from peers import onnx_models, onnx_runtime, ours
from performance_tables import models_table

import irnn_tvm
from irnn_tvm import Library
from irnn_tvm.examples.g2p import model as g2p
from irnn_tvm.examples.g2p import words as word_lists
from irnn_tvm.examples.g2p.integer import Pronouncer, quantize_decoder, quantize_encoder
from irnn_tvm.examples.textgenrnn import demo as textgenrnn_demo
from irnn_tvm.examples.textgenrnn import model as textgenrnn
from irnn_tvm.examples.textgenrnn import text

TORCH = "torch f32"
TIMED_WORDS, COMPARED_WORDS = 50, 300
Answers = Callable[[Any], Any]


@dataclass(frozen=True)
class Job:
    """A model with its runtimes. answer: an item -> what is compared. work: does all of `timed` once.

    items: words or characters in one call of work.
    """

    model: str
    item: str
    what: str
    answers: dict[str, Answers]
    work: dict[str, Callable[[], object]]
    items: int
    compared: Sequence[Any]


def g2p_job(folder: Path) -> Job:
    """Letters to phonemes: an item is a word, its answer the list of its phonemes."""
    calibration, evaluation = word_lists.split(COMPARED_WORDS)
    encoder, decoder = g2p.load()
    halves = {
        "g2p_encoder": quantize_encoder(encoder, calibration),
        "g2p_decoder": quantize_decoder(encoder, decoder, calibration),
    }
    libraries = [
        irnn_tvm.build(model, target="host", out=folder / name, name=name) for name, model in halves.items()
    ]
    answers: dict[str, Answers] = {
        ours.NAME_PYTHON: Pronouncer(*libraries),
        TORCH: lambda word: g2p.predict(encoder, decoder, word),
    }
    answers |= with_onnx_runtime(lambda quantized: g2p_session(encoder, decoder, quantized))
    timed = evaluation[:TIMED_WORDS]
    work = {name: all_of(answer, timed) for name, answer in answers.items()}
    return Job("g2p", "word", "words", answers, work, len(timed), evaluation)


def g2p_session(encoder: g2p.Encoder, decoder: g2p.Decoder, quantized: bool) -> Answers:
    """The loop of g2p.predict over two ONNX graphs."""
    reader = onnx_runtime.of_model(onnx_models.encoder(encoder), quantized)
    writer = onnx_runtime.of_model(onnx_models.decoder(decoder), quantized)

    def pronounce(word: str) -> list[int]:
        (hidden,) = reader.run(None, {"ids": np.array(g2p.encode_word(word), np.int64)[:, None]})
        token, phonemes = g2p.START, []
        while len(phonemes) < g2p.MAX_PHONEMES:
            feed = {"ids": np.array([[token]], np.int64), "h_y_in": hidden}
            logits, hidden = writer.run(None, feed)
            token = int(logits.argmax())
            if token == g2p.END:
                break
            phonemes.append(token)
        return phonemes

    return pronounce


def textgenrnn_jobs(folder: Path) -> list[Job]:
    """Text: an item is a sentence's ids [T], its answer the most probable characters after every place.

    Two jobs: whole sentences, and a character at a time, where every runtime keeps its states.
    """
    network, values = textgenrnn.load(), textgenrnn.weights()
    library = irnn_tvm.build(
        textgenrnn_demo.quantized(), target="host", out=folder / "textgenrnn", name="textgenrnn"
    )
    sentences = [textgenrnn.encode(sentence) for sentence in text.split()[1]]
    jobs = []
    for streaming in (False, True):
        # ids [T] -> three arrays each of float32 [T, X] or, ours, of integers
        runtimes: dict[str, Callable[[np.ndarray], list[np.ndarray]]] = {
            ours.NAME_PYTHON: library_features(library, streaming),
            TORCH: torch_features(network, streaming),
        }
        runtimes |= with_onnx_runtime(lambda q, s=streaming: session_features(network, q, s))

        timed = sentences[:2]
        jobs.append(
            Job(
                "textgenrnn, a character at a time" if streaming else "textgenrnn, sentences",
                "character",
                "next characters",
                {name: next_characters(values, library, name, run) for name, run in runtimes.items()},
                {name: all_of(run, timed) for name, run in runtimes.items()},
                sum(len(ids) for ids in timed),
                sentences,
            )
        )
    return jobs


def next_characters(
    values: dict[str, np.ndarray],
    library: Library,
    name: str,
    run: Callable[[np.ndarray], list[np.ndarray]],
) -> Answers:
    """A runtime's features as its choices of the next character, after every place with a whole context."""

    def choices(ids: np.ndarray) -> list[int]:
        found = run(ids)
        if name == ours.NAME_PYTHON:
            found = [spec.dequantize(y) for spec, y in zip(library.outputs, found, strict=True)]
        features = np.concatenate(found, axis=-1)
        return [
            int(textgenrnn.next_character(values, features[end - textgenrnn.CONTEXT : end]).argmax())
            for end in range(textgenrnn.CONTEXT, len(features))
        ]

    return choices


def library_features(library: Library, streaming: bool) -> Callable[[np.ndarray], list[np.ndarray]]:
    stream, dtype = library.stream(), library.inputs[0].dtype

    def whole(ids: np.ndarray) -> list[np.ndarray]:
        stream.reset()
        return [y[0] for y in stream.run(ids[None].astype(dtype))]

    def single(ids: np.ndarray) -> list[np.ndarray]:
        stream.reset()
        narrow = ids[:, None, None].astype(dtype)
        rows = [stream.step(x) for x in narrow]
        return [np.concatenate(parts, axis=1)[0] for parts in zip(*rows, strict=True)]

    return single if streaming else whole


def torch_features(network: textgenrnn.Features, streaming: bool) -> Callable[[np.ndarray], list[np.ndarray]]:
    @torch.inference_mode()
    def whole(ids: np.ndarray) -> list[np.ndarray]:
        return [y[0].numpy() for y in network(torch.from_numpy(ids)[None])]

    @torch.inference_mode()
    def single(ids: np.ndarray) -> list[np.ndarray]:
        first_state = second_state = None
        rows = []
        for token in torch.from_numpy(ids)[:, None, None]:
            embedded = network.embedding(token)
            first, first_state = network.rnn_1(embedded, first_state)
            second, second_state = network.rnn_2(first, second_state)
            rows.append((embedded, first, second))
        return [torch.cat(parts, dim=1)[0].numpy() for parts in zip(*rows, strict=True)]

    return single if streaming else whole


def session_features(
    network: textgenrnn.Features, quantized: bool, streaming: bool
) -> Callable[[np.ndarray], list[np.ndarray]]:
    session = onnx_runtime.of_model(onnx_models.features(network, states=streaming), quantized)
    states = [entry.name for entry in session.get_inputs()[1:]]
    zeros = np.zeros((1, 1, textgenrnn.HIDDEN), np.float32)

    def whole(ids: np.ndarray) -> list[np.ndarray]:
        return [y[:, 0] for y in session.run(None, {"ids": ids[:, None]})]

    def single(ids: np.ndarray) -> list[np.ndarray]:
        feed = dict.fromkeys(states, zeros)
        rows = []
        for token in ids[:, None, None]:
            *features, _, _, _, _ = outputs = session.run(None, feed | {"ids": token})
            feed = dict(zip(states, outputs[3:], strict=True))
            rows.append(features)
        return [np.concatenate(parts)[:, 0] for parts in zip(*rows, strict=True)]

    return single if streaming else whole


def with_onnx_runtime(make: Callable[[bool], Any]) -> dict[str, Any]:
    """What `make(quantized)` makes, by the runtime's name; nothing where packages are missing."""
    try:
        return {onnx_runtime.F32.name: make(False), onnx_runtime.INT8.name: make(True)}
    except ImportError as error:
        print(f"no onnxruntime: {error.name} is not installed", file=sys.stderr)
        return {}


def all_of(function: Callable[[Any], object], items: Sequence[Any]) -> Callable[[], object]:
    def work() -> None:
        for item in items:
            function(item)

    return work


def agreement(job: Job) -> dict[str, tuple[float, int]]:
    """Runtime to (share of answers that are the float model's, how many there are)."""
    expected = [job.answers[TORCH](item) for item in job.compared]
    found = {}
    for name, answer in job.answers.items():
        got = [answer(item) for item in job.compared]
        if job.item == "word":
            same = [a == b for a, b in zip(got, expected, strict=True)]
        else:
            pairs = zip(got, expected, strict=True)
            same = [a == b for left, right in pairs for a, b in zip(left, right, strict=True)]
        found[name] = (sum(same) / len(same), len(same))
    return found


def rows(job: Job, rounds: int, slice_seconds: float) -> Iterator[dict[str, Any]]:
    """A row per runtime."""
    same = agreement(job)
    times = take_turns({name: timer(work) for name, work in job.work.items()}, rounds, slice_seconds)
    for name, values in times.items():
        share, count = same[name]
        yield {
            "bench": "model",
            "model": job.model,
            "runtime": name,
            "item": job.item,
            "us_median": round(median(values) * 1e6 / job.items, 3),
            "us_min": round(min(values) * 1e6 / job.items, 3),
            "items": job.items,
            "rounds": rounds,
            "same": round(share, 5),
            "compared": count,
            "what": job.what,
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", choices=("g2p", "textgenrnn"), help="default: both")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--slice", type=float, default=0.1, help="seconds of a runtime in a round")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="core to run on")
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of a table")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    torch.set_num_threads(1)
    found, where = [], environment()
    with tempfile.TemporaryDirectory(prefix="irnn-bench-") as name:
        for model in arguments.model or ("g2p", "textgenrnn"):
            jobs = [g2p_job(Path(name))] if model == "g2p" else textgenrnn_jobs(Path(name))
            for job in jobs:
                for row in rows(job, arguments.rounds, arguments.slice):
                    found.append(row)
                    if arguments.json:
                        print(json.dumps(row | where), flush=True)
    if not arguments.json:
        print("\n".join(models_table(found)))
        print(f"\n{where}")


if __name__ == "__main__":
    main()
