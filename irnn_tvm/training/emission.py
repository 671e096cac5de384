"""From a twin to its integer model: a fresh plan of the captured graph, with today's weights and the twin's ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.integer_model import IntegerModel
from irnn_tvm.quantization.planner import Planner
from irnn_tvm.quantization.ptq import assemble, emit_graph
from irnn_tvm.training import observers

if TYPE_CHECKING:
    from irnn_tvm.training.twin import QatModel


@dataclass(frozen=True)
class Emission:
    """A plan, what it emitted, and the model assembled from it."""

    planner: Planner
    emitter: Emitter
    integer: IntegerModel


def emit(twin: QatModel) -> Emission:
    """Plans again, because layers copy weights into their plan, and emits integers."""
    assert twin.captured is not None
    assert twin.planner is not None
    assert twin.simulation is not None
    for node in twin.captured.graph.nodes:
        if node in twin.planner.ops and twin.planner.is_constant(node):
            value = twin.simulation.live(node)
            value = value.detach() if isinstance(value, Tensor) else value
            node.meta["value"] = value
            if node.op == "get_attr":
                twin.captured.constants[str(node.target)] = value
    planner = Planner(twin.captured, twin.config.quant)
    twin.simulation.gains = twin.range_gains
    twin.simulation.take_gains()
    observers.transplant(twin.planner, planner)
    emitter = emit_graph(planner)
    integer = assemble(planner, emitter, twin.recent[0]).eval()
    return Emission(planner, emitter, integer)
