"""Portable C99 sources: for any compiler and any CPU, no header but the standard ones."""

from irnn_tvm.targets.base import Target, host_triples

TARGET = Target(
    name="c",
    description="portable C99 sources for any compiler",
    kind="sources",
    tvm={"kind": "c"},
    zig_target=host_triples()[0],
)
