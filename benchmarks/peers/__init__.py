"""The runtimes that latency.py times beside ours: one file each, with `prepare`.

prepare(workload, steps) returns a call without arguments that runs one inference of `steps` time steps on one thread,
and raises Unsupported, saying why, for what the runtime cannot run.
"""

from __future__ import annotations

from workloads import Workload


class Unsupported(Exception):
    """A runtime has no way to run a workload."""


def only_plain(workload: Workload) -> None:
    """Raises Unsupported for layers that only PyTorch's eager mode and we have."""
    if workload.cell not in ("lstm", "gru"):
        raise Unsupported(f"it has no {workload.cell}; supported: lstm, gru")
