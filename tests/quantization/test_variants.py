"""Recurrent variants: the float layers compute their formulas, and the integer ones stay close to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from comparing import sqnr, tensors
from sampling import sampled
from torch import Tensor, nn

from irnn_tvm.errors import InputError
from irnn_tvm.nn import GRU, LSTM
from irnn_tvm.quantization import QuantConfig, quantize

EXACT = 110.0  # dB: float32 rounding in another order


def trained_like(model: nn.Module) -> nn.Module:
    """Weights wider than initialisation makes them, gains and shifts of norms off their start."""
    for name, parameter in model.named_parameters():
        if name.startswith("weight_norm"):
            parameter.copy_(0.5 + 0.15 * torch.randn_like(parameter))
        elif name.startswith("bias_norm"):
            parameter.copy_(0.2 * torch.randn_like(parameter))
        elif name.startswith("weight_peephole"):
            parameter.copy_(0.3 * torch.randn_like(parameter))
        elif name.startswith("weight"):
            width = 0.7 if "mogrify" in name else 1.2
            parameter.copy_(torch.randn_like(parameter) * width / parameter.shape[1] ** 0.5)
    return model


# Layer, least SQNR in dB of every output with the default widths and with 8 bits everywhere.
LAYERS: dict[str, tuple[Callable[[], nn.Module], float, float]] = {
    "projected": (lambda: nn.LSTM(24, 32, proj_size=20), 28.0, 25.0),
    "projected_stacked_bidirectional": (
        lambda: nn.LSTM(24, 32, 2, proj_size=16, bidirectional=True),
        25.0,
        20.0,
    ),
    "peephole": (lambda: LSTM(24, 32, peephole=True), 29.0, 26.0),
    "coupled": (lambda: LSTM(24, 32, coupled=True), 31.0, 26.0),
    "clipped": (lambda: LSTM(24, 32, cell_clip=0.5), 28.0, 26.0),
    "layer_norm": (lambda: LSTM(24, 32, norm="layer"), 26.0, 19.0),
    "layer_norm_of_gates_only": (lambda: LSTM(24, 32, norm="layer", norm_cell=None), 30.0, 23.0),
    "cell_norm_only": (lambda: LSTM(24, 32, norm_cell="layer"), 30.0, 25.0),
    "mad_norm": (lambda: LSTM(24, 32, norm="mad"), 26.0, 19.0),
    "mad_norm_bidirectional": (lambda: LSTM(24, 32, norm="mad", bidirectional=True), 25.0, 18.0),
    "mogrifier": (lambda: LSTM(24, 32, mogrify=5), 26.0, 24.0),
    "ln_gru": (lambda: GRU(24, 32, norm="layer"), 30.0, 25.0),
    "mad_gru_stacked": (lambda: GRU(24, 32, 2, norm="mad"), 28.0, 22.0),
    "rnn_tanh": (lambda: nn.RNN(24, 32), 28.0, 25.0),
    "rnn_relu_bidirectional": (lambda: nn.RNN(24, 32, nonlinearity="relu", bidirectional=True), 30.0, 28.0),
}


@pytest.mark.parametrize("name", sampled(LAYERS, 3))
def test_unseen_sequences(name: str) -> None:
    make, wide, narrow = LAYERS[name]
    model = make() if name.startswith("rnn") else trained_like(make())
    x = [torch.randn(20, 4, 24) for _ in range(4)]
    for config, least in ((QuantConfig(), wide), (QuantConfig.int8(), narrow)):
        integer = quantize(model, x[:3], config)
        found = [
            sqnr(a, b)
            for a, b in zip(tensors(model(x[3])), tensors(integer.float_forward(x[3])), strict=True)
        ]
        assert min(found) > least, found
        assert max(row.saturation for row in integer.report) < 0.01


def test_report_names_every_internal_tensor() -> None:
    model = LSTM(6, 8, norm="layer", proj_size=4, mogrify=2)
    rows = quantize(model, [torch.randn(9, 2, 6) for _ in range(2)]).report
    names = [row.tensor for row in rows]
    for name in (
        *(
            "mogrifier gate 1",
            "mogrified 1",
            "mogrifier gate 2",
            "mogrified 2",
            "W_ih x",
            "W_hh h",
            "gate i",
            "gate f",
        ),
        *("gate g", "gate o", "normalised cell", "before projection", "cell state", "hidden state", "output"),
    ):
        assert name in names, names


def test_saturation_is_counted() -> None:
    """Data ten times as large as any that the ranges were made for."""
    model = LSTM(6, 8, norm_cell="layer", peephole=True)
    quiet = [0.1 * torch.randn(9, 4, 6) for _ in range(2)]
    integer = quantize(model, [*quiet, *quiet], QuantConfig(input_observer="percentile", percentile=60.0))
    assert max(row.saturation for row in integer.report if row.tensor == "input") > 0.1
    narrow = quantize(model, quiet, QuantConfig(cell_observer="percentile", percentile=60.0, headroom=1.0))
    assert max(row.saturation for row in narrow.report if row.tensor == "cell state") > 0.01


@pytest.mark.parametrize("norm", ["layer", "mad"])
def test_constant_vectors_are_normalised_to_the_bias(norm: str) -> None:
    """Equal rows make constant products: only the biases are left, for any input."""
    model = LSTM(5, 6, norm=norm, norm_cell=None)
    model.weight_ih_l0.copy_(model.weight_ih_l0[:1].expand(24, 5))
    model.weight_hh_l0.zero_()
    integer = quantize(model, [torch.randn(7, 3, 5) for _ in range(2)])
    y, z = (integer.float_forward(torch.randn(7, 3, 5))[0] for _ in range(2))
    assert torch.equal(y, z)
    assert sqnr(model(torch.randn(7, 3, 5))[0], y) > 35.0


def test_a_zero_input_and_state_stay_zero_inside_a_norm() -> None:
    """A norm would blow up any rest of a corrected zero point; the first step must be exact."""
    model = trained_like(LSTM(24, 32, norm="layer"))
    integer = quantize(model, [torch.randn(20, 4, 24) for _ in range(3)])
    x = torch.randn(1, 4, 24)
    assert sqnr(model(x)[0], integer.float_forward(x)[0]) > 33.0


def test_a_clipped_cell_is_not_saturated() -> None:
    """Also with 8 bits, where the grid ends at the clip."""
    model = trained_like(LSTM(6, 8, cell_clip=0.2))
    x = [torch.randn(9, 4, 6) for _ in range(2)]
    assert float((model(x[0])[1][1].abs() > 0.199).float().mean()) > 0.1
    for config in (QuantConfig(), QuantConfig.int8()):
        rows = quantize(model, x, config).report
        assert max(row.saturation for row in rows if row.tensor == "cell state") == 0.0


# The float layers.


def _copy(source: nn.LSTM, **options: Any) -> LSTM:
    made = LSTM(source.input_size, source.hidden_size, source.num_layers, bidirectional=source.bidirectional,
                proj_size=source.proj_size, **options)  # fmt: skip
    missing, unexpected = made.load_state_dict(source.state_dict(), strict=False)
    assert not unexpected
    assert all(any(part in name for part in ("norm", "peephole", "mogrify")) for name in missing)
    return made


@pytest.mark.parametrize("projection", [0, 3])
def test_variants_that_change_nothing_are_torchs_lstm(projection: int) -> None:
    plain = nn.LSTM(5, 6, 2, bidirectional=True, proj_size=projection)
    x = torch.randn(7, 3, 5)
    state = torch.randn(4, 3, projection or 6), torch.randn(4, 3, 6)
    expected = tensors(plain(x, state))
    clipped = _copy(plain, cell_clip=1e6)
    peeping = _copy(plain, peephole=True)
    mogrified = _copy(plain, mogrify=4)
    for name, parameter in [*peeping.named_parameters(), *mogrified.named_parameters()]:
        if "peephole" in name or "mogrify" in name:
            parameter.zero_()  # 2 * sigmoid(0) = 1
    for model in (_copy(plain), clipped, peeping, mogrified):
        for ours, theirs in zip(tensors(model(x, state)), expected, strict=True):
            assert sqnr(theirs, ours) > EXACT


def test_coupled_gates_are_an_lstm_with_opposite_input_gates() -> None:
    """1 - sigmoid(a) = sigmoid(-a)."""
    coupled, plain = LSTM(5, 6, coupled=True), nn.LSTM(5, 6)
    for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        rows = getattr(coupled, f"{kind}_l0")
        getattr(plain, f"{kind}_l0").copy_(torch.cat((-rows[:6], rows)))
    x = torch.randn(9, 3, 5)
    for ours, theirs in zip(tensors(coupled(x)), tensors(plain(x)), strict=True):
        assert sqnr(theirs, ours) > EXACT


@pytest.mark.parametrize("norm", ["layer", "mad"])
def test_formulas_step_by_step(norm: str) -> None:
    """Everything at once, written out with nn.functional for one layer that runs backward."""
    model = trained_like(LSTM(5, 6, norm=norm, peephole=True, mogrify=3, proj_size=4, bidirectional=True))
    model.cell_clip = 0.3

    def normed(v: Tensor, gain: Tensor, bias: Tensor | float = 0.0) -> Tensor:
        centred = v - v.mean(-1, keepdim=True)
        if norm == "layer":
            spread = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        else:
            spread = centred.abs().mean(-1, keepdim=True) + 1e-5
        return centred / spread * gain + bias

    p = {n.removesuffix("_l0_reverse"): v for n, v in model.named_parameters() if n.endswith("_reverse")}
    x = torch.randn(7, 3, 5)
    h, c, outputs = torch.zeros(3, 4), torch.zeros(3, 6), []
    p_i, p_f, p_o = p["weight_peephole"].chunk(3)
    for t in range(6, -1, -1):
        v = 2 * torch.sigmoid(h @ p["weight_mogrify1"].T) * x[t]
        h = 2 * torch.sigmoid(v @ p["weight_mogrify2"].T) * h
        v = 2 * torch.sigmoid(h @ p["weight_mogrify3"].T) * v
        gates = normed(v @ p["weight_ih"].T, p["weight_norm_ih"]) + normed(
            h @ p["weight_hh"].T, p["weight_norm_hh"]
        )
        i, f, g, o = (gates + p["bias_ih"] + p["bias_hh"]).chunk(4, -1)
        c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
        c = c.clamp(-0.3, 0.3)
        inner = torch.sigmoid(o + p_o * c) * torch.tanh(normed(c, p["weight_norm_cell"], p["bias_norm_cell"]))
        h = inner @ p["weight_hr"].T
        outputs.append(h)
    y, (h_n, c_n) = model(x)
    assert sqnr(torch.stack(outputs[::-1]), y[..., 4:]) > EXACT
    assert sqnr(h, h_n[1]) > EXACT
    assert sqnr(c, c_n[1]) > EXACT


@pytest.mark.parametrize("bias", [True, False])
def test_ln_gru_step_by_step(bias: bool) -> None:
    model = trained_like(GRU(5, 6, norm="layer", bias=bias, batch_first=True))
    p = {n.removesuffix("_l0"): v for n, v in model.named_parameters()}
    b_ih, b_hh = (p.get(k, torch.zeros(18)) for k in ("bias_ih", "bias_hh"))
    x, h = torch.randn(3, 7, 5), torch.tanh(torch.randn(1, 3, 6))
    y, last = model(x, h)
    h = h[0]
    for t in range(7):
        parts = []
        for weight, gain, v in (
            (p["weight_ih"], p["weight_norm_ih"], x[:, t]),
            (p["weight_hh"], p["weight_norm_hh"], h),
        ):
            product = v @ weight.T
            norms = (nn.functional.layer_norm(q, q.shape[-1:]) for q in (product[:, :12], product[:, 12:]))
            parts.append(torch.cat(list(norms), -1) * gain)
        rz = torch.sigmoid((parts[0] + parts[1])[:, :12] + b_ih[:12] + b_hh[:12])
        r, z = rz.chunk(2, -1)
        n = torch.tanh(parts[0][:, 12:] + b_ih[12:] + r * (parts[1][:, 12:] + b_hh[12:]))
        h = (1 - z) * n + z * h
        assert sqnr(h, y[:, t]) > EXACT
    assert sqnr(h, last[0]) > EXACT


def test_training_reaches_every_parameter() -> None:
    model = LSTM(5, 6, 2, norm="layer", peephole=True, coupled=True, cell_clip=2.0, mogrify=2, proj_size=4)
    with torch.enable_grad():
        model(torch.randn(7, 3, 5))[0].square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: LSTM(5, 6, norm="batch"), "norm='batch' is not supported; supported: None, \"layer\", \"mad\""),
        (lambda: LSTM(5, 6, norm_cell="rms"), "norm_cell='rms'"),
        (lambda: LSTM(5, 6, cell_clip=0.0), "cell_clip=0.0 is not supported; it must be positive"),
        (lambda: LSTM(5, 6, mogrify=-1), "mogrify=-1"),
        (lambda: GRU(5, 6, norm="layer", reset_after=False), "norm='layer' is supported with reset_after=True"),
        (lambda: LSTM(5, 6, mogrify=1)(torch.randn(3, 2, 4)), r"shape \(3, 2, 4\); expected .* the last of 5"),
        (
            lambda: LSTM(5, 6, coupled=True)(torch.randn(3, 2, 5), (torch.zeros(1, 2, 6), torch.zeros(1, 2, 5))),
            r"state c has shape \(1, 2, 5\), expected \(1, 2, 6\)",
        ),
        (lambda: LSTM(5, 6, mogrify=1)(nn.utils.rnn.pack_sequence([torch.randn(3, 5)])), "PackedSequence"),
        (lambda: GRU(5, 6, norm="mad")(nn.utils.rnn.pack_sequence([torch.randn(3, 5)])), "PackedSequence"),
    ],
)  # fmt: skip
def test_bad_arguments(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()
