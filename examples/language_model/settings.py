"""Sizes and schedules of the recipe: `quick` (minutes on two cores), `standard` (hours on two cores), `full` (a
GPU).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from irnn_tvm.examples.language_model.task import Sampling
from irnn_tvm.examples.training.loop import LoopSettings


@dataclass(frozen=True)
class Settings:
    """One size of the recipe.

    variant_epochs: of the float networks that are not a plain LSTM, whose steps take about twice as long; those of
    float_loop when None. every: only every so many-th training document is used. tied: see LanguageModel. cell_limit:
    see LanguageModelTask. qat_batches: of an epoch of quantization-aware training, all when None. observe_steps: see
    irnn_tvm.QatConfig.
    """

    name: str
    float_loop: LoopSettings
    qat_loop: LoopSettings
    sampling: Sampling
    variant_epochs: int | None = None
    hidden: int = 256
    layers: int = 2
    dropout: float = 0.25
    tied: bool = True
    cell_limit: float = 8.0
    batch: int = 32
    steps: int = 35
    vocabulary: int = 10_000
    every: int = 1
    qat_batches: int | None = None
    observe_steps: int = 50
    calibration: int = 6
    seeds: tuple[int, ...] = (0,)

    def loop(self, variant: str) -> LoopSettings:
        """The schedule of a variant's float training."""
        if variant == "lstm" or self.variant_epochs is None:
            return self.float_loop
        return replace(self.float_loop, epochs=self.variant_epochs)


QUICK = Settings(
    name="quick",
    float_loop=LoopSettings(epochs=8, learning_rate=3e-3, warmup=50),
    qat_loop=LoopSettings(epochs=1, learning_rate=2e-4, clip=0.5),
    sampling=Sampling(until=7, frequent=500, drawn=500),
    hidden=64,
    dropout=0.1,
    vocabulary=2_000,
    every=10,
    observe_steps=20,
)
STANDARD = Settings(
    name="standard",
    float_loop=LoopSettings(epochs=6, learning_rate=2e-3, warmup=200),
    variant_epochs=4,
    qat_loop=LoopSettings(epochs=1, learning_rate=1e-4, clip=0.5),
    sampling=Sampling(until=6),
    qat_batches=150,
    observe_steps=30,
)
FULL = Settings(
    name="full",
    float_loop=LoopSettings(epochs=60, learning_rate=2e-3, warmup=400),
    qat_loop=LoopSettings(epochs=6, learning_rate=1e-4, clip=0.5),
    sampling=Sampling(until=0),
    hidden=650,
    dropout=0.5,
)
SETTINGS = {settings.name: settings for settings in (QUICK, STANDARD, FULL)}
