"""One rule per family of layers and functions. Importing this package registers them all."""

from irnn_tvm.quantization.rules import (  # noqa: F401
    activation,
    additive_attention,
    batch_norm,
    clamp,
    concat,
    conv1d,
    dot_product_attention,
    elementwise,
    embedding,
    fill,
    growing_memory,
    gru,
    gru_norm,
    linear,
    lstm,
    lstm_general,
    masks,
    movement,
    multihead_attention,
    norm,
    pad,
    pooling,
    product,
    rnn,
    selection,
    softmax,
    windows,
)
from irnn_tvm.quantization.rules.base import Op, Registry

__all__ = ["Op", "Registry"]
