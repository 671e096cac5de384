"""Scheduled PrimFunc -> PrimFunc with plain C parameters, ready for LLVM or C code generation.

TVM's packed calling convention is skipped: buffers become typed pointers, run-time sizes trailing int64 arguments.
"""

from __future__ import annotations

from typing import Any


def tensor_parameters(func: Any) -> list[Any]:
    """Buffer parameters of a PrimFunc, in order."""
    from tvm.tirx.buffer import is_buffer_var

    return [p for p in func.params if is_buffer_var(p)]


def scalar_parameters(func: Any) -> list[Any]:
    """Sizes that a PrimFunc takes as arguments because no buffer's shape names them."""
    from tvm.tirx.buffer import is_buffer_var

    return [p for p in func.params if not is_buffer_var(p)]


def output_count(func: Any) -> int:
    """How many of a PrimFunc's last tensors it writes."""
    return int(func.attrs["irnn.outputs"]) if "irnn.outputs" in func.attrs else 1


def symbolic_sizes(func: Any) -> list[tuple[Any, int, int]]:
    """Other size variables of a PrimFunc, in order of appearance, with the tensor and axis that define each."""
    from tvm import tirx

    known = scalar_parameters(func)
    found: list[tuple[Any, int, int]] = []
    for position, param in enumerate(tensor_parameters(func)):
        for axis, dim in enumerate(param.ty.shape):
            if isinstance(dim, tirx.Var) and not any(
                dim.same_as(v) for v in [*known, *(f[0] for f in found)]
            ):
                found.append((dim, position, axis))
    return found


def lower_kernel(func: Any, name: str, target: Any) -> Any:
    """Runs the s_tir lowering passes and rewrites the signature. Returns an IRModule with one PrimFunc `name`."""
    import tvm
    from tvm import s_tir, tirx

    mod = tvm.IRModule({name: func.with_attr("global_symbol", name).with_attr("target", target)})
    passes = [
        s_tir.transform.CanonicalizeLoop(),
        s_tir.transform.LowerInitBlock(),
        s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.CompactBufferAllocation(),
        s_tir.transform.LowerMatchBuffer(),
        s_tir.transform.StmtSimplify(),
        s_tir.transform.LowerOpaqueBlock(),
        tirx.transform.FlattenBuffer(),
        tirx.transform.NarrowDataType(32),
        s_tir.transform.LoopPartition(),
        tirx.transform.VectorizeLoop(True),
        tirx.transform.StorageRewrite(),
        tirx.transform.UnrollLoop(),
        s_tir.transform.RenormalizeSplitPattern(),
        tirx.transform.StmtSimplify(),
        s_tir.transform.RewriteUnsafeSelect(),
    ]
    if str(target.kind.name) != "c":  # C compilers share subexpressions themselves, and warn of unused ones
        passes.append(tirx.transform.CommonSubexprElim())
    # Storage shared by buffers of different types breaks C's aliasing rules, and LLVM's; this setting of
    # StorageRewrite is the one that turns sharing off.
    shared = {"tirx.merge_static_smem": len(_local_dtypes(func.body)) > 1}
    with tvm.transform.PassContext(config=shared):
        mod = tvm.transform.Sequential(passes)(mod)
    mod = tvm.IRModule({name: _plain_signature(mod[name])})
    mod = tirx.transform.LowerTVMBuiltin()(mod)
    return tirx.transform.LowerIntrin()(mod)


def _local_dtypes(stmt: Any) -> set[str]:
    """Types of the buffers that the blocks of a statement allocate."""
    kind = type(stmt).__name__
    if kind == "SeqStmt":
        return set().union(*(_local_dtypes(s) for s in stmt.seq))
    if kind == "IfThenElse":
        branches = [stmt.then_case, *([stmt.else_case] if stmt.else_case is not None else [])]
        return set().union(*(_local_dtypes(s) for s in branches))
    if kind == "SBlockRealize":
        own = {str(buffer.ty.dtype) for buffer in stmt.block.alloc_buffers}
        return own | _local_dtypes(stmt.block.body)
    return _local_dtypes(stmt.body) if hasattr(stmt, "body") else set()


def _plain_signature(func: Any) -> Any:
    from tvm import tirx
    from tvm.ir import PointerType, PrimType
    from tvm.tirx.stmt import DeclBuffer

    pointers, declarations = [], []
    for param in tensor_parameters(func):
        pointer = tirx.Var(param.name, PointerType(PrimType(str(param.ty.dtype))))
        pointers.append(pointer)
        declarations.append(DeclBuffer(param, data=pointer))
    sizes = [*scalar_parameters(func), *(var for var, _, _ in symbolic_sizes(func))]
    body = tirx.SeqStmt([*declarations, func.body])
    return tirx.PrimFunc([*pointers, *sizes], body, func.ret_type, func.attrs)
