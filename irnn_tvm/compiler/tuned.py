"""Kernels as tuning logs say: for every call of an operator the choice that was measured to be the fastest.

Ways of measuring are never compared with each other. Of several the latest of the best kind is taken: wall clock, then
cycles, then instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from irnn_tvm.errors import TuningError
from irnn_tvm.targets import TARGETS, Target
from irnn_tvm.tuning import logs as logs_of
from irnn_tvm.tuning import records
from irnn_tvm.tuning.records import Record

KINDS = ("wall clock", "cycles", "instructions")  # the best first
How = tuple[str, str, str]


def choose_for(target: Target, logs: str | Path | bool | None) -> Callable[[bool], Any] | None:
    """For `lower_program`; None where there are no records for the target. logs: a folder with one for each target;
    None: the user's and the shipped ones; False: none.

    Raises TuningError for logs that cannot be read.
    """
    if logs is False or target.kind == "sources":
        return None
    name = logs_name(target)
    if name is None:
        return None
    if logs is None:
        roots = [logs_of.shipped_folder(), logs_of.user_folder()]
    else:
        roots = [Path(str(logs))]
        if not roots[0].is_dir():
            raise TuningError(f"tuning_logs: there is no folder {roots[0]}")
    known = Known(record for root in roots for record in records.read(root / name))
    return known.chooser if known.groups else None


def logs_name(target: Target) -> str | None:
    """The target whose logs hold for another one: for "host" that of the same instruction set."""
    if target.name != "host":
        return target.name
    simd = target.simd()
    same = (t.name for t in TARGETS.values() if t.kind == "shared" and t.name != "host" and not t.variants
            and t.instruction_set == simd and simd is not None)  # fmt: skip
    return next(same, None)


class Known:
    """What is recorded about a target. Later records count more than earlier ones."""

    def __init__(self, found: Iterable[Record]) -> None:
        self.groups: dict[str, dict[How, list[Record]]] = {}
        for (task, how), group in records.groups(found).items():
            self.groups.setdefault(task, {})[how] = group

    def ranked(self, task: str) -> list[Record]:
        """See `records.ranked`; empty where nothing is known."""
        ways = self.groups.get(task, {})
        if not ways:
            return []
        kind = min((how[0] for how in ways), key=lambda m: KINDS.index(m) if m in KINDS else len(KINDS))
        return records.ranked(ways[[how for how in ways if how[0] == kind][-1]])

    def chooser(self, streaming: bool) -> Callable[[Any, Any], Any]:
        """For `lowering_for`."""
        from irnn_tvm.relay_ops.workload import workload_of
        from irnn_tvm.schedules.spaces import ALSO, SCALAR, apply, family
        from irnn_tvm.tuning.tasks import task_key

        def choose(call: Any, isa: Any) -> Any:
            work = workload_of(call)
            leading, *following = family(work.op, streaming, work.rows)
            usable = {SCALAR, *([] if isa is None else (isa.name, *ALSO.get(isa.name, ())))}
            ranked = [r for r in self.ranked(task_key(leading, work.text)) if r.choice.isa in usable]
            if not ranked:
                return None
            default = ranked[-1]
            for record in ranked:
                ahead = self._ahead(work.text, record, default) if following else None
                if following and ahead is None and record is not default:
                    continue  # it would make several steps at a time slower, or nobody knows
                choice = record.choice if ahead is None else record.choice.merged(ahead.choice)
                why = [f"{leading} {_gain(default, record)}"]
                if ahead is not None:
                    why.append(f"{following[0]} {_gain(self._plain(work.text) or ahead, ahead)}")
                if record is default and (ahead is None or ahead is self._plain(work.text)):
                    return None
                metric, device, cpu = record.how
                return apply(choice, isa, f"{', '.join(why)}; {metric}, {device}, {cpu}")
            return None

        return choose

    def _plain(self, workload: str) -> Record | None:
        """Several steps at a time, by default."""
        from irnn_tvm.schedules.spaces import AHEAD
        from irnn_tvm.tuning.tasks import task_key

        ranked = self.ranked(task_key(AHEAD, workload))
        return ranked[-1] if ranked else None

    def _ahead(self, workload: str, record: Record, default: Record) -> Record | None:
        """The best record of several steps at a time with the layout of `record`, if that is no slower than by
        default; else None."""
        from irnn_tvm.schedules.spaces import AHEAD, layout
        from irnn_tvm.tuning.tasks import task_key

        plain = self._plain(workload)
        same = layout(record.choice) == layout(default.choice) and record.choice.isa == default.choice.isa
        key = (
            task_key(AHEAD, workload)
            if same
            else task_key(AHEAD, workload, record.choice.isa, layout(record.choice))
        )
        ranked = self.ranked(key)
        if not ranked or plain is None or ranked[0].how != plain.how or record.how != plain.how:
            return None
        return ranked[0] if ranked[0].value <= plain.value * (1 + records.LEAST_GAIN) else None


def _gain(default: Record, record: Record) -> str:
    return f"{default.value / record.value:.2f}x"
