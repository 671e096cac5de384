"""One rule per family of layers and functions. Importing this package registers them all."""

from irnn_tvm.quantization.rules import (  # noqa: F401
    activation,
    additive_attention,
    clamp,
    concat,
    conv1d,
    dot_product_attention,
    elementwise,
    embedding,
    fill,
    growing_memory,
    gru,
    linear,
    lstm,
    masks,
    movement,
    multihead_attention,
    pad,
    product,
    softmax,
)
from irnn_tvm.quantization.rules.base import Op, Registry

__all__ = ["Op", "Registry"]
