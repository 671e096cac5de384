"""The runtimes that latency.py times beside ours: one file each, with `prepare`.

prepare(workload, steps) returns a call without arguments that runs one inference of `steps` time steps on one thread,
and raises Unsupported, saying why, for what the runtime cannot run.
"""

from __future__ import annotations


class Unsupported(Exception):
    """A runtime has no way to run a workload."""
