"""The shortest way through every stage: float model, .pt2, libraries for three kinds of target, the same integers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import irnn_tvm

pytestmark = [pytest.mark.smoke, pytest.mark.xdist_group("smoke")]


class Tagger(nn.Module):
    """Ids to one score per step: embedding, GRU, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.rnn, self.out = nn.Embedding(20, 6), nn.GRU(6, 9, batch_first=True), nn.Linear(9, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.rnn(self.table(ids))[0])


@pytest.fixture(scope="module")
def model() -> irnn_tvm.IntegerModel:
    torch.manual_seed(0)
    return irnn_tvm.quantize(Tagger(), [torch.randint(0, 20, (8, 10)) for _ in range(3)])


@pytest.fixture(scope="module")
def program(model: irnn_tvm.IntegerModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smoke") / "tagger.pt2"
    irnn_tvm.save_program(model, path)
    return path


@pytest.mark.parametrize("target", ["host", "arm", "cortex-m4"])
def test_every_stage(
    target: str, model: irnn_tvm.IntegerModel, program: Path, require_tool: Callable[[str], str]
) -> None:
    emulator = irnn_tvm.TARGETS[target].emulator
    if emulator is not None:
        require_tool(emulator.qemu)
    library = irnn_tvm.build(program, target=target, name="tagger")
    ids = torch.randint(0, 20, (1, 15))
    assert np.array_equal(library.run(ids.to(torch.int32).numpy()), model(ids).numpy())
    assert library.emulated == (emulator is not None)


def test_integers_are_close_to_floats(model: irnn_tvm.IntegerModel) -> None:
    torch.manual_seed(0)
    tagger, ids = Tagger(), torch.randint(0, 20, (4, 12))
    with torch.no_grad():
        exact = tagger(ids)
    noise = (model.float_forward(ids) - exact).square().mean()
    assert exact.square().mean() / noise > 10**3  # 30 dB
