"""The networks of the examples g2p and textgenrnn as ONNX graphs, for batches of one: ids come as int64 [T, 1]."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from peers.onnx_graph import STATES, parameters


class Model:
    """A graph in the making, over float32 values; names are the tensors'."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, values: np.ndarray) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def node(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[0]

    def embedding(self, module: nn.Embedding, ids: str, output: str) -> str:
        """int64 [T, 1] -> [T, 1, X]."""
        table = self.constant(f"{output}_table", module.weight.detach().numpy())
        return self.node("Gather", [table, ids], [output])

    def rnn(self, module: nn.RNNBase, x: str, output: str, states: bool) -> str:
        """[T, 1, X] -> [T, 1, H]; states are {h,c}_{output}_in and _out, [1, 1, H] each."""
        cell = type(module).__name__.lower()
        weights = [
            self.constant(f"{output}_{name}", value)
            for name, value in parameters(module, cell, ["l0"]).items()
        ]
        before = ["", *(f"{state}_{output}_in" for state in STATES[cell])] if states else []
        after = [f"{state}_{output}_out" for state in STATES[cell]]
        attributes = {"linear_before_reset": 1} if cell == "gru" else {}
        whole = f"{output}_directions"
        self.node(
            cell.upper(),
            [x, *weights, *before],
            [whole, *after],
            hidden_size=module.hidden_size,
            **attributes,
        )
        axes = self.constant(f"{output}_axes", np.array([1]))
        return self.node("Squeeze", [whole, axes], [output])

    def finish(self, inputs: dict[str, tuple[Any, ...]], outputs: dict[str, tuple[Any, ...]]) -> Any:
        """onnx.ModelProto; the input `ids` holds int64."""
        from onnx import TensorProto, helper

        def values(shapes: dict[str, tuple[Any, ...]]) -> list[Any]:
            return [
                helper.make_tensor_value_info(
                    name, TensorProto.INT64 if name == "ids" else TensorProto.FLOAT, shape
                )
                for name, shape in shapes.items()
            ]

        graph = helper.make_graph(self.nodes, "model", values(inputs), values(outputs), self.constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        made.ir_version = 9
        return made


def encoder(network: nn.Module) -> Any:
    """g2p: ids of a word -> h_y_out [1, 1, H]."""
    model = Model()
    embedded = model.embedding(network.embedding, "ids", "embedded")
    model.rnn(network.gru, embedded, "y", states=False)
    hidden = network.gru.hidden_size
    return model.finish({"ids": ("T", 1)}, {"h_y_out": (1, 1, hidden)})


def decoder(network: nn.Module) -> Any:
    """g2p: the last phoneme and h_y_in -> logits [1, 1, V] and h_y_out."""
    model = Model()
    embedded = model.embedding(network.embedding, "ids", "embedded")
    y = model.rnn(network.gru, embedded, "y", states=True)
    weight = model.constant("weight", np.ascontiguousarray(network.linear.weight.detach().numpy().T))
    product = model.node("MatMul", [y, weight], ["product"])
    bias = model.constant("bias", network.linear.bias.detach().numpy())
    model.node("Add", [product, bias], ["logits"])
    state = (1, 1, network.gru.hidden_size)
    return model.finish(
        {"ids": (1, 1), "h_y_in": state},
        {"logits": (1, 1, network.linear.out_features), "h_y_out": state},
    )


def features(network: nn.Module, states: bool) -> Any:
    """textgenrnn: ids -> embedding [T, 1, X], first [T, 1, H], second [T, 1, H], and states where they are wanted."""
    model = Model()
    embedded = model.embedding(network.embedding, "ids", "embedding")
    first = model.rnn(network.rnn_1, embedded, "first", states)
    model.rnn(network.rnn_2, first, "second", states)
    hidden = network.rnn_1.hidden_size
    inputs: dict[str, tuple[Any, ...]] = {"ids": ("T", 1)}
    outputs: dict[str, tuple[Any, ...]] = {
        "embedding": ("T", 1, network.embedding.embedding_dim),
        "first": ("T", 1, hidden),
        "second": ("T", 1, hidden),
    }
    if states:
        names = [f"{state}_{layer}" for layer in ("first", "second") for state in STATES["lstm"]]
        inputs |= {f"{name}_in": (1, 1, hidden) for name in names}
        outputs |= {f"{name}_out": (1, 1, hidden) for name in names}
    return model.finish(inputs, outputs)
