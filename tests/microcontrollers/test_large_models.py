"""Libraries with more weights than an emulated board has memory for: they are built, and running is what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm.compiler import firmware_image
from irnn_tvm.errors import BuildError, EmulatorError

ROWS = 18 * 1024 * 1024 // 64


class Vocabulary(nn.Module):
    """More than 16 MB of vectors, which take no time to quantize."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(ROWS, 64), nn.GRU(64, 8)

    def forward(self, ids: Tensor) -> Tensor:
        return self.rnn(self.embedding(ids))[0]


@pytest.mark.emulator
def test_a_library_for_a_larger_board(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    require_tool("qemu-system-arm")
    torch.manual_seed(0)
    model = irnn_tvm.quantize(Vocabulary().eval(), [torch.randint(0, ROWS, (5, 2)) for _ in range(2)])
    built = irnn_tvm.build(model, "cortex-m4", out=tmp_path / "out", name="big")
    assert (tmp_path / "out" / "libbig.a").stat().st_size > ROWS * 64
    assert built.report["files"]["runner"] is None
    again = irnn_tvm.load(tmp_path / "out")
    for library in (built, again):
        assert library.where.startswith("not here: its weights and tables are ")
        assert "more than the 16M bytes" in library.where
        with pytest.raises(
            EmulatorError, match="cannot run under qemu-system-arm: its weights and tables are"
        ):
            library.run(torch.zeros(3, 1, dtype=torch.int32).numpy())
    with pytest.raises(
        BuildError, match=r"its weights and tables are [0-9,]+ bytes too large for the emulated mps2-an386"
    ):
        firmware_image.link(built, tmp_path / "firmware.elf")
