"""Where the time of a built library goes: a roofline report (docs/profiling.md)."""

from irnn_tvm.profiling.profile import profile

__all__ = ["profile"]
