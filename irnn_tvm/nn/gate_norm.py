"""Normalisation of the vectors inside a recurrent step: products of all gates, the cell state."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from irnn_tvm.errors import InputError

NORMS = ("layer", "mad")
EPS = 1e-5


def check_norm(kind: str | None, what: str) -> None:
    """Raises InputError unless kind is None, "layer" or "mad"."""
    if kind is not None and kind not in NORMS:
        raise InputError(f'{what}={kind!r} is not supported; supported: None, "layer", "mad"')


def normalise(
    v: Tensor, kind: str | None, gain: Tensor | None, bias: Tensor | None = None, eps: float = EPS
) -> Tensor:
    """v [..., N], gain and bias [N]. kind None: v itself.

    "layer": (v - mean) / sqrt(mean((v - mean)^2) + eps) * gain + bias (Ba et al. 2016).
    "mad":   (v - mean) / (mean|v - mean| + eps) * gain + bias (iRNN's MadNorm).
    """
    if kind is None:
        return v
    if kind == "layer":
        return F.layer_norm(v, (v.shape[-1],), gain, bias, eps)
    centred = v - v.mean(-1, keepdim=True)
    unit = centred / (centred.abs().mean(-1, keepdim=True) + eps)
    scaled = unit if gain is None else unit * gain
    return scaled if bias is None else torch.add(scaled, bias)
