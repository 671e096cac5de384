"""Sizes and schedules of the recipe: `quick` (minutes on two cores), `standard` (hours on two cores), `full` (a GPU)."""

from __future__ import annotations

from dataclasses import dataclass

from irnn_tvm.examples.language_model.task import Sampling
from irnn_tvm.examples.training.loop import LoopSettings


@dataclass(frozen=True)
class Settings:
    """One size of the recipe. documents: how many training documents are used (None: all); tied: see LanguageModel."""

    name: str
    float_loop: LoopSettings
    qat_loop: LoopSettings
    sampling: Sampling
    hidden: int = 256
    layers: int = 2
    dropout: float = 0.25
    tied: bool = True
    batch: int = 32
    steps: int = 35
    vocabulary: int = 10_000
    documents: int | None = None


QUICK = Settings(
    name="quick",
    float_loop=LoopSettings(epochs=2, learning_rate=4e-3, warmup=20),
    qat_loop=LoopSettings(epochs=1, learning_rate=2e-4, clip=0.5),
    sampling=Sampling(until=2, frequent=500, drawn=500),
    hidden=64,
    dropout=0.1,
    vocabulary=2_000,
    documents=40,
)
STANDARD = Settings(
    name="standard",
    float_loop=LoopSettings(epochs=12, learning_rate=2e-3, warmup=200),
    qat_loop=LoopSettings(epochs=1, learning_rate=1e-4, clip=0.5),
    sampling=Sampling(until=10),
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
