"""The pretrained character model of textgenrnn as ordinary PyTorch modules.

The package publishes weights of Keras' CuDNNLSTM layers in an HDF5 file. Its network is an embedding, two
LSTM layers and a dense softmax over an attention-weighted average of [embedding, layer 1, layer 2].
`Features` is all of it that runs once per character, `next_character` the rest in NumPy.
"""

from __future__ import annotations

import io
import json

import numpy as np
import torch
from torch import Tensor, nn

from irnn_tvm.errors import ToolNotFoundError
from irnn_tvm.examples.download import Package, read_member

PACKAGE = Package(
    requirement="textgenrnn==2.0.0",
    filename="textgenrnn-2.0.0.tar.gz",
    sha256="c2b6f1c201c76d5a6021079e95a8db499bbe15d9f3448d33cb51c0cd496c86f8",
    licence="MIT",
)
EMBEDDING, HIDDEN = 100, 128
START = "<s>"
PADDING = 0
CONTEXT = 40  # the network was trained on the last 40 characters, padded on the left


class Features(nn.Module):
    """Character ids int64 [B, T] -> float32 embedding [B, T, 100], layer 1 and layer 2 [B, T, 128] each.

    Three outputs and not one concatenation: as integers, each keeps a scale of its own.
    """

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, EMBEDDING)
        self.rnn_1 = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True)
        self.rnn_2 = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        embedded = self.embedding(ids)
        first, _ = self.rnn_1(embedded)
        second, _ = self.rnn_2(first)
        return embedded, first, second


def weights() -> dict[str, np.ndarray]:
    """The published weights as float32 arrays, with Keras' meaning (gates i, f, c, o; y = x @ kernel).

    embedding [V, 100]; per layer kernel [X, 4H], recurrent [H, 4H], bias [4H]; attention [356, 1];
    output_kernel [356, V] and output_bias [V].
    """
    try:
        import h5py
    except ImportError:
        raise ToolNotFoundError(
            "textgenrnn's weights are an HDF5 file: `pip install h5py` (or irnn-tvm[examples]) reads it"
        ) from None
    found: dict[str, np.ndarray] = {}
    with h5py.File(io.BytesIO(read_member(PACKAGE, "textgenrnn_weights.hdf5")), "r") as file:
        found["embedding"] = file["embedding/embedding/embeddings:0"][()]
        found["attention"] = file["attention/attention/attention_W:0"][()]
        found["output_kernel"] = file["output/output/kernel:0"][()]
        found["output_bias"] = file["output/output/bias:0"][()]
        for name in ("rnn_1", "rnn_2"):
            group = file[name][name]
            found |= _from_cudnn(
                name, *(group[key][()] for key in ("kernel:0", "recurrent_kernel:0", "bias:0"))
            )
    return found


def _from_cudnn(
    name: str, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray
) -> dict[str, np.ndarray]:
    """As Keras' own converter: CuDNN keeps each gate's matrices transposed, and two biases that are added."""
    return {
        f"{name}_kernel": np.hstack([gate.T.reshape(gate.shape, order="F") for gate in np.hsplit(kernel, 4)]),
        f"{name}_recurrent": np.hstack([gate.T for gate in np.hsplit(recurrent, 4)]),
        f"{name}_bias": bias.reshape(2, -1).sum(axis=0),
    }


def vocabulary() -> dict[str, int]:
    """Character -> id, from 1; 0 is padding."""
    table: dict[str, int] = json.loads(read_member(PACKAGE, "textgenrnn_vocab.json").decode("utf-8"))
    return table


def load() -> Features:
    """The pretrained features, in evaluation mode. PyTorch's gates i, f, g, o are Keras' i, f, c, o."""
    values = weights()
    model = Features(values["embedding"].shape[0])
    state = {"embedding.weight": values["embedding"]}
    for name in ("rnn_1", "rnn_2"):
        state[f"{name}.weight_ih_l0"] = values[f"{name}_kernel"].T
        state[f"{name}.weight_hh_l0"] = values[f"{name}_recurrent"].T
        state[f"{name}.bias_ih_l0"] = values[f"{name}_bias"]
        state[f"{name}.bias_hh_l0"] = np.zeros_like(values[f"{name}_bias"])
    model.load_state_dict(
        {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in state.items()}
    )
    return model.eval()


def encode(text: str) -> np.ndarray:
    """Character ids int64 [T]: padding and the start token first, since every training text began like that.

    Characters without an id are left out, as the package does.
    """
    table = vocabulary()
    ids = [PADDING] * (CONTEXT - 1) + [table[START]]
    return np.array(ids + [table[character] for character in text if character in table], np.int64)


def features_numpy(values: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """Keras' LSTM cell (sigmoid; gates i, f, c, o) over ids [T] -> [T, 356]: the check of `Features`."""

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    layers = [values["embedding"][ids]]
    for name in ("rnn_1", "rnn_2"):
        hidden = np.zeros(HIDDEN, np.float32)
        cell = np.zeros(HIDDEN, np.float32)
        rows = []
        for x in layers[-1]:
            gates = (
                x @ values[f"{name}_kernel"] + hidden @ values[f"{name}_recurrent"] + values[f"{name}_bias"]
            )
            i, f, c, o = np.split(gates, 4)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
            hidden = sigmoid(o) * np.tanh(cell)
            rows.append(hidden)
        layers.append(np.stack(rows))
    return np.concatenate(layers, axis=-1)


def next_character(values: dict[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """Logits [V] of the next character from the context's features [T, 356]: attention, average, dense."""
    scores = (features @ values["attention"])[:, 0]
    attention = np.exp(scores - scores.max())
    pooled = (attention / attention.sum()) @ features
    return pooled @ values["output_kernel"] + values["output_bias"]
