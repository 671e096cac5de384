"""Embeddings: the table itself is quantized, so a lookup is exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.evaluate import current
from irnn_tvm.quantization.modules.integer_embedding import IntegerEmbedding
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.rules.layer import Layer, float_array
from irnn_tvm.quantization.slots import Index, Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation


class EmbeddingLayer(Layer):
    """One table; its slot observes all rows, because any id may come. read: gives the float table as it is now."""

    def __init__(self, op: Op, read: Callable[[], Tensor]) -> None:
        super().__init__(op.planner, op.label)
        self.read = read
        self.out = op.planner.new_slot(f"{op.label} output", bits=8)
        self.out.observer.update(self.weight)

    @property
    def weight(self) -> Tensor:
        """The float table as it is now, [V, E], without gradient."""
        return self.read().detach()

    def follow(self) -> None:
        """Sees the table again when training has moved it beyond what was seen."""
        weight = self.weight
        low, high = weight.aminmax()
        if float(low) < self.out.observer.low or float(high) > self.out.observer.high:
            self.out.observer.update(weight)

    def tie(self) -> None:
        """The table also multiplies (tied weights): 0 is its zero point, and -128 is no weight."""
        self.out.symmetric = True

    def integers(self) -> np.ndarray:
        """The table, int8 [V, E]."""
        q = self.out.qparams
        rows = q.quantize(float_array(self.weight))
        return np.asarray(np.maximum(rows, -127) if self.out.symmetric else rows).astype(np.int8)

    def build(self) -> nn.Module:
        return IntegerEmbedding(torch.from_numpy(self.integers()))


def place(weight: Tensor) -> tuple[Any, ...]:
    """Where a matrix lies in memory: equal for layers that share one."""
    return weight.data_ptr(), tuple(weight.shape), tuple(weight.stride())


@Registry.register(modules=(nn.Embedding,), functions=(F.embedding,))
class EmbeddingOp(Op):
    """y = table[ids]."""

    kind = "embedding"

    def plan(self) -> Value:
        ids = self.planner.value(self.argument(0, "input"))
        if not isinstance(ids, Index):
            raise self.refuse("its input is not an integer tensor")
        key: Any = self.module if self.module is not None else self.argument(1, "weight")
        weight = self._weight()
        ids.restrict(weight.shape[0])
        if key not in self.planner.layers:
            self.planner.layers[key] = self.planner.tables[place(weight)] = EmbeddingLayer(self, self.table)
        self.layer: EmbeddingLayer = self.planner.layers[key]
        return self.layer.out

    def _weight(self) -> Tensor:
        if isinstance(self.module, nn.Embedding):
            if self.module.max_norm is not None:
                raise self.refuse(
                    "max_norm rewrites the table at run time; apply it to the weights once instead"
                )
            return self.module.weight
        if self.argument(3, "max_norm") is not None:
            raise self.refuse("max_norm rewrites the table at run time; apply it to the weights once instead")
        table = self.argument(1, "weight")
        if not isinstance(table, fx.Node) or not self.planner.is_constant(table):
            raise self.refuse("its table must be a parameter")
        return self.table()

    def table(self) -> Tensor:
        """The float table as it is now, with its gradient."""
        found: Any
        if isinstance(self.module, nn.Embedding):
            found = self.module.weight
        else:
            found = current(self.planner.captured, self.argument(1, "weight"))
        assert isinstance(found, Tensor)
        return found

    def observe(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self.layer.follow()

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return sim.quantize(F.embedding(args[0] if args else kwargs["input"], self.table()), self.layer.out)

    def emit(self, emitter: Emitter) -> Any:
        return self.layer.emit(emitter, emitter.env[self.argument(0, "input")])
