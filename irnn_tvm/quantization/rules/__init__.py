"""One rule per family of layers and functions. Importing this package registers them all."""

from irnn_tvm.quantization.rules import (  # noqa: F401
    activation,
    clamp,
    concat,
    conv1d,
    elementwise,
    embedding,
    fill,
    gru,
    linear,
    lstm,
    movement,
    pad,
)
from irnn_tvm.quantization.rules.base import Op, Registry

__all__ = ["Op", "Registry"]
