"""MadNorm: normalisation by the mean absolute deviation, which integers compute without squares or roots."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from irnn_tvm.errors import InputError


class MadNorm(nn.Module):
    """y = (x - mean) / (mean|x - mean| + eps) * weight + bias over the last axes (the iRNN paper's MadNorm).

    normalized_shape, eps, elementwise_affine and bias are those of torch.nn.LayerNorm, and so is the state_dict:
    weight and bias of shape normalized_shape. For a normal distribution the mean absolute deviation is 0.8 of the
    standard deviation, so a LayerNorm's weight times 0.8 is a good start.
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        if not shape or min(shape) < 1:
            raise InputError(
                f"normalized_shape={normalized_shape!r} is not supported; it needs sizes of at least 1"
            )
        if not eps > 0:
            raise InputError(f"eps={eps!r} is not a positive number")
        self.normalized_shape = shape
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter("weight", nn.Parameter(torch.ones(shape)) if elementwise_affine else None)
        self.register_parameter(
            "bias", nn.Parameter(torch.zeros(shape)) if elementwise_affine and bias else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """x [..., *normalized_shape] -> the same shape. Raises InputError when x ends in other sizes."""
        if tuple(x.shape[-len(self.normalized_shape) :]) != self.normalized_shape:
            raise InputError(
                f"MadNorm: expected an input whose last sizes are {self.normalized_shape}, got {tuple(x.shape)}"
            )
        axes = tuple(range(-len(self.normalized_shape), 0))
        centred = x - x.mean(axes, keepdim=True)
        y = centred / (centred.abs().mean(axes, keepdim=True) + self.eps)
        if self.weight is not None:
            y = y * self.weight
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
