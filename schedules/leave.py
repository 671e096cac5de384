"""Rule of last resort: elementwise, copy and convolution kernels keep the loops they were written with."""

from __future__ import annotations

from typing import Any


def apply(func: Any, target: Any) -> Any:
    """Claims everything and changes nothing; LLVM vectorizes these loops where it can."""
    from tvm import s_tir

    del target
    return s_tir.Schedule(func)
