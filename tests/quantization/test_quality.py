"""What the integers lose is measured, warned of where it is much, and kept with the model."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm.errors import QualityWarning
from irnn_tvm.nn import GRU, LSTM
from irnn_tvm.quantization import IntegerModel, QuantConfig, quantize


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 16, batch_first=True)
        self.out = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0])


def data() -> list[Tensor]:
    return [torch.randn(4, 12, 8) for _ in range(3)]


def outlier() -> list[Tensor]:
    found = data()
    found[0][0, 0, 0] = 300.0
    return found


def with_text(
    model: nn.Module, batches: list[Tensor], config: QuantConfig | None = None
) -> tuple[IntegerModel, str]:
    """The integer model, and the text of the one warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        integer = quantize(model, batches, config)
    found = [w for w in caught if issubclass(w.category, QualityWarning)]
    assert len(found) == 1
    assert found[0].filename == __file__
    return integer, str(found[0].message)


def quiet(model: nn.Module, batches: list[Tensor], config: QuantConfig | None = None) -> IntegerModel:
    with warnings.catch_warnings():
        warnings.simplefilter("error", QualityWarning)
        return quantize(model, batches, config)


def test_a_good_model_says_nothing() -> None:
    integer = quiet(Tagger(), data())
    assert integer.quality is not None
    [output] = integer.quality.outputs
    assert output.name == "output"
    assert output.sqnr_db is not None
    assert output.sqnr_db > 30
    assert output.same_argmax is not None
    assert integer.quality.losses == ()


def test_figures_are_those_of_the_outputs() -> None:
    model, batches = Tagger(), outlier()
    integer, text = with_text(model, batches)
    exact = torch.cat([model(x).reshape(-1, 5) for x in batches]).double()
    found = torch.cat([integer.float_forward(x).reshape(-1, 5) for x in batches]).double()
    sqnr = 10 * torch.log10((exact**2).sum() / ((found - exact) ** 2).sum())
    same = (exact.argmax(-1) == found.argmax(-1)).double().mean()
    assert integer.quality is not None
    [output] = integer.quality.outputs
    assert output.sqnr_db == pytest.approx(float(sqnr), abs=1e-3)
    assert output.same_argmax == pytest.approx(float(same))
    assert f"{float(sqnr):.1f} dB, {100 * float(same):.1f} % equal argmax" in text


def _wide_cell() -> nn.Module:
    """Large cells of slow forgetting: 8 bits for them are few."""
    model = LSTM(8, 16, batch_first=True)
    model.bias_ih_l0[16:32] += 4.0
    return model


def _large_weight() -> nn.Module:
    model = nn.Linear(8, 4)
    model.weight[:, 0] *= 300.0
    return model


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], list[Tensor]], Any, str, str]] = {
    "input": (Tagger, outlier, None, "input 'x' (int8)", 'input_observer="mse"'),
    "cell": (
        _wide_cell, lambda: [torch.randn(4, 60, 8)], QuantConfig(cell_bits=8), "cell state (int8)", "cell_bits=16",
    ),
    "gates": (
        lambda: LSTM(8, 16, norm="layer", batch_first=True), data, QuantConfig(gate_bits=8),
        "the gates of lstm (int8)", "gate_bits=16",
    ),
    "weights": (
        _large_weight, lambda: [torch.cat((torch.randn(40, 1) * 1e-4, torch.randn(40, 7)), 1)],
        QuantConfig(weight_rounding="nearest"), "the weights of linear (int8)", "weight_rounding",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_rounding_that_loses_most_is_named(case: str) -> None:
    make, batches, config, tensor, advice = CASES[case]
    integer, text = with_text(make(), batches(), config)
    assert tensor in text
    assert advice in text
    assert integer.quality is not None
    losses = [loss.sqnr_db for loss in integer.quality.losses]
    assert losses == sorted(losses)
    assert tensor in integer.quality.losses[0].tensor


def test_the_loss_is_that_of_the_rounding_alone() -> None:
    model, batches = nn.Linear(8, 4), [torch.randn(40, 8) ** 9]
    integer, _ = with_text(model, batches)
    spec = integer.input_specs[0]
    rounded = (integer.quantize_inputs(batches[0])[0].float() - spec.zero_point) * spec.scale
    exact = model(batches[0])
    sqnr = 10 * torch.log10((exact**2).sum() / ((model(rounded) - exact) ** 2).sum())
    assert integer.quality is not None
    assert integer.quality.losses[0].sqnr_db == pytest.approx(float(sqnr), abs=0.05)


def test_the_setting_that_is_named_helps() -> None:
    model, batches = _wide_cell(), [torch.randn(4, 60, 8)]
    narrow, _ = with_text(model, batches, QuantConfig(cell_bits=8))
    wide = quantize(model, batches, QuantConfig(cell_bits=16))
    assert narrow.quality is not None
    assert wide.quality is not None
    for before, after in zip(narrow.quality.outputs, wide.quality.outputs, strict=True):
        assert before.sqnr_db is not None
        assert after.sqnr_db is not None
        assert after.sqnr_db > before.sqnr_db + 3


def test_quality_survives_saving_and_copying() -> None:
    integer, _ = with_text(Tagger(), outlier())
    file = io.BytesIO()
    torch.save(integer, file)
    file.seek(0)
    for other in (copy.deepcopy(integer), torch.load(file, weights_only=False)):
        assert other.quality == integer.quality
        assert other.report == integer.report


def test_searching_changes_nothing() -> None:
    model, batches = Tagger(), outlier()
    integer, _ = with_text(model, batches)
    again, _ = with_text(model, batches)
    x = integer.quantize_inputs(batches[0])
    assert torch.equal(integer(*x), again(*x))
    assert integer.report == again.report
    assert torch.equal(irnn_tvm.quantize(model, batches)(*x), integer(*x))


def test_ids_and_plain_states_have_no_argmax() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.GRU(8, 16, batch_first=True), nn.Linear(16, 5)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y, h = self.rnn(x)
            return self.out(y).argmax(-1), h

    integer = quantize(Model(), data())
    assert integer.quality is not None
    ids, state = integer.quality.outputs
    assert ids.sqnr_db is None
    assert ids.same_argmax is not None
    assert ids.same_argmax > 0.9
    assert state.same_argmax is None
    assert state.sqnr_db is not None


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.LSTM(8, 16, 2, bidirectional=True),
        lambda: nn.GRU(8, 16, 2, bidirectional=True),
        lambda: GRU(8, 16, reset_after=False, bidirectional=True),
        lambda: nn.RNN(8, 16, bidirectional=True),
        lambda: LSTM(8, 16, proj_size=6, bidirectional=True),
        lambda: LSTM(8, 16, peephole=True, mogrify=2, bidirectional=True),
        lambda: GRU(8, 16, norm="layer", bidirectional=True),
    ],
)
def test_inner_tensors_have_their_noise(make: Callable[[], nn.Module]) -> None:
    integer = quantize(make(), [torch.randn(7, 3, 8) for _ in range(2)])
    inner = [row for row in integer.report if " layer " in row.layer]
    assert {row.layer.endswith("reverse") for row in inner} == {True, False}
    for row in inner:
        assert row.sqnr_db is not None, (row.layer, row.tensor)
        assert row.sqnr_db > 25, (row.layer, row.tensor, row.sqnr_db)


def test_inner_noise_of_a_single_layer_is_that_of_its_output() -> None:
    integer = quantize(nn.LSTM(8, 16), [torch.randn(7, 3, 8)])
    rows = {(row.layer, row.tensor): row for row in integer.report}
    assert rows["lstm layer 0", "hidden state"].sqnr_db == pytest.approx(rows["lstm", "output"].sqnr_db)


def test_cells_in_a_loop_are_compared_call_by_call() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTMCell(8, 16)

        def forward(self, x: Tensor) -> Tensor:
            h = c = x.new_zeros(x.size(0), 16)
            for t in range(3):
                h, c = self.cell(x[:, t], (h, c))
            return h

    integer = quantize(Model(), [torch.randn(4, 3, 8)])
    for row in integer.report:
        if " layer " in row.layer:
            assert row.sqnr_db is not None
            assert row.sqnr_db > 30


def test_the_report_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    model = nn.Sequential(GRU(8, 16, norm="layer", bidirectional=True))
    integer = quantize(model, [torch.randn(7, 3, 8) * 1e-5])
    integer.print_report()
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert not any("…" in line for line in lines)
    assert sum("norm of W_hn h + b_hn" in line for line in lines) == 2
    scales = {f"{row.scale:.4g}" for row in integer.report}
    assert all(any(scale in line for line in lines) for scale in scales)
