"""The layers that the scripts in this folder measure: random weights, an input as wide as the state.

Needs neither PyTorch nor irnn_tvm before a network is asked for: emulated_peer.py runs where there are none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layers import Layer


@dataclass(frozen=True)
class Workload:
    """cell: of layers.CELLS; hidden: units of a direction."""

    cell: str
    hidden: int
    layers: int = 1
    bidirectional: bool = False

    @property
    def name(self) -> str:
        prefix = "bi" if self.bidirectional else ""
        many = f"{self.layers}x" if self.layers > 1 else ""
        return f"{prefix}{self.cell}-{many}{self.hidden}"

    @property
    def macs(self) -> int:
        """int8 multiply-accumulates of a step."""
        gates, directions = 3 if self.cell == "gru" else 4, 2 if self.bidirectional else 1
        widths = [self.hidden, *([self.hidden * directions] * (self.layers - 1))]
        return sum(gates * directions * self.hidden * (width + self.hidden) for width in widths)

    def streams(self, steps: int) -> bool:
        """Whether an inference of so many steps is a step of a stream, which keeps its state."""
        return steps == 1 and not self.bidirectional

    def call(self) -> Workload:
        """The same layers, so small that what an inference takes is the call."""
        return replace(self, hidden=4)

    def network(self) -> Layer:
        """The float layer, the same in every run."""
        import torch
        from layers import Layer

        torch.manual_seed(0)
        return Layer(self).eval()


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("lstm", 128),
        Workload("lstm", 256),
        Workload("lstm", 512),
        Workload("lstm", 1024),
        Workload("lstm", 650, layers=2),
        Workload("lstm", 320, bidirectional=True),
        Workload("lnlstm", 256),
        Workload("madlstm", 256),
        Workload("gru", 256),
    )
}
CALLS = {workload.call().name: workload.call() for workload in WORKLOADS.values()}
