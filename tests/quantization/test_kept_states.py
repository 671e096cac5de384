"""States that a model keeps in its own attributes, and that it is left as it was, whatever happens."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from comparing import sqnr
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm.errors import UnsupportedModuleError
from irnn_tvm.quantization import QuantConfig, quantize
from irnn_tvm.quantization.module_state import Snapshot

FAST = QuantConfig(gate_bits=8, cell_bits=8)
Body = Callable[["Keeping", Tensor], Tensor]


class Counter:
    def __init__(self) -> None:
        self.calls = 0


class Keeping(nn.Module):
    def __init__(self, body: Body) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 8, batch_first=True)
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.gru_cell = nn.GRUCell(8, 8)
        self.lstm_cell = nn.LSTMCell(8, 8)
        self.linear = nn.Linear(8, 8)
        self.h: Any = None
        self.c: Any = None
        self.states: dict[str, Tensor] = {}
        self.history: list[Tensor] = []
        self.calls = 0
        self.counter = Counter()
        self.register_buffer("kept", torch.zeros(1, 2, 8))
        self.register_buffer("row", torch.zeros(2, 8))
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


def gru(m: Keeping, x: Tensor) -> Tensor:
    y, m.h = m.gru(x, m.h)
    return y


def lstm(m: Keeping, x: Tensor) -> Tensor:
    y, m.h = m.lstm(x, m.h)
    return y


def lstm_in_two(m: Keeping, x: Tensor) -> Tensor:
    start = None if m.h is None else (m.h, m.c)
    y, (m.h, m.c) = m.lstm(x, start)
    return y


def detached(m: Keeping, x: Tensor) -> Tensor:
    y, h = m.gru(x, m.h)
    m.h = h.detach()
    return m.linear(y)


def zeros_at_first(m: Keeping, x: Tensor) -> Tensor:
    if m.h is None:
        m.h = torch.zeros(1, x.size(0), 8)
    y, m.h = m.gru(x, m.h)
    return y


def buffer_copied(m: Keeping, x: Tensor) -> Tensor:
    y, h = m.gru(x, m.kept)
    m.kept.copy_(h)
    return y


def buffer_assigned(m: Keeping, x: Tensor) -> Tensor:
    y, m.kept = m.gru(x, m.kept)
    return y


def buffer_slice(m: Keeping, x: Tensor) -> Tensor:
    y, h = m.gru(x, m.kept)
    m.kept[:] = h
    return y


def two_layers(m: Keeping, x: Tensor) -> Tensor:
    y, m.h = m.gru(x, m.h)
    y, m.c = m.lstm(y, m.c)
    return y


STREAMS = (
    gru,
    lstm,
    lstm_in_two,
    detached,
    zeros_at_first,
    buffer_copied,
    buffer_assigned,
    buffer_slice,
    two_layers,
)


@pytest.mark.parametrize("body", STREAMS)
def test_the_state_of_a_layer_is_the_streams_state(body: Body) -> None:
    model = Keeping(body).eval()
    before = Snapshot(model)
    batches = [torch.randn(2, 5, 8) for _ in range(3)]
    integer = quantize(model, batches, FAST)
    assert before.changed() == []
    assert integer.stream_states
    first, second = model(batches[0]), model(batches[1])
    before.restore()
    # One long sequence of the integers is two calls of the model in a row.
    whole = integer.float_forward(torch.cat([batches[0], batches[1]], 1))
    assert sqnr(torch.cat([first, second], 1), whole) > 20


def test_a_library_goes_on_where_the_model_does() -> None:
    model = Keeping(lstm).eval()
    x = torch.randn(2, 6, 8)
    integer = quantize(model, [x, torch.randn(2, 6, 8)], FAST)
    library = irnn_tvm.build(integer, batch=2)
    (q,) = integer.quantize_inputs(x)
    whole = integer(q)
    stream = library.stream()
    steps = [torch.from_numpy(stream.step(q[:, t : t + 1].numpy())) for t in range(6)]
    assert torch.equal(torch.cat(steps, 1), whole)


def cells(m: Keeping, x: Tensor) -> Tensor:
    m.row = m.gru_cell(x, m.row)
    return m.row


def lstm_cells(m: Keeping, x: Tensor) -> Tensor:
    m.h, m.c = m.lstm_cell(x, None if m.h is None else (m.h, m.c))
    return m.linear(m.h)


@pytest.mark.parametrize("body", [cells, lstm_cells])
def test_cells(body: Body) -> None:
    model = Keeping(body).eval()
    before = Snapshot(model)
    x = torch.randn(2, 8)
    integer = quantize(model, [x, torch.randn(2, 8)], FAST)
    assert before.changed() == []
    library = irnn_tvm.build(integer, batch=2)
    stream = library.stream()
    (q,) = integer.quantize_inputs(x)
    expected = torch.stack([model(x) for _ in range(4)])
    found = [library.outputs[0].dequantize(stream.step(q.numpy())) for _ in range(4)]
    assert sqnr(expected, torch.stack([torch.as_tensor(f) for f in found]).reshape(expected.shape)) > 20


def counter(m: Keeping, x: Tensor) -> Tensor:
    m.calls += 1
    return m.linear(x) * (1.0 if m.calls < 3 else 2.0)


def dictionary(m: Keeping, x: Tensor) -> Tensor:
    y, m.states["h"] = m.gru(x, m.states.get("h"))
    return y


def appended(m: Keeping, x: Tensor) -> Tensor:
    result = m.gru(x, m.history[-1] if m.history else None)
    m.history.append(result[1])
    return result[0]


def remembered(m: Keeping, x: Tensor) -> Tensor:
    return m.linear(m.states.setdefault("x", x))


def remembered_attribute(m: Keeping, x: Tensor) -> Tensor:
    if m.h is None:
        m.h = x
    return m.linear(m.h)


def previous_frame(m: Keeping, x: Tensor) -> Tensor:
    y = m.linear(x)
    m.kept, z = y[:, -1:].transpose(0, 1), y + m.kept.transpose(0, 1)
    return z


def running_mean(m: Keeping, x: Tensor) -> Tensor:
    m.row.mul_(0.9).add_(x.mean(1) * 0.1)
    return x - m.row.unsqueeze(1)


def of_another_layer(m: Keeping, x: Tensor) -> Tensor:
    y, _ = m.gru(x, m.h)
    m.h = m.lstm(y)[1][0]
    return y


def half_a_state(m: Keeping, x: Tensor) -> Tensor:
    start = None if m.h is None else (m.h, torch.zeros_like(m.h))
    y, final = m.lstm(x, start)
    m.h = final[0]
    return y


def changed_before_use(m: Keeping, x: Tensor) -> Tensor:
    y, m.h = m.gru(x, None if m.h is None else m.h * 0.5)
    return y


def helper_object(m: Keeping, x: Tensor) -> Tensor:
    m.counter.calls += 1
    return m.linear(x) * m.counter.calls


REFUSED = {
    counter: "'calls'", dictionary: "'states", remembered: "'states", remembered_attribute: "'h'",
    appended: "'history", previous_frame: "'kept'", running_mean: "'row'",
    of_another_layer: "'h'", half_a_state: "'h'", changed_before_use: "'h'", helper_object: "'counter",
}  # fmt: skip


@pytest.mark.parametrize("body", REFUSED)
def test_other_states_are_refused_by_name(body: Body) -> None:
    model = Keeping(body).eval()
    before = Snapshot(model)
    with pytest.raises(UnsupportedModuleError, match=f"keeps a state in {REFUSED[body]}"):
        quantize(model, [torch.randn(2, 5, 8), torch.randn(2, 5, 8)], FAST)
    assert before.changed() == []
    with pytest.raises(UnsupportedModuleError, match=REFUSED[body]):
        irnn_tvm.prepare_qat(model, example=torch.randn(2, 5, 8))
    assert before.changed() == []


CALLS = {"n": 0}


def global_counter(m: Keeping, x: Tensor) -> Tensor:
    CALLS["n"] += 1
    return m.linear(x) * CALLS["n"]


def test_a_state_outside_of_the_model_is_seen() -> None:
    with pytest.raises(UnsupportedModuleError, match="called again with the same input"):
        quantize(Keeping(global_counter).eval(), [torch.randn(2, 5, 8)], FAST)


def for_inspection(m: Keeping, x: Tensor) -> Tensor:
    m.h = m.linear(x)
    m.history = [m.h]
    return m.h + 1


def unread(m: Keeping, x: Tensor) -> Tensor:
    _, m.h = m.gru(x, m.h)
    return m.linear(x)


def cached(m: Keeping, x: Tensor) -> Tensor:
    if m.c is None:
        m.c = torch.linspace(0.5, 1.0, 8)
    return m.linear(x) * m.c


@pytest.mark.parametrize("body", [for_inspection, cached, unread])
def test_what_no_later_call_depends_on_is_no_state(body: Body) -> None:
    model = Keeping(body).eval()
    before = Snapshot(model)
    x = torch.randn(2, 5, 8)
    integer = quantize(model, [x], FAST)
    assert integer.stream_states == ()
    assert before.changed() == []
    assert sqnr(model(x), integer.float_forward(x)) > 30


class Interrupting(nn.Module):
    def __init__(self, error: type[BaseException], at: int) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.h: Any = None
        self.error, self.at, self.calls = error, at, [0]

    def forward(self, x: Tensor) -> Tensor:
        self.h = self.linear(x)
        CALLS["interrupt"] = CALLS.get("interrupt", 0) + 1
        if CALLS["interrupt"] == self.at:
            raise self.error("stop")
        return self.h


@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_the_model_is_left_as_it_was_after_an_interruption(error: type[BaseException], at: int) -> None:
    model = Interrupting(error, at)
    model.train()
    CALLS.pop("interrupt", None)
    before = Snapshot(model)
    with contextlib.suppress(error, irnn_tvm.IrnnError):
        quantize(model, [torch.randn(2, 8), torch.randn(2, 8)], FAST)
    assert before.changed() == []
    assert model.training
    pickle.dumps(model)
