"""Operations that write into a tensor, and what is read of its memory afterwards under any name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from comparing import sqnr, tensors
from torch import Tensor, fx, nn
from torch.nn import functional as F

from irnn_tvm.errors import UnsupportedModuleError
from irnn_tvm.quantization import QuantConfig, quantize
from irnn_tvm.quantization.agreement import capture_checked
from irnn_tvm.quantization.equality import same
from irnn_tvm.quantization.evaluate import run_graph
from irnn_tvm.quantization.inputs import read_calibration
from irnn_tvm.quantization.planner import check_leaf

FAST = QuantConfig(gate_bits=8, cell_bits=8)
Body = Callable[["Written", Tensor], Any]


class Written(nn.Module):
    """y = linear(x) [batch, time, 8], then whatever `body` does with it."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.relu = nn.ReLU(inplace=True)
        self.hardtanh = nn.Hardtanh(inplace=True)
        self.dropout = nn.Dropout(0.5, inplace=True)
        self.flatten = nn.Flatten()
        self.body = body

    def forward(self, x: Tensor) -> Any:
        return self.body(self, self.linear(x))


def statements(*lines: Callable[..., Any]) -> Body:
    """A body that runs each line on (self, y) and returns y."""

    def body(model: Written, y: Tensor) -> Tensor:
        for line in lines:
            line(model, y)
        return y

    return body


def added_to_an_alias(model: Written, y: Tensor) -> Any:
    z = y
    z += 1
    return y


def multiplied_and_returned(model: Written, y: Tensor) -> Any:
    z = y.mul_(2)
    z.sub_(1)
    return y, z


def slice_of_features(model: Written, y: Tensor) -> Any:
    part = y[:, :, 2:5]
    part.mul_(2)
    return y


def slice_is_read_after_the_whole(model: Written, y: Tensor) -> Any:
    part = y[..., 1:4]
    y.tanh_()
    return part, y


def views_of_views(model: Written, y: Tensor) -> Any:
    v = y.view(y.size(0), y.size(1), 2, 4).transpose(2, 3)
    v[:, :, 1].add_(1)
    return y, v


def permuted(model: Written, y: Tensor) -> Any:
    v = y.permute(2, 0, 1)
    v[0].neg_() if hasattr(v, "neg_") else None
    v[3:5].clamp_(-0.1, 0.1)
    return y


def chunks(model: Written, y: Tensor) -> Any:
    a, b = y.chunk(2, -1)
    a.sigmoid_()
    return y + 1, b, a


def split_parts(model: Written, y: Tensor) -> Any:
    parts = y.split([3, 5], -1)
    parts[1].relu_()
    return y


def unbound(model: Written, y: Tensor) -> Any:
    rows = y.unbind(-1)
    rows[2].mul_(0.5)
    return y


def flattened_module(model: Written, y: Tensor) -> Any:
    model.relu(model.flatten(y))
    return y


def assigned_zero(model: Written, y: Tensor) -> Any:
    y[:, :, 0] = 0
    return y


def assigned_rows(model: Written, y: Tensor) -> Any:
    y[:, 0] = y[:, 1]
    y[:, -1] = 0.25
    return y


def assigned_broadcast(model: Written, y: Tensor) -> Any:
    y[:, :, 1:3] = y[:, :, 4:5]
    return y


def added_to_a_slice(model: Written, y: Tensor) -> Any:
    y[:, 1:] += y[:, :-1].clone()
    return y


def filled_buffer(model: Written, y: Tensor) -> Any:
    out = torch.zeros_like(y)
    out[:, :, :4] = y[:, :, 4:]
    out[:, :, 4:] = torch.tanh(y[:, :, :4])
    return out


def out_argument(model: Written, y: Tensor) -> Any:
    z = torch.zeros_like(y)
    torch.add(y, 1, out=z)
    return z


def select_and_narrow(model: Written, y: Tensor) -> Any:
    y.select(-1, 3).mul_(2)
    y.narrow(-1, 5, 2).add_(0.5)
    return y


def twice_the_same_memory(model: Written, y: Tensor) -> Any:
    a, b = y[..., :4], y[..., 2:6]
    a.add_(1)
    b.mul_(2)
    return a, b, y


def data_of_a_tensor(model: Written, y: Tensor) -> Any:
    y.data.clamp_(min=0)
    return y


def read_between_writes(model: Written, y: Tensor) -> Any:
    before = y + 0.0625
    y.relu_()
    after = y * 1.5
    y.sub_(1)
    return before, after, y


FORMS: dict[str, Body] = {
    "functional": statements(lambda m, y: F.relu(y, inplace=True)),
    "functional_positional": statements(lambda m, y: F.relu(y, True)),
    "functional_name": statements(lambda m, y: torch.relu_(y)),
    "hardtanh_function": statements(lambda m, y: F.hardtanh(y, -0.2, 0.2, inplace=True)),
    "leaky": statements(lambda m, y: F.leaky_relu(y, 0.1, inplace=True)),
    "module": statements(lambda m, y: m.relu(y)),
    "hardtanh_module": statements(lambda m, y: m.hardtanh(y)),
    "dropout": statements(lambda m, y: m.dropout(y)),
    "add_": statements(lambda m, y: y.add_(1)),
    "add_itself": statements(lambda m, y: y.add_(y)),
    "clamp_": statements(lambda m, y: y.clamp_(-0.1, 0.2)),
    "several": statements(lambda m, y: y.mul_(0.5), lambda m, y: y.sigmoid_(), lambda m, y: y.sub_(0.25)),
    "copy_": statements(lambda m, y: y.copy_(y.flip(1))),
    "zero_slice": statements(lambda m, y: y[:, :, 6:].zero_()),
    "fill_slice": statements(lambda m, y: y[:, :, 6:].fill_(0.5)),
    "squeezed": statements(lambda m, y: y.unsqueeze(0).squeeze(0).tanh_()),
    "reshaped": statements(lambda m, y: y.reshape(-1, 8)[:, 2].add_(1)),
    "transposed": statements(lambda m, y: y.mT[:, 1:3].mul_(2)),
    "movedim": statements(lambda m, y: y.movedim(-1, 0)[1].mul_(2)),
    "detach": statements(lambda m, y: y.detach().relu_()),
    "requires_grad_": statements(lambda m, y: y.requires_grad_(False)),
} | {
    f.__name__: f
    for f in (
        added_to_an_alias, multiplied_and_returned, slice_of_features, slice_is_read_after_the_whole, views_of_views,
        permuted, chunks, split_parts, unbound, flattened_module, assigned_zero, assigned_rows, assigned_broadcast,
        added_to_a_slice, filled_buffer, out_argument, select_and_narrow, twice_the_same_memory, data_of_a_tensor,
        read_between_writes,
    )
}  # fmt: skip


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_what_is_read_later_is_the_new_value(body: Body) -> None:
    model = Written(body).eval()
    batches = [torch.randn(3, 5, 8) for _ in range(3)]
    kept = [b.clone() for b in batches]
    layout, items = read_calibration(model, batches)
    captured = capture_checked(model, layout, items, check_leaf)
    for x in (torch.randn(3, 5, 8), torch.randn(2, 9, 8)):
        values = run_graph(captured, (x,))
        found = fx.map_arg(captured.output, lambda node, values=values: values[node])
        assert all(same(a, b) for a, b in zip(tensors(found), tensors(model(x.clone())), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(batches, kept, strict=True))


@pytest.mark.parametrize("name", ["functional", "views_of_views", "chunks", "assigned_rows", "filled_buffer"])
def test_the_integers_follow(name: str) -> None:
    model = Written(FORMS[name]).eval()
    batches = [torch.randn(3, 5, 8) for _ in range(3)]
    integer = quantize(model, batches, FAST)
    for exact, ours in zip(
        tensors(model(batches[0])), tensors(integer.float_forward(batches[0])), strict=True
    ):
        assert sqnr(exact, ours) > 30


def test_a_write_that_reaches_the_end_of_an_axis_fixes_its_size() -> None:
    """y[:, :5] of 5 steps is all of y; of 6 steps it would not be."""
    model = Written(lambda m, y: y[:, :5].mul_(2) + y).eval()
    integer = quantize(model, [torch.randn(2, 5, 8)], FAST)
    with pytest.raises(Exception, match="5"):
        integer.float_forward(torch.randn(2, 6, 8))


def loop_of_a_fixed_length(model: Written, y: Tensor) -> Any:
    out, h = torch.zeros(y.size(0), 4, 8), y[:, 0]
    for t in range(4):
        h = torch.tanh(h * 0.5 + y[:, t])
        out[:, t] = h
    return out


def test_a_buffer_that_a_loop_of_a_fixed_length_fills() -> None:
    model = Written(loop_of_a_fixed_length).eval()
    batches = [torch.randn(3, 5, 8) for _ in range(2)]
    integer = quantize(model, batches, FAST)
    assert sqnr(model(batches[0]), integer.float_forward(batches[0])) > 20


REFUSED: dict[str, tuple[Callable[[Written, Tensor], Any], str]] = {
    "mask": (lambda m, y: y.__setitem__(y > 0, 0) or y, "mask or a tensor of indices"),
    "indices": (lambda m, y: y.__setitem__(torch.tensor([0]), 0) or y, "mask or a tensor of indices"),
    "step": (lambda m, y: y[:, ::2].zero_() + 0 * y[:, ::2], "is written in place, which cannot be followed"),
    "data": (lambda m, y: setattr(y, "data", y * 2) or y, "attribute 'data' of a tensor"),
    "shape": (lambda m, y: y.unsqueeze_(0), "changes the shape of a tensor"),
    "parameter": (lambda m, y: (m.linear.weight.mul_(1.5), y)[1], "'linear.weight'"),
    "empty": (lambda m, y: y[:, 5:].add_(1).sum(1) + y.sum(1), "empty in the first batch"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_refused_by_line(name: str) -> None:
    body, text = REFUSED[name]
    model = Written(body).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(UnsupportedModuleError, match=f"(?s){text}.*test_in_place.py:"):
        quantize(model, [torch.randn(2, 5, 8)], FAST)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
