"""The default schedule of every kernel: the first rule that claims it."""

from __future__ import annotations

from typing import Any

from . import dot_rows, leave, tiles

RULES = (tiles, dot_rows, leave)


def schedule(func: Any, target: Any) -> tuple[Any, str]:
    """Returns the scheduled PrimFunc and the name of the rule that made it.

    func: a PrimFunc from relay_ops; target: an irnn_tvm.targets.Target.
    """
    for rule in RULES:
        result = rule.apply(func, target)
        if result is not None:
            return result.mod["main"].with_attrs(dict(func.attrs.items())), rule.__name__.rpartition(".")[2]
    raise AssertionError("the last rule claims everything")
