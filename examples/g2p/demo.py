"""The main job: a pretrained sequence-to-sequence GRU pronounces real words with integers alone.

    irnn-tvm demo [--json] [--words N]

Quantizes on calibration words, builds both halves for this machine and for a Cortex-M7, and runs other words
through all of it: the float model, the integer libraries here, and one firmware image on an emulated board.
"""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import irnn_tvm
from irnn_tvm.errors import InputError
from irnn_tvm.examples.g2p import firmware
from irnn_tvm.examples.g2p import model as g2p
from irnn_tvm.examples.g2p import words as word_lists
from irnn_tvm.examples.g2p.integer import Pronouncer, Trace, quantize_decoder, quantize_encoder
from irnn_tvm.quantization import IntegerModel
from irnn_tvm.runtime import Library

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

FIRMWARE_TARGET = "cortex-m7"
TIMED_WORDS = 300
COUNTED_WORDS = 50


def run(
    words: int = word_lists.EVALUATION_WORDS,
    most_frequent: int = word_lists.MOST_FREQUENT,
    host_only: bool = False,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Everything, with progress on stderr. Returns the figures by name.

    words: how many to pronounce, out of the `most_frequent` ones of the list. keep: directory for what is built.

    All of it on one thread: matrices this small gain nothing from more, and latencies compare thread by thread.
    """
    torch.set_num_threads(1)
    calibration, evaluation = word_lists.split(words, most_frequent)
    if len(evaluation) < words:
        raise InputError(f"the word list has {len(evaluation)} words for evaluation, {words} were asked for")
    encoder, decoder = g2p.load()
    with _progress() as progress, _folder(keep) as folder:
        task = progress.add_task("quantizing", total=2)
        integer_encoder = quantize_encoder(encoder, calibration)
        progress.advance(task)
        integer_decoder = quantize_decoder(encoder, decoder, calibration)
        progress.advance(task)

        targets = ["host"] if host_only else ["host", FIRMWARE_TARGET]
        task = progress.add_task(f"building for {' and '.join(targets)}", total=2 * len(targets))
        libraries: dict[tuple[str, str], Library] = {}
        for target in targets:
            for name, model in (("g2p_encoder", integer_encoder), ("g2p_decoder", integer_decoder)):
                out = folder / f"{name}-{target}"
                libraries[target, name] = irnn_tvm.build(model, target=target, out=out, name=name)
                progress.advance(task)

        floats = [
            g2p.predict(encoder, decoder, word)
            for word in progress.track(evaluation, description="float model")
        ]
        pronounce = Pronouncer(libraries["host", "g2p_encoder"], libraries["host", "g2p_decoder"])
        traces = [Trace() for _ in evaluation]
        integers = [
            pronounce(word, trace)
            for word, trace in progress.track(
                list(zip(evaluation, traces, strict=True)), description="integers, host"
            )
        ]
        same = sum(ours == theirs for ours, theirs in zip(integers, floats, strict=True))
        float_bytes, integer_bytes = (
            _float_bytes(encoder, decoder),
            _constant_bytes(integer_encoder, integer_decoder),
        )
        result: dict[str, Any] = {
            "words": words,
            "calibration_words": len(calibration),
            "most_frequent": most_frequent,
            "exact_match": round(same / words, 5),
            "float_weight_bytes": float_bytes,
            "integer_weight_bytes": integer_bytes,
            "weights_ratio": round(float_bytes / integer_bytes, 3),
            "host": platform.machine(),
            **_latency(
                encoder, decoder, pronounce, progress.track(evaluation[:TIMED_WORDS], description="timing")
            ),
            "m7_words": None,
            "m7_identical": None,
            "m7_instructions_per_word": None,
            "flash_bytes": None,
            "ram_bytes": None,
            "stack_bytes": None,
        }
        if not host_only:
            image = firmware.link(
                libraries[FIRMWARE_TARGET, "g2p_encoder"],
                libraries[FIRMWARE_TARGET, "g2p_decoder"],
                folder / "g2p-cortex-m7.elf",
            )
            result |= _on_the_board(image, evaluation, traces, progress)
    return result


def _on_the_board(
    image: firmware.Firmware, words: Sequence[str], traces: Sequence[Trace], progress: Progress
) -> dict[str, Any]:
    """Runs every word on the emulated Cortex-M7 and compares each logit and each state with the host's."""
    pieces = [(start, list(words[start : start + 50])) for start in range(0, len(words), 50)]
    task = progress.add_task("integers, Cortex-M7", total=len(words))
    identical, stack = True, 0

    def one(piece: tuple[int, list[str]]) -> tuple[int, firmware.Run]:
        return piece[0], firmware.run(image, piece[1])

    with ThreadPoolExecutor(2) as pool:
        for start, done in pool.map(one, pieces):
            expected = traces[start : start + len(done.traces)]
            identical &= all(_same(ours, theirs) for ours, theirs in zip(done.traces, expected, strict=True))
            stack = max(stack, done.stack_bytes)
            progress.advance(task, len(done.traces))
    # What the program does before the first word is not part of a word.
    sample = list(words[:COUNTED_WORDS])
    counts = [firmware.run(image, part, count_instructions=True).instructions or 0 for part in ([], sample)]
    return {
        "m7_words": len(words),
        "m7_identical": identical,
        "m7_instructions_per_word": round((counts[1] - counts[0]) / len(sample)),
        "flash_bytes": image.flash_bytes,
        "ram_bytes": image.static_bytes + stack,
        "stack_bytes": stack,
    }


def _same(ours: Trace, theirs: Trace) -> bool:
    return (
        ours.phonemes == theirs.phonemes
        and all(np.array_equal(a, b) for a, b in zip(ours.logits, theirs.logits, strict=True))
        and all(np.array_equal(a, b) for a, b in zip(ours.states, theirs.states, strict=True))
    )


def _latency(
    encoder: g2p.Encoder, decoder: g2p.Decoder, pronounce: Pronouncer, words: Iterable[str]
) -> dict[str, float]:
    """Median microseconds per word: eager PyTorch on one thread and the library, in turns, word by word."""
    times: dict[str, list[float]] = {"float": [], "integer": []}
    for word in words:
        start = time.perf_counter()
        g2p.predict(encoder, decoder, word)
        middle = time.perf_counter()
        pronounce(word)
        times["float"].append(middle - start)
        times["integer"].append(time.perf_counter() - middle)
    return {f"{kind}_us_per_word": round(median(seconds) * 1e6, 1) for kind, seconds in times.items()}


def _float_bytes(*models: torch.nn.Module) -> int:
    return sum(
        parameter.numel() * parameter.element_size() for model in models for parameter in model.parameters()
    )


def _constant_bytes(*models: IntegerModel) -> int:
    """Everything that the integer models store: weights, biases, multipliers, activation tables."""
    return sum(
        tensor.numel() * tensor.element_size() for model in models for tensor in model.state_dict().values()
    )


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
    else:
        with tempfile.TemporaryDirectory(prefix="irnn-demo-") as folder:
            yield Path(folder)


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))


def table(result: dict[str, Any]) -> Table:
    """The figures for a terminal."""
    from rich.table import Table

    shown = Table("", "float", "integer", title="g2p-en: 2 GRU 256, embeddings, linear: words to phonemes")
    shown.add_row("words", f"{result['words']:,}", f"{result['words']:,}")
    shown.add_row("same phonemes as the float model", "", f"{100 * result['exact_match']:.2f} %")
    shown.add_row(
        "weights, biases, tables",
        f"{result['float_weight_bytes']:,} B",
        f"{result['integer_weight_bytes']:,} B ({result['weights_ratio']:.2f}x smaller)",
    )
    shown.add_row(
        f"per word on this {result['host']}, one thread",
        f"{result['float_us_per_word']:,.0f} µs (torch)",
        f"{result['integer_us_per_word']:,.0f} µs",
    )
    if result["m7_words"] is not None:
        shown.add_section()
        same = "yes, every logit and state" if result["m7_identical"] else "NO"
        shown.add_row(f"Cortex-M7 identical to the host ({result['m7_words']:,} words)", "", same)
        shown.add_row("instructions per word (QEMU)", "", f"{result['m7_instructions_per_word']:,}")
        shown.add_row("flash of the firmware", "", f"{result['flash_bytes']:,} B")
        stack = result["stack_bytes"]
        shown.add_row("RAM of the firmware", "", f"{result['ram_bytes']:,} B ({stack:,} B of it stack)")
    return shown
