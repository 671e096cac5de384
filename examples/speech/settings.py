"""Sizes and schedules: `quick` (minutes on two cores), `standard` (hours on two cores), `full` (a GPU)."""

from __future__ import annotations

from dataclasses import dataclass, field

from irnn_tvm.examples.speech.batches import Framing, Masking
from irnn_tvm.examples.training.loop import LoopSettings


@dataclass(frozen=True)
class Network:
    """One kind of model. channels, attention, embedding, decoder: of the attention model alone (see model.py).

    cell_limit: training adds CELL_PENALTY times what the LSTMs' last cell states exceed it by, on average; cells that
    count up over a recording, to 200 in first trials, leave 8-bit cell states no resolution. helper: share of the CTC
    loss in the attention model's training. from_ctc: the attention model's encoder starts as the trained CTC model's,
    which must have the same framing, width and layers; alignments are there from the first step on, and a fraction of
    the epochs is enough.
    """

    float_loop: LoopSettings
    qat_loop: LoopSettings
    framing: Framing
    hidden: int
    layers: int
    dropout: float
    batch: int = 16
    channels: int = 0
    attention: int = 0
    embedding: int = 0
    decoder: int = 0
    cell_limit: float = 8.0
    helper: float = 0.3
    from_ctc: bool = False
    label_smoothing: float = 0.1


@dataclass(frozen=True)
class Settings:
    """One size of the recipe.

    clips, tested: how many clips are trained with, and validated and tested with each (None: all). speeds: how many of
    corpus.SPEEDS training draws from. beam: texts that a beam search keeps.
    """

    name: str
    ctc: Network
    attention: Network
    masking: Masking = field(default_factory=Masking)
    speeds: int = 3
    clips: int | None = None
    tested: int | None = None
    seeds: tuple[int, ...] = (0,)
    beam: int = 8


QUICK = Settings(
    name="quick",
    ctc=Network(
        float_loop=LoopSettings(epochs=20, learning_rate=4e-3, warmup=20, clip=5.0),
        qat_loop=LoopSettings(epochs=1, learning_rate=2e-4, clip=1.0),
        framing=Framing(4, 16),
        hidden=80,
        layers=2,
        dropout=0.0,
        batch=8,
    ),
    attention=Network(
        float_loop=LoopSettings(epochs=4, learning_rate=2e-3, warmup=20, clip=5.0),
        qat_loop=LoopSettings(epochs=1, learning_rate=2e-4, clip=1.0),
        framing=Framing(4, 16),
        hidden=80,
        layers=2,
        dropout=0.1,
        batch=16,
        attention=32,
        embedding=16,
        decoder=48,
        from_ctc=True,
    ),
    masking=Masking(bands=4, frames=10, share=0.05),
    speeds=1,
    clips=600,
    tested=40,
    beam=4,
)
STANDARD = Settings(
    name="standard",
    ctc=Network(
        float_loop=LoopSettings(epochs=60, learning_rate=1e-3, warmup=300, clip=1.0),
        qat_loop=LoopSettings(epochs=2, learning_rate=2e-4, clip=1.0),
        framing=Framing(3, 16),
        hidden=160,
        layers=3,
        dropout=0.25,
        batch=8,
    ),
    attention=Network(
        float_loop=LoopSettings(epochs=35, learning_rate=1e-3, warmup=200, clip=1.0),
        qat_loop=LoopSettings(epochs=2, learning_rate=1e-4, clip=1.0),
        framing=Framing(3, 16),
        hidden=160,
        layers=3,
        dropout=0.3,
        attention=128,
        embedding=48,
        decoder=192,
        from_ctc=True,
    ),
)
FULL = Settings(
    name="full",
    ctc=Network(
        float_loop=LoopSettings(epochs=200, learning_rate=1e-3, warmup=500, clip=1.0),
        qat_loop=LoopSettings(epochs=10, learning_rate=1e-4, clip=1.0),
        framing=Framing(3, 16),
        hidden=320,
        layers=4,
        dropout=0.4,
    ),
    attention=Network(
        float_loop=LoopSettings(epochs=200, learning_rate=1e-3, warmup=1000, clip=1.0),
        qat_loop=LoopSettings(epochs=8, learning_rate=1e-4, clip=1.0),
        framing=Framing(2, 32),
        hidden=320,
        layers=4,
        dropout=0.4,
        channels=256,
        attention=256,
        embedding=64,
        decoder=320,
    ),
    seeds=(0, 1),
)
SETTINGS = {settings.name: settings for settings in (QUICK, STANDARD, FULL)}
