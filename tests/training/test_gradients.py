"""Backward passes that are written out by hand give what autograd gives for the same formula, step by step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.tables import OUTPUTS
from irnn_tvm.training.gate_tables import GateTables, Table, join
from irnn_tvm.training.gru_sequence import GruGrids, gru_sequence, gru_sequence_reset_before
from irnn_tvm.training.lstm_sequence import LstmGrids, lstm_sequence
from irnn_tvm.training.straight_through import grid_index, look_up, round_rows, round_to_grid

T, B, H = 6, 3, 5


def _table(name: str, grid: QParams) -> Table:
    q = torch.arange(grid.qmin, grid.qmax + 1, dtype=torch.float64)
    x = ((q - grid.zero_point) * grid.scale).requires_grad_()
    y = torch.sigmoid(x) if name == "sigmoid" else torch.tanh(x)
    y.sum().backward()
    assert x.grad is not None
    out = OUTPUTS[name](grid.bits)
    values = torch.from_numpy(out.dequantize(out.quantize(y.detach().numpy())))
    return Table(grid, out, False, x.detach(), values, x.grad)


def _gates(names: tuple[str, ...], grids: list[QParams]) -> GateTables:
    return join(tuple(_table(n, g) for n, g in zip(names, grids, strict=True)), H)


def _activate(pre: Tensor, tables: GateTables) -> Tensor:
    columns = pre.chunk(len(tables.parts), dim=-1)
    return torch.cat(
        [look_up(x, t.grid, t.values, t.slopes) for x, t in zip(columns, tables.parts, strict=True)], dim=-1
    )


def _compare(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...], inputs: list[Tensor]) -> None:
    weights = [torch.randn_like(y) for y in ours]
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)
    grads = [
        torch.autograd.grad(
            sum((y * w).sum() for y, w in zip(ys, weights, strict=True)), inputs, retain_graph=True
        )
        for ys in (ours, theirs)
    ]
    for a, b in zip(*grads, strict=True):
        assert bool((b != 0).any())
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("projection", [None, 3])
def test_lstm(bits: int, reverse: bool, learned: bool, projection: int | None) -> None:
    torch.manual_seed(0)
    top = 127 if bits == 8 else 32767
    grids = [
        QParams(s / top, z if bits == 8 else 0, bits) for s, z in ((2.0, 3), (3.0, -4), (1.5, 0), (2.5, 9))
    ]
    # Ranges are small enough that some of everything is clipped.
    cell, hidden = QParams(0.9 / top, 0, bits), QParams(0.5 / 127, 5, 8)
    gates, tanh = _gates(("sigmoid", "sigmoid", "tanh", "sigmoid"), grids), _table("tanh", cell)
    from_x = torch.randn(T, B, 4 * H, dtype=torch.float64).mul_(1.5).requires_grad_()
    size, middle = projection or H, QParams(0.4 / 127, -3, 8) if projection else None
    h0 = round_to_grid(torch.randn(B, size, dtype=torch.float64) * 0.2, hidden).requires_grad_()
    c0 = round_to_grid(torch.randn(B, H, dtype=torch.float64) * 0.4, cell).requires_grad_()
    w = torch.randn(4 * H, size, dtype=torch.float64, requires_grad=True)
    w_hr = torch.randn(size, H, dtype=torch.float64, requires_grad=True) if projection else None
    learn = [learned, learned, learned and projection is not None]
    gains = tuple(
        torch.zeros((), dtype=torch.float64, requires_grad=True) if learns else None for learns in learn
    )

    grids_of_layer = LstmGrids(gates, tanh, hidden, middle)
    y, c_last = lstm_sequence(from_x, h0, c0, w, grids_of_layer, reverse, gains, w_hr)

    h, c, outputs = h0, c0, [h0] * T
    for t in reversed(range(T)) if reverse else range(T):
        i, f, g, o = _activate(from_x[t] + h @ w.T, gates).chunk(4, dim=-1)
        # The normalisation of LSQ counts all steps of a tensor, not one.
        c = round_to_grid(f * c + i * g, cell, _scaled(gains[0]))
        h = o * look_up(c, cell, tanh.values, tanh.slopes)
        if w_hr is not None and middle is not None:
            h = round_to_grid(h, middle, _scaled(gains[2])) @ w_hr.T
        h = outputs[t] = round_to_grid(h, hidden, _scaled(gains[1]))
    inputs = [from_x, h0, c0, w, *(tensor for tensor in (w_hr, *gains) if tensor is not None)]
    _compare((y, c_last), (torch.stack(outputs), c), inputs)


def _scaled(gain: Tensor | None) -> Tensor | None:
    return None if gain is None else gain * T**-0.5


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("learned", [False, True])
def test_gru(bits: int, reverse: bool, learned: bool) -> None:
    torch.manual_seed(1)
    top = 127 if bits == 8 else 32767
    grids = [QParams(s / top, z if bits == 8 else 0, bits) for s, z in ((2.0, 3), (3.0, -4), (1.5, 0))]
    state, copy = QParams(0.8 / top, 7 if bits == 8 else 0, bits), QParams(0.5 / 127, 5, 8)
    inner = QParams(1.2 / top, 0, bits)
    rz, n = _gates(("sigmoid", "sigmoid"), grids[:2]), _gates(("tanh",), grids[2:])
    from_x = torch.randn(T, B, 3 * H, dtype=torch.float64).mul_(1.5).requires_grad_()
    h0 = round_to_grid(torch.randn(B, H, dtype=torch.float64) * 0.4, state).requires_grad_()
    w = torch.randn(3 * H, H, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(H, dtype=torch.float64, requires_grad=True)
    gains = tuple(
        torch.zeros((), dtype=torch.float64, requires_grad=True) if learned else None for _ in range(2)
    )

    ours = gru_sequence(from_x, h0, w, bias, GruGrids(rz, n, inner, state, copy), reverse, gains)

    h, small, outputs = h0, round_to_grid(h0, copy), [h0] * T
    for t in reversed(range(T)) if reverse else range(T):
        from_h = small @ w.T
        r, z = _activate(from_x[t, :, : 2 * H] + from_h[:, : 2 * H], rz).chunk(2, dim=-1)
        hn = round_to_grid(from_h[:, 2 * H :] + bias, inner)
        candidate = _activate(from_x[t, :, 2 * H :] + r * hn, n)
        h = round_to_grid(torch.lerp(candidate, h, z), state, _scaled(gains[0]))
        small = outputs[t] = round_to_grid(h, copy, _scaled(gains[1]))
    inputs = [from_x, h0, w, bias, *(g for g in gains if g is not None)]
    _compare(ours, (torch.stack(outputs), h), inputs)


def test_gru_reset_before_follows_the_float_layer() -> None:
    """On fine grids that nothing leaves, values and gradients are those of the float recurrence."""
    import irnn_tvm.nn

    torch.manual_seed(2)
    layer = irnn_tvm.nn.GRU(4, H, reset_after=False, bias=False).double()
    x = torch.randn(T, B, 4, dtype=torch.float64)
    expected, _ = layer(x)
    fine = QParams(4.0 / 32767, 0, 16)
    grids = GruGrids(_gates(("sigmoid", "sigmoid"), [fine] * 2), _gates(("tanh",), [fine]), fine, fine, fine)
    w_ih, w_hh = layer.weight_ih_l0, layer.weight_hh_l0
    found, _ = gru_sequence_reset_before(x @ w_ih.T, x.new_zeros(B, H), w_hh, grids, False)
    assert float((found - expected).abs().max()) < 1e-3
    weight = torch.randn_like(expected)
    theirs = torch.autograd.grad((expected * weight).sum(), [w_ih, w_hh])
    ours = torch.autograd.grad((found * weight).sum(), [w_ih, w_hh])
    for a, b in zip(ours, theirs, strict=True):
        assert float((a - b).norm() / b.norm()) < 1e-3


def test_rounding_is_the_integers() -> None:
    q = QParams(0.25, 3, 8)
    x = torch.linspace(-40.0, 40.0, 4001, dtype=torch.float64, requires_grad=True)
    y = round_to_grid(x, q)
    assert torch.equal(y, torch.from_numpy(q.dequantize(q.quantize(x.detach().numpy()))))
    y.sum().backward()
    assert x.grad is not None
    level = torch.floor(x.detach() / 0.25 + 0.5) + 3
    assert torch.equal(x.grad, ((level >= -128) & (level <= 127)).double())


def test_learned_range_gradient_is_lsq() -> None:
    """d y / d log(scale) = y - x inside of the grid, and y where x is clipped."""
    q, x = QParams(0.1, 0, 8), torch.tensor([0.234, -3.0, 50.0, -70.0], dtype=torch.float64)
    gain = torch.zeros((), dtype=torch.float64, requires_grad=True)
    y = round_to_grid(x, q, gain)
    y.sum().backward()
    assert gain.grad is not None
    expected = (0.2 - 0.234) + (-3.0 + 3.0) + 12.7 - 12.8
    assert float(gain.grad) == pytest.approx(expected * (4 * 127) ** -0.5, abs=1e-12)


def test_rows_round_to_their_own_scale() -> None:
    w = nn.Parameter(torch.tensor([[1.0, -0.5, 0.003], [0.0, 0.0, 0.0], [-2e-6, 1e-6, 2e-6]]))
    rounded = round_rows(w)
    step = torch.tensor([1.0, 1.0, 2e-6])[:, None] / 127
    assert bool(((rounded / step - torch.round(rounded / step)).abs() < 1e-4).all())
    assert bool(((rounded - w).abs() <= step * 0.501).all())
    rounded.sum().backward()
    assert torch.equal(w.grad, torch.ones_like(w))


def test_grid_index_covers_the_grid() -> None:
    q = QParams(0.5, -7, 8)
    levels = torch.arange(-128, 128)
    assert torch.equal(grid_index((levels + 7) * 0.5, q), levels + 128)
    assert grid_index(torch.tensor([-1e9, 1e9]), q).tolist() == [0, 255]
