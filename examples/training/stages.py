"""From a float model to measured integer libraries: the stages that every recipe goes through.

float -> post-training quantization -> quantization-aware training, for each width and number of pieces; the integer
figures come from the library that `irnn_tvm.build` makes for `host`. A stage whose row exists is not run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

import irnn_tvm
from irnn_tvm.errors import InputError
from irnn_tvm.examples.training.loop import LoopSettings, Progress, Task, fit
from irnn_tvm.examples.training.results import Results, Row, commit
from irnn_tvm.runtime import Library

if TYPE_CHECKING:
    from irnn_tvm.training.twin import QatModel

WIDTHS = ("8/16", "8")
PIECES = (8, 16, 32)
AVERAGED = ("activation", "hidden", "gate", "cell")  # classes of tensors, see Variant.quant
Say = Callable[[str], None]


@dataclass(frozen=True)
class Variant:
    """One integer version of a model: stage "ptq" or "qat", bits from WIDTHS, pieces per table."""

    stage: str
    bits: str
    pieces: int

    def quant(self) -> irnn_tvm.QuantConfig:
        """The widths. With 8 bits everywhere, training takes averages of the batches' extremes for ranges: over the
        many batches that it sees, the extremes themselves cost the resolution that 8 bits do not have to spare.
        """
        if self.bits not in WIDTHS:
            raise InputError(f"bits={self.bits!r} is not one of {', '.join(WIDTHS)}")
        if self.bits != "8":
            return irnn_tvm.QuantConfig(pwl_pieces=self.pieces)
        averages = {f"{name}_observer": "moving_average" for name in AVERAGED} if self.stage == "qat" else {}
        return irnn_tvm.QuantConfig.int8(pwl_pieces=self.pieces, **averages)

    @property
    def folder(self) -> str:
        return f"{self.stage}-{self.bits.replace('/', 'x')}-{self.pieces}"


EVERY_VARIANT = tuple(
    Variant(stage, bits, pieces) for stage in ("ptq", "qat") for bits in WIDTHS for pieces in reversed(PIECES)
)


class Job(Protocol):
    """One model of a recipe at one size with one seed: what `run_stages` needs to know of it."""

    recipe: str
    model: str
    seed: int
    metric: str
    device: str

    @property
    def size(self) -> str:
        """quick, standard or full."""

    @property
    def data(self) -> str:
        """Archive and checksum, for result rows."""

    def train_float(self, folder: Path, resume: bool, say: Say) -> tuple[nn.Module, float]:
        """The trained float model in eval mode, and the seconds that it took; checkpoints go to `folder`."""

    def float_value(self, model: nn.Module) -> float:
        """The metric of the float model on the test part."""

    def calibration(self, model: nn.Module) -> list[Any]:
        """Batches of training data for irnn_tvm.quantize."""

    def qat_task(self, model: nn.Module) -> Task:
        """What `fit` needs to train the twin of `model`."""

    def qat_loop(self) -> LoopSettings:
        """The schedule of quantization-aware training."""

    def quant_config(self, variant: Variant) -> irnn_tvm.QuantConfig:
        """Widths and observers of both stages: `variant.quant()`, unless the recipe knows better."""

    def qat_config(self, quant: irnn_tvm.QuantConfig) -> irnn_tvm.QatConfig:
        """The phases of quantization-aware training."""

    def build(self, integer: irnn_tvm.IntegerModel) -> Library:
        """The library for `host`."""

    def library_value(self, library: Library) -> float:
        """The metric of the built library on the test part."""


def run_stages(
    job: Job,
    variants: Iterable[Variant],
    results: Results,
    folder: Path,
    resume: bool = True,
    say: Say = print,
) -> None:
    """Trains, quantizes, builds and measures what has no row yet. folder: checkpoints of this job.

    resume=False starts every stage anew and measures everything again.
    """
    wanted = [v for v in variants if not (resume and _done(job, results, v))]
    known = resume and bool(results.find(**_names(job), stage="float"))
    if not wanted and known:
        return
    model, seconds = job.train_float(folder / "float", resume, say)
    if not known:
        value = job.float_value(model)
        results.add(_row(job, "float", "32", 0, value, float_bytes(model), seconds))
        say(f"{job.model}, seed {job.seed}: float {value:.3f}")
    for variant in wanted:
        integer, seconds, note = integer_model(job, model, variant, folder, resume, say)
        library = job.build(integer)
        value = job.library_value(library)
        size = int(library.report["weight_bytes"])
        results.add(_row(job, variant.stage, variant.bits, variant.pieces, value, size, seconds, note))
        say(
            f"{job.model}, seed {job.seed}: {variant.stage} {variant.bits} bits, {variant.pieces} pieces {value:.3f}"
        )


def integer_model(
    job: Job, model: nn.Module, variant: Variant, folder: Path, resume: bool = True, say: Say = print
) -> tuple[irnn_tvm.IntegerModel, float, str]:
    """The integer model of a variant, the seconds of training, and a note for its row."""
    if variant.stage == "ptq":
        began = time.perf_counter()
        integer = irnn_tvm.quantize(model.cpu(), job.calibration(model.cpu()), job.quant_config(variant))
        return integer, time.perf_counter() - began, ""
    twin, progress = trained_twin(job, model, variant, folder, resume, say)
    return irnn_tvm.convert(twin), progress.seconds, f"{progress.steps} steps"


def trained_twin(
    job: Job, model: nn.Module, variant: Variant, folder: Path, resume: bool = True, say: Say = print
) -> tuple[QatModel, Progress]:
    """The twin of `model`, trained or taken from its checkpoint under `folder`, in eval mode."""
    if variant.stage != "qat":
        raise InputError(f"stage={variant.stage!r} is not ptq or qat")
    torch.manual_seed(job.seed)
    example = job.calibration(model.to(job.device))[0]
    twin = irnn_tvm.prepare_qat(model, job.qat_config(job.quant_config(variant)), example)
    progress = fit(
        job.qat_task(model),
        twin,
        job.qat_loop(),
        folder / variant.folder,
        resume,
        after_step=twin.step,
        say=say,
        title=f"{job.recipe} {job.model}, QAT {variant.bits} bits, {variant.pieces} pieces, seed {job.seed}",
        select_best=False,
    )
    return twin, progress


def add_baseline(
    results: Results,
    job: Job,
    name: str,
    value: float,
    size_bytes: int = 0,
    seconds: float = 0.0,
    note: str = "",
) -> None:
    """The row of a sanity reference, once."""
    row = Row(
        job.recipe,
        job.size,
        name,
        "baseline",
        "",
        0,
        job.metric,
        value,
        size_bytes,
        0,
        commit(),
        job.data,
        seconds,
        note,
    )
    if row.key not in results.rows:
        results.add(row)


def float_bytes(model: nn.Module) -> int:
    """Bytes of the parameters, shared ones once."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def choose(names: Sequence[str] | None, known: Sequence[str], what: str) -> tuple[str, ...]:
    """The chosen names in the order of `known`, all when none are given. InputError for an unknown one."""
    for name in names or ():
        if name not in known:
            raise InputError(f"there is no {what} {name!r}; there are {', '.join(known)}")
    return tuple(name for name in known if not names or name in names)


def _names(job: Job) -> dict[str, Any]:
    return dict(recipe=job.recipe, size=job.size, model=job.model, metric=job.metric, seed=job.seed)


def _done(job: Job, results: Results, variant: Variant) -> bool:
    return bool(results.find(**_names(job), stage=variant.stage, bits=variant.bits, pieces=variant.pieces))


def _row(
    job: Job, stage: str, bits: str, pieces: int, value: float, size: int, seconds: float, note: str = ""
) -> Row:
    return Row(
        recipe=job.recipe,
        size=job.size,
        model=job.model,
        stage=stage,
        bits=bits,
        pieces=pieces,
        metric=job.metric,
        value=round(value, 4),
        size_bytes=size,
        seed=job.seed,
        commit=commit(),
        data=job.data,
        seconds=round(seconds, 1),
        note=note,
    )
