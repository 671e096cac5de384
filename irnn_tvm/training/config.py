"""QatConfig: every choice of quantization-aware training in one frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from irnn_tvm.errors import QuantizationError
from irnn_tvm.quantization.config import QuantConfig

RANGES = ("observed", "learned")
GRADIENTS = ("pwl", "function")


@dataclass(frozen=True)
class QatConfig:
    """How a float model is trained towards its integers. Raises QuantizationError for a value out of range.

    Steps are counted by `QatModel.step`. A twin goes through four phases:

    1. float: `float_steps` steps of the float model itself, nothing is rounded.
    2. observe: `observe_steps` steps with every rounding of the integers in the forward pass, ranges following
       what the observers of `quant` see.
    3. learn: with ranges="learned", until step `freeze_step`, ranges are trained too (LSQ: a gain per tensor).
    4. frozen: ranges stay, piecewise-linear tables are fitted to the histograms and computed with; every
       `refit_every` steps (0: never) they are fitted again to fresh histograms.

    - quant: widths, observers and pieces of the integer model; weight_rounding is "nearest" in training.
    - ranges: "observed" (phase 3 is skipped) or "learned".
    - pwl_gradient: derivative of an activation in the backward pass, once its table is fitted: the "pwl" segment's
      slope, or that of the true "function".
    - cell_clip: largest |cell state| that the LSTM cell's grid represents, or None for what was seen.
    - max_growth: a range that grows beyond this factor of its first value stops the training.
    - snapshot_every: steps between copies of the twin that `restore` goes back to.
    """

    quant: QuantConfig = field(default_factory=QuantConfig)
    float_steps: int = 0
    observe_steps: int = 100
    freeze_step: int = 500
    refit_every: int = 0
    ranges: str = "observed"
    pwl_gradient: str = "pwl"
    cell_clip: float | None = None
    max_growth: float = 100.0
    snapshot_every: int = 100

    def __post_init__(self) -> None:
        if not isinstance(self.quant, QuantConfig):
            raise QuantizationError(f"quant is a {type(self.quant).__name__}, not a QuantConfig")
        object.__setattr__(self, "quant", replace(self.quant, weight_rounding="nearest"))
        for name, least in (
            ("float_steps", 0),
            ("observe_steps", 1),
            ("refit_every", 0),
            ("snapshot_every", 1),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise QuantizationError(f"{name}={value!r} is not an integer of at least {least}")
        if self.ranges not in RANGES:
            raise QuantizationError(f"ranges={self.ranges!r} is unknown; supported: {', '.join(RANGES)}")
        if self.pwl_gradient not in GRADIENTS:
            raise QuantizationError(
                f"pwl_gradient={self.pwl_gradient!r} is unknown; supported: {', '.join(GRADIENTS)}"
            )
        if self.ranges == "learned" and self.freeze_step <= self.float_steps + self.observe_steps:
            raise QuantizationError(
                f"freeze_step={self.freeze_step} leaves no step to learn ranges in; it must be beyond "
                f"float_steps + observe_steps = {self.float_steps + self.observe_steps}"
            )
        if self.cell_clip is not None and not self.cell_clip > 0:
            raise QuantizationError(f"cell_clip={self.cell_clip!r} is not a positive number")
        if not self.max_growth > 1:
            raise QuantizationError(f"max_growth={self.max_growth!r} is not above 1")

    @property
    def frozen_from(self) -> int:
        """First step of the phase "frozen"."""
        return self.freeze_step if self.ranges == "learned" else self.float_steps + self.observe_steps

    def phase(self, step: int) -> str:
        """Name of the phase that step number `step` (from 0) belongs to."""
        if step < self.float_steps:
            return "float"
        if step < self.float_steps + self.observe_steps:
            return "observe"
        return "learn" if step < self.frozen_from else "frozen"
