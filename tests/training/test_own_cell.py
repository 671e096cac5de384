"""A cell of the user's own: one step with explicit states, named by `carries`; trained, converted, built, stepped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm.compiler.compile_sources import compile_c_library


class MinimalGated(nn.Module):
    """A minimal gated unit (Zhou et al. 2016) with a readout: no layer of it is recurrent to torch."""

    carries = {"h": 1}  # noqa: RUF012  as a user writes it

    def __init__(self) -> None:
        super().__init__()
        self.forget, self.candidate, self.out = nn.Linear(12, 8), nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        f = torch.sigmoid(self.forget(torch.cat((x, h), -1)))
        n = torch.tanh(self.candidate(torch.cat((x, f * h), -1)))
        h = (1.0 - f) * h + f * n
        return self.out(h), h


@pytest.fixture
def twin() -> irnn_tvm.QatModel:
    torch.manual_seed(0)
    twin = irnn_tvm.prepare_qat(MinimalGated(), irnn_tvm.QatConfig(observe_steps=3))
    optimizer = torch.optim.Adam(twin.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        x, h = torch.randn(16, 6, 4), torch.zeros(16, 8)  # states start at exactly 0: no range to see yet
        loss = torch.zeros(())
        for t in range(6):
            y, h = twin(x[:, t], h)
            loss = loss + ((y - x[:, 0, :3]) ** 2).mean()  # needs a memory of the first step
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        twin.step(loss)
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    return twin.eval()


@pytest.mark.parametrize("target", ["host", "c"])
def test_a_stream_of_steps_equals_the_twin(twin: irnn_tvm.QatModel, target: str, tmp_path: Path) -> None:
    integer = irnn_tvm.convert(twin)
    state_in, state_out = integer.input_specs[1], integer.output_specs[1]
    assert (state_in.scale, state_in.zero_point, state_in.dtype) == (
        state_out.scale,
        state_out.zero_point,
        state_out.dtype,
    )
    library = irnn_tvm.build(integer, target=target, out=tmp_path / "out")
    if target == "c":
        library = compile_c_library(tmp_path / "out")
    stream, h = library.stream(), torch.zeros(1, 8)
    ours = np.zeros((1, 8), np.int16)
    for _ in range(20):
        x = torch.randn(1, 4)
        y, h = twin(x, h)
        (q, _) = integer.quantize_inputs(x, h)
        got, ours = stream.step(q.numpy(), ours)
        assert np.array_equal(library.outputs[0].dequantize(got), y.numpy())
        assert np.array_equal(library.outputs[1].dequantize(ours), h.numpy())


class _Declares(nn.Module):
    def __init__(self, carries: object, scaled: bool = False) -> None:
        super().__init__()
        self.out, self.carries, self.scaled = nn.Linear(4, 4), carries, scaled

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return self.out(x), h * 0.5 if self.scaled else torch.tanh(x + h)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (_Declares({"state": 1}), "names of inputs"),
        (_Declares({"h": "y"}), "number of the output"),
        (_Declares(["h"]), "carries is"),
        (_Declares({"h": 2}), "the model has 2 outputs"),
        (_Declares({"h": 1}, scaled=True), "moved or scaled"),
    ],
)
def test_wrong_declarations_are_refused(model: nn.Module, text: str) -> None:
    with pytest.raises(irnn_tvm.UnsupportedModuleError, match=text):
        irnn_tvm.quantize(model, [(torch.randn(3, 4), torch.randn(3, 4))])
