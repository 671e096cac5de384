"""ExportedProgram -> Relax IRModule with irnn.* operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from irnn_tvm.errors import ProgramError, UnsupportedModuleError

if TYPE_CHECKING:
    import torch

# Pure data movement that may stand between irnn ops; everything else in an integer program is refused.
MOVEMENT = frozenset(
    {
        "permute.default", "transpose.int", "view.default", "reshape.default", "_unsafe_view.default",
        "unsqueeze.default", "squeeze.dim", "squeeze.dims", "squeeze.default", "select.int", "slice.Tensor",
        "clone.default", "alias.default", "contiguous.default", "cat.default", "full.default", "new_full.default",
        "zeros.default", "new_zeros.default", "expand.default", "lift_fresh_copy.default", "detach_.default",
        "detach.default", "split_with_sizes.default", "split.Tensor", "chunk.default", "stack.default",
        "sym_size.int", "getitem", "flip.default", "t.default", "flatten.using_ints", "add", "mul", "sub", "floordiv",
        "_to_copy.default", "movedim.int", "movedim.intlist", "moveaxis.int", "moveaxis.intlist", "unbind.int",
        "unflatten.int", "swapaxes.default", "swapdims.default", "mT.default", "numpy_T.default", "view_as.default",
        "reshape_as.default", "ravel.default", "expand_as.default", "broadcast_to.default", "tensor_split.sections",
        "tensor_split.indices", "split.sizes", "narrow.default",
    }
)  # fmt: skip


def import_program(program: torch.export.ExportedProgram) -> Any:
    """Converts an exported integer program into a Relax IRModule whose `main` calls irnn.* ops.

    Raises UnsupportedModuleError when the program holds an operation that is neither an irnn op nor data movement,
    ProgramError when it holds no irnn op at all.
    """
    from tvm.relax.frontend.torch import from_exported_program

    from irnn_tvm.frontend.converters import converters

    _check(program)
    return from_exported_program(program, custom_convert_map=converters(), run_ep_decomposition=False)


def _check(program: torch.export.ExportedProgram) -> None:
    found = 0
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        name = str(getattr(node.target, "__name__", node.target))
        namespace = getattr(node.target, "namespace", "")
        if namespace == "irnn":
            found += 1
        elif name not in MOVEMENT:
            raise UnsupportedModuleError(
                f"the program calls {node.target} (node {node.name!r}); a built library holds integer irnn ops and "
                "data movement only. Quantize the float model with irnn_tvm.quantize first"
            )
    if not found:
        raise ProgramError(
            "the program holds no irnn op: either it is not an integer graph made by irnn_tvm.quantize, or its model "
            "only moves data and rescales it, so that there is nothing to compute"
        )
