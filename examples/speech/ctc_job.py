"""The CTC model as `run_stages` sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import irnn_tvm
from irnn_tvm.examples.speech import ctc_decoding
from irnn_tvm.examples.speech.batches import Batch, longest
from irnn_tvm.examples.speech.data import Data
from irnn_tvm.examples.speech.features import FeatureSettings
from irnn_tvm.examples.speech.language_model import continuation
from irnn_tvm.examples.speech.model import CtcModel
from irnn_tvm.examples.speech.settings import Network, Settings
from irnn_tvm.examples.speech.task import CtcTask, ctc_error_rate, evaluation_batches, float_logits
from irnn_tvm.examples.speech.text import CLASSES
from irnn_tvm.examples.training.loop import LoopSettings, fit
from irnn_tvm.examples.training.stages import Say, Variant
from irnn_tvm.runtime import Library

RECIPE = "speech"
CELL_PERCENTILE = 99.5  # chosen on the validation part
GREEDY, BEAM = "CER", "CER, beam and character 5-grams"
CALIBRATION_BATCHES = 24


@dataclass
class CtcJob:
    """One CTC model with one seed; see irnn_tvm.examples.training.stages.Job. metric: GREEDY or BEAM."""

    corpus: Data
    settings: Settings
    model: str
    seed: int
    device: str = "cpu"
    metric: str = GREEDY
    recipe: str = field(default=RECIPE, init=False)
    size: str = field(init=False)
    data: str = field(init=False)

    def __post_init__(self) -> None:
        self.size, self.data = self.settings.name, self.corpus.description

    @property
    def network(self) -> Network:
        return self.settings.ctc

    def train_float(self, folder: Path, resume: bool, say: Say) -> tuple[nn.Module, float]:
        network = self.network
        torch.manual_seed(self.seed)
        features = FeatureSettings().bands * network.framing.factor
        model = CtcModel(features, CLASSES, network.hidden, network.layers, network.dropout).to(self.device)
        task = CtcTask(self.corpus, self.settings, network, self.seed)
        progress = fit(task, model, network.float_loop, folder, resume, say=say, title=f"{self.model}, float")
        return model, progress.seconds

    def float_value(self, model: nn.Module) -> float:
        return self._error_rate(float_logits(model))

    def calibration(self, model: nn.Module) -> list[Any]:
        device = next(model.parameters()).device
        return [batch.features.to(device) for batch in calibration_batches(self.corpus, self.network)]

    def qat_task(self, model: nn.Module) -> CtcTask:
        return CtcTask(self.corpus, self.settings, self.network, self.seed + 1)

    def qat_loop(self) -> LoopSettings:
        return self.network.qat_loop

    def quant_config(self, variant: Variant) -> irnn_tvm.QuantConfig:
        return narrow_cells(variant, CELL_PERCENTILE)

    def qat_config(self, quant: irnn_tvm.QuantConfig) -> irnn_tvm.QatConfig:
        return qat_config(quant, self.corpus, self.network)

    def build(self, integer: irnn_tvm.IntegerModel) -> Library:
        steps = longest(self.corpus.test, self.network.framing)
        return irnn_tvm.build(integer, target="host", name="speech_ctc", batch=1, max_seq_len=steps)

    def library_value(self, library: Library) -> float:
        return self._error_rate(library_logits(library))

    def _error_rate(self, logits: Callable[[Batch], np.ndarray]) -> float:
        decoder = ctc_decoding.greedy if self.metric == GREEDY else self._beam()
        return ctc_error_rate(logits, evaluation_batches(self.corpus.test, self.network), decoder)

    def _beam(self) -> Callable[[np.ndarray], list[int]]:
        language_model = continuation(self.corpus.training_texts)

        def decode(logits: np.ndarray) -> list[int]:
            return ctc_decoding.beam_search(
                ctc_decoding.log_softmax(logits), self.settings.beam, language_model=language_model
            )

        return decode


def library_logits(library: Library) -> Callable[[Batch], np.ndarray]:
    """A built library as a function of a batch, a recording at a time: logits [B, T, classes], dequantized outside."""
    features_in, logits_out = library.inputs[0], library.outputs[0]

    def logits(batch: Batch) -> np.ndarray:
        rows = []
        for row in batch.features.numpy():
            result = library.run(features_in.quantize(row[None]))
            assert not isinstance(result, tuple)  # the model has one output
            rows.append(logits_out.dequantize(result))
        return np.concatenate(rows)

    return logits


def calibration_batches(data: Data, network: Network) -> list[Batch]:
    """Training recordings that ranges are taken from: of every length, spread evenly."""
    batches = evaluation_batches(data.train, network, 8)
    places = np.linspace(0, len(batches) - 1, min(CALIBRATION_BATCHES, len(batches))).astype(int)
    return [batches[place] for place in places]


def narrow_cells(variant: Variant, percentile: float) -> irnn_tvm.QuantConfig:
    """The integers of a variant; a range of 8-bit cell states keeps `percentile` per cent of the values.

    A few cells count through a recording to 100 and more; cell states of 8 bits that reach as far lose more than
    everything else together (python -m irnn_tvm.examples.ablation), so their range leaves these out.
    """
    quant = variant.quant()
    if quant.cell_bits == 8:
        quant = replace(quant, cell_observer="percentile", percentile=percentile)
    return quant


def qat_config(quant: irnn_tvm.QuantConfig, data: Data, network: Network) -> irnn_tvm.QatConfig:
    """The phases of training: ranges are open for half an epoch, at least 20 steps."""
    return irnn_tvm.QatConfig(quant=quant, observe_steps=max(20, len(data.train) // network.batch // 2))
