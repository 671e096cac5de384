"""irnn.layer_norm: Relax op and TIR lowering (formula: irnn_tvm/ops/layer_norm.py)."""

from typing import Any

from .registry import define
from .row_norm import TENSORS, infer, legalize_rows


def legalize(bb: Any, call: Any) -> Any:
    return legalize_rows(bb, call, "layer")


define("layer_norm", TENSORS, infer, legalize)
