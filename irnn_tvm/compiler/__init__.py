"""From an integer model to a library: passes, memory plan, kernels, C, linking."""

from irnn_tvm.compiler.build_library import build

__all__ = ["build"]
