"""C functions that give the parts of a kernel to threads (threads/pool.c)."""

from __future__ import annotations

from collections.abc import Iterable

from irnn_tvm.compiler.kernels import Kernel
from irnn_tvm.compiler.split_tiles import PREPARE


def parallel_calls(kernels: Iterable[Kernel]) -> list[str]:
    """For every kernel that is split, `callee` with the parameters of the whole kernel."""
    split = [kernel for kernel in kernels if kernel.split]
    if not split:
        return []
    lines = [
        "/* threads/pool.c: part(data, i, parts) for every i below parts, at the same time. */",
        "extern void irnn_parallel(void (*part)(const void *data, int64_t part, int64_t parts), const void *data);",
        "",
    ]
    for kernel in split:
        parameters = kernel.parameters()
        number = kernel.scalars - 2 + len(kernel.dtypes)
        part, parts = parameters[number : number + 2]
        whole = [p for p in parameters if p not in (part, parts)]
        arguments = [f"a->{name}" for _, name in parameters]
        arguments[number : number + 2] = ["part", "parts"]
        first = list(arguments)
        first[number : number + 2] = ["0", str(PREPARE)]
        prepare = f"  {kernel.symbol}({', '.join(a.removeprefix('a->') for a in first)});"
        struct = f"struct {kernel.symbol}_arguments"
        lines += [
            f"{struct} {{",
            *(f"  {kind}{name};" for kind, name in whole),
            "};",
            "",
            f"static void {kernel.symbol}_part(const void *data, int64_t part, int64_t parts) {{",
            f"  const {struct} *a = (const {struct} *)data;",
            f"  {kernel.symbol}({', '.join(arguments)});",
            "}",
            "",
            f"static void {kernel.callee}({', '.join(kind + name for kind, name in whole)}) {{",
            f"  const {struct} arguments = {{{', '.join(name for _, name in whole)}}};",
            *([prepare] if kernel.prepares else []),
            f"  irnn_parallel({kernel.symbol}_part, &arguments);",
            "}",
            "",
        ]
    return lines
