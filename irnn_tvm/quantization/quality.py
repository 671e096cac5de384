"""How close the integer model's outputs are to the float model's on the calibration data, and what is said of it."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from irnn_tvm.errors import QualityWarning

if TYPE_CHECKING:
    from irnn_tvm.quantization.integer_model import TensorSpec

LEAST_SQNR_DB = 30.0
LEAST_SAME_ARGMAX = 0.99


@dataclass(frozen=True)
class OutputQuality:
    """One output. sqnr_db: signal to quantization noise in dB, None for ids or an output of zeros. same_argmax: share
    (0..1) of equal argmax over the last axis for class scores, of equal ids; None for other outputs."""

    name: str
    sqnr_db: float | None
    same_argmax: float | None

    @property
    def is_good(self) -> bool:
        """30 dB and 99 % or more."""
        return (self.sqnr_db is None or self.sqnr_db >= LEAST_SQNR_DB) and (
            self.same_argmax is None or self.same_argmax >= LEAST_SAME_ARGMAX
        )

    def __str__(self) -> str:
        figures = [] if self.sqnr_db is None else [f"{self.sqnr_db:.1f} dB"]
        figures += [] if self.same_argmax is None else [f"{100 * self.same_argmax:.1f} % equal argmax"]
        return f"{self.name!r}: {', '.join(figures)}"


@dataclass(frozen=True)
class Loss:
    """tensor: what is rounded. sqnr_db: of the worst output, in dB, when this rounding alone is put into the float
    model. advice: the setting that would help."""

    tensor: str
    sqnr_db: float
    advice: str


@dataclass(frozen=True)
class Quality:
    """outputs: in the order of the model's. losses: roundings that lose most, the worst first; they are looked for only
    where an output is not good."""

    outputs: tuple[OutputQuality, ...]
    losses: tuple[Loss, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether all outputs are."""
        return all(output.is_good for output in self.outputs)

    def warn(self, model_name: str) -> None:
        """One QualityWarning, where an output is not good."""
        if self.is_good:
            return
        bad = "; ".join(str(output) for output in self.outputs if not output.is_good)
        text = (
            f"{model_name}: the integer model is far from the float model on the calibration data (output {bad}; good "
            f"are {LEAST_SQNR_DB:.0f} dB and {100 * LEAST_SAME_ARGMAX:.0f} %)."
        )
        if self.losses:
            worst = self.losses[0]
            text += (
                f" What loses most is the rounding of {worst.tensor}: {worst.sqnr_db:.1f} dB by itself. "
                f"{worst.advice} print_report() shows every tensor."
            )
        else:
            text += (
                " No single rounding stands out: the network makes small differences large. Training with the "
                "roundings helps (irnn_tvm.prepare_qat, docs/training.md). print_report() shows every tensor."
            )
        # In front of measure, quantize or convert, and the guard around it.
        warnings.warn(QualityWarning(text), stacklevel=5)


@dataclass
class Comparison:
    """Adds up how one output differs, batch by batch. scores: its last axis holds class scores."""

    spec: TensorSpec
    scores: bool
    signal: float = 0.0
    noise: float = 0.0
    equal: int = 0
    places: int = 0

    def add(self, real: Tensor, found: Tensor) -> None:
        """One batch: the float output, and the integers."""
        if self.spec.scale is None or self.spec.zero_point is None:
            self.equal += int((real == found).sum())
            self.places += real.numel()
            return
        exact = real.double()
        shown = (found.double() - self.spec.zero_point) * self.spec.scale
        self.signal += float((exact * exact).sum())
        self.noise += float(((shown - exact) ** 2).sum())
        if self.scores:
            self.equal += int((real.argmax(-1) == found.argmax(-1)).sum())
            self.places += real.numel() // real.shape[-1]

    def result(self) -> OutputQuality:
        """The figures. A single place that differs says nothing yet."""
        share = None
        if self.places:
            share = 1.0 if self.places - self.equal == 1 else self.equal / self.places
        return OutputQuality(self.spec.name, decibels(self.signal, self.noise), share)


def decibels(signal: float, noise: float) -> float | None:
    """10 log10(signal / noise); None without a signal, infinity without noise."""
    if signal == 0.0:
        return None
    return math.inf if noise == 0.0 else 10.0 * math.log10(signal / noise)
