"""The attention model through the stages: like `run_stages`, with an encoder and a decoder instead of one network."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm.errors import InputError
from irnn_tvm.examples.speech.attention_library import (
    KEYS,
    VALUES,
    LibraryRecognizer,
    predict_all,
    recognize_all,
)
from irnn_tvm.examples.speech.batches import Batch, longest
from irnn_tvm.examples.speech.ctc_job import (
    GREEDY,
    RECIPE,
    CtcJob,
    calibration_batches,
    narrow_cells,
    qat_config,
)
from irnn_tvm.examples.speech.data import Data
from irnn_tvm.examples.speech.error_rate import character_error_rate
from irnn_tvm.examples.speech.features import FeatureSettings
from irnn_tvm.examples.speech.model import AttentionEncoder, CtcModel, DecoderStep, Recognizer
from irnn_tvm.examples.speech.settings import Network, Settings
from irnn_tvm.examples.speech.task import (
    AttentionTask,
    decode_one,
    evaluation_batches,
    predict,
    recognize,
    teacher,
)
from irnn_tvm.examples.speech.text import CLASSES
from irnn_tvm.examples.training.loop import fit
from irnn_tvm.examples.training.results import Results, Row, commit
from irnn_tvm.examples.training.stages import Say, Variant, float_bytes

BEAM = "CER, beam with CTC"
# With the right characters before it: no early mistake leads to others, so that small differences show.
NEXT = "next-character error, %"
METRICS = (GREEDY, BEAM, NEXT)
# Cells of 8 bits need a finer grid more than the largest counts; chosen on the validation part.
ENCODER_CELL_PERCENTILE, DECODER_CELL_PERCENTILE = 97.0, 95.0
CALIBRATION_STEPS = 160  # calls of the decoder that its ranges are taken from


@dataclass(frozen=True)
class Parts:
    """The integer encoder, decoder and CTC layer of a variant, the seconds of training, and a note for the row."""

    encoder: irnn_tvm.IntegerModel
    decoder: irnn_tvm.IntegerModel
    helper: irnn_tvm.IntegerModel
    seconds: float
    note: str = ""


@dataclass
class AttentionJob:
    """One attention model with one seed.

    ctc: where the settings say from_ctc, the CTC model whose encoder training starts with, and the folder of its
    checkpoints; it is trained first if it is not there yet.
    """

    corpus: Data
    settings: Settings
    model: str
    seed: int
    device: str = "cpu"
    recipe: str = RECIPE
    ctc: tuple[CtcJob, Path] | None = None

    @property
    def network(self) -> Network:
        return self.settings.attention

    def run(
        self,
        variants: Iterable[Variant],
        results: Results,
        folder: Path,
        resume: bool = True,
        say: Say = print,
    ) -> None:
        """Trains, quantizes, builds and measures what has no row yet; resume=False does it all anew."""
        wanted = [v for v in variants if not (resume and self._known(results, v.stage, v.bits, v.pieces))]
        known = resume and self._known(results, "float", "32", 0)
        if not wanted and known:
            return
        model, seconds = self.train_float(folder / "float", resume, say)
        if not known:
            size = sum(float_bytes(part) for part in (model.encoder, model.decoder, model.helper))
            for metric in METRICS:
                value = self.float_value(model, metric)
                results.add(self._row("float", "32", 0, metric, value, size, seconds))
                say(f"{self.model}, seed {self.seed}: float, {metric} {value:.2f}")
        for variant in wanted:
            parts = self.integer(model, variant, folder, resume, say)
            libraries = self.build(parts)
            built = libraries.encoder, libraries.decoder, libraries.helper
            size = sum(int(part.report["weight_bytes"]) for part in built)
            for metric in METRICS:
                value = self.library_value(libraries, metric)
                results.add(
                    self._row(
                        variant.stage,
                        variant.bits,
                        variant.pieces,
                        metric,
                        value,
                        size,
                        parts.seconds,
                        parts.note,
                    )
                )
                say(
                    f"{self.model}, seed {self.seed}: {variant.stage} {variant.bits} bits, "
                    f"{variant.pieces} pieces, {metric} {value:.2f}"
                )

    def train_float(self, folder: Path, resume: bool, say: Say) -> tuple[Recognizer, float]:
        """The model with the best validation error, in eval mode, and the seconds that it took.

        InputError when the settings start from a CTC model and there is none, or one of another shape.
        """
        before = 0.0
        start: CtcModel | None = None
        if self.network.from_ctc:
            start, before = self._trained_ctc(say)
        torch.manual_seed(self.seed)
        model = build_model(self.network)
        if start is not None:
            assert isinstance(model.encoder, AttentionEncoder)
            model.encoder.encoder.load_state_dict(start.encoder.state_dict())
            model.helper.load_state_dict(start.output.state_dict())
        model.to(self.device)
        task = AttentionTask(self.corpus, self.settings, self.network, self.seed)
        progress = fit(
            task, model, self.network.float_loop, folder, resume, say=say, title=f"{self.model}, float"
        )
        return model, before + progress.seconds

    def _trained_ctc(self, say: Say) -> tuple[CtcModel, float]:
        """The CTC model that training starts with, and the seconds that it took."""
        if self.ctc is None:
            raise InputError(f"{self.model} starts from a CTC model (settings: from_ctc), and none is given")
        job, folder = self.ctc
        shapes = [(n.framing, n.hidden, n.layers, n.channels) for n in (job.network, self.network)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{self.model} cannot start from {job.model}: framing, hidden, layers, channels are {shapes[0]} "
                f"there and {shapes[1]} here"
            )
        model, seconds = job.train_float(folder / "float", True, say)
        assert isinstance(model, CtcModel)
        return model, seconds

    def float_value(self, model: Recognizer, metric: str = GREEDY) -> float:
        """One of METRICS on the test part."""
        if metric == NEXT:
            return predict(model, self.tested())
        return character_error_rate(self.float_texts(model, metric), self.spoken())

    def float_texts(self, model: Recognizer, metric: str = GREEDY) -> list[str]:
        """What the float model hears in the test part."""
        if metric == GREEDY:
            return [text for batch in self.tested() for text in recognize(model, batch)]
        width = self.settings.beam
        return [decode_one(model, row[None], width) for batch in self.tested() for row in batch.features]

    def tested(self) -> list[Batch]:
        """The recordings of the test part, those of equal length together."""
        return evaluation_batches(self.corpus.test, self.network)

    def spoken(self) -> list[str]:
        """The texts of the test part in the order of `tested`."""
        return [text for batch in self.tested() for text in batch.texts]

    def integer(
        self, model: Recognizer, variant: Variant, folder: Path, resume: bool = True, say: Say = print
    ) -> Parts:
        """All integer parts: quantized after training, or trained as twins that see each other's roundings."""
        # A call of the decoder is one step: averages of single steps' extremes would cut off the largest scores.
        extremes = replace(variant, stage="ptq")
        quant = (
            narrow_cells(variant, ENCODER_CELL_PERCENTILE),
            narrow_cells(extremes, DECODER_CELL_PERCENTILE),
        )
        if variant.stage == "ptq":
            began = time.perf_counter()
            features, calls = self.calibration(model.cpu())
            encoder = irnn_tvm.quantize(model.encoder, features, quant[0])
            decoder = irnn_tvm.quantize(model.decoder, calls, quant[1])
            helper = self._integer_helper(model.encoder, model.helper, variant)
            return Parts(encoder, decoder, helper, time.perf_counter() - began)
        torch.manual_seed(self.seed)
        model = copy.deepcopy(model).to(self.device)
        config = [qat_config(q, self.corpus, self.network) for q in quant]
        recordings, call = self.example(model)
        encoder_twin = irnn_tvm.prepare_qat(model.encoder, config[0], example=recordings)
        decoder_twin = irnn_tvm.prepare_qat(model.decoder, config[1], example=call)
        twin = Recognizer(encoder_twin, decoder_twin, model.helper, model.hidden)

        def after_step(loss: Tensor) -> None:
            encoder_twin.step(loss)
            decoder_twin.step(loss)

        progress = fit(
            AttentionTask(self.corpus, self.settings, self.network, self.seed + 1),
            twin,
            self.network.qat_loop,
            folder / variant.folder,
            resume,
            after_step=after_step,
            say=say,
            title=f"{self.model}, QAT {variant.bits} bits, {variant.pieces} pieces",
            select_best=False,
        )
        encoder, decoder = irnn_tvm.convert(encoder_twin), irnn_tvm.convert(decoder_twin)
        assert isinstance(encoder_twin.model, nn.Module)
        helper = self._integer_helper(encoder_twin.model, twin.helper, variant)
        return Parts(encoder, decoder, helper, progress.seconds, f"{progress.steps} steps")

    @torch.no_grad()
    def _integer_helper(
        self, encoder: nn.Module, helper: nn.Linear, variant: Variant
    ) -> irnn_tvm.IntegerModel:
        """The CTC layer, quantized on the values that a float encoder gives for training recordings."""
        encoder, helper = encoder.cpu().eval(), helper.cpu().eval()
        values = [encoder(batch.features)[1] for batch in calibration_batches(self.corpus, self.network)]
        return irnn_tvm.quantize(helper, values, replace(variant, stage="ptq").quant())

    @torch.no_grad()
    def example(self, model: Recognizer) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One call of each half: from the example a twin knows its graph, also when it resumes and trains no more."""
        batches = evaluation_batches(self.corpus.train, self.network, 2)
        features = next(batch.features for batch in batches if len(batch.features) > 1).to(self.device)
        keys, values = model.encoder(features)
        lengths = torch.full((2,), keys.shape[1], dtype=torch.int32, device=self.device)
        tokens = torch.zeros(2, 1, dtype=torch.long, device=self.device)
        return features, (tokens, *model.start(values), keys, values, lengths)

    @torch.no_grad()
    def calibration(self, model: Recognizer) -> tuple[list[Tensor], list[tuple[Tensor, ...]]]:
        """Features of training recordings, and calls of the decoder with the right characters before each."""
        chosen = calibration_batches(self.corpus, self.network)
        calls: list[tuple[Tensor, ...]] = []
        for batch in chosen:
            keys, values = model.encoder(batch.features)
            lengths = torch.full((len(keys),), keys.shape[1], dtype=torch.int32)
            state: tuple[Tensor, ...] = model.start(values)
            tokens, _ = teacher(batch)
            stride = max(1, tokens.shape[1] * len(chosen) // CALIBRATION_STEPS)
            for place in range(tokens.shape[1]):
                call = (tokens[:, place : place + 1], *state, keys, values, lengths)
                if place % stride == 0:
                    calls.append(call)
                state = model.decoder(*call)[1:]
        return [batch.features for batch in chosen], calls

    def build(self, parts: Parts) -> LibraryRecognizer:
        """The libraries for this machine. The decoder's memory holds the longest test recording."""
        steps = longest(self.corpus.test, self.network.framing)
        memory = steps // 2 if self.network.channels else steps  # the convolution's stride is 2
        parts.decoder.calibration_example = with_memory(parts.decoder, memory)
        encoder = irnn_tvm.build(
            parts.encoder, target="host", name="speech_encoder", batch=1, max_seq_len=steps
        )
        decoder = irnn_tvm.build(parts.decoder, target="host", name="speech_decoder", batch=1, seq_len=1)
        helper = irnn_tvm.build(
            parts.helper, target="host", name="speech_helper", batch=1, max_seq_len=memory
        )
        return LibraryRecognizer(encoder, decoder, helper)

    def library_value(self, libraries: LibraryRecognizer, metric: str = GREEDY) -> float:
        if metric == NEXT:
            return predict_all(libraries, self.tested())
        width = 1 if metric == GREEDY else self.settings.beam
        return character_error_rate(recognize_all(libraries, self.tested(), width), self.spoken())

    def _known(self, results: Results, stage: str, bits: str, pieces: int) -> bool:
        """Whether all figures of a stage have rows."""
        found = results.find(
            recipe=self.recipe,
            size=self.settings.name,
            model=self.model,
            seed=self.seed,
            stage=stage,
            bits=bits,
            pieces=pieces,
        )
        return {row.metric for row in found} >= set(METRICS)

    def _row(
        self,
        stage: str,
        bits: str,
        pieces: int,
        metric: str,
        value: float,
        size: int,
        seconds: float,
        note: str = "",
    ) -> Row:
        return Row(
            recipe=self.recipe,
            size=self.settings.name,
            model=self.model,
            stage=stage,
            bits=bits,
            pieces=pieces,
            metric=metric,
            value=round(value, 4),
            size_bytes=size,
            seed=self.seed,
            commit=commit(),
            data=self.corpus.description,
            seconds=round(seconds, 1),
            note=note,
        )


def with_memory(decoder: irnn_tvm.IntegerModel, capacity: int) -> tuple[Tensor, ...]:
    """The decoder's example for export with keys and values [B, capacity, ...]: a library has the example's sizes."""
    example = list(decoder.calibration_example)
    for place in (KEYS, VALUES):
        tensor = example[place]
        example[place] = tensor.new_full((len(tensor), capacity, tensor.shape[2]), 0)
    return tuple(example)


def build_model(network: Network) -> Recognizer:
    """A new attention model with random weights."""
    features = FeatureSettings().bands * network.framing.factor
    encoder = AttentionEncoder(
        features, network.hidden, network.layers, network.dropout, network.channels, network.attention
    )
    values = encoder.encoder.size
    decoder = DecoderStep(
        CLASSES, network.embedding, network.decoder, values, network.attention, network.dropout
    )
    return Recognizer(encoder, decoder, nn.Linear(values, CLASSES), network.decoder)
