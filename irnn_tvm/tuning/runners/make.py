"""A runner from settings that can be written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from irnn_tvm.errors import TuningError
from irnn_tvm.targets import Target
from irnn_tvm.tuning.runners.base import Runner


def check_runner(settings: Mapping[str, Any], target: Target) -> None:
    """Raises what `make_runner` would, as far as that is known without a device: ToolNotFoundError for an emulator that
    is not installed."""
    if settings["kind"] == "emulator":
        from irnn_tvm.runtime.emulated import find_emulator

        make_runner(settings, target).close()
        if target.emulator is not None:
            find_emulator(target.emulator.qemu, target.emulator.package, plugins=True)
    elif settings["kind"] != "rpc":
        make_runner(settings, target).close()


def make_runner(settings: Mapping[str, Any], target: Target) -> Runner:
    """settings: `kind`, "local", "rpc", "emulator" or "command", and what that kind takes."""
    kind = settings["kind"]
    values = {key: value for key, value in settings.items() if key != "kind"}
    if kind == "local":
        from irnn_tvm.tuning.runners.local import LocalRunner

        if not target.runs_natively:
            raise TuningError(
                f"{target.name} does not run on this machine: give rpc= for a device, or runner='emulator'"
            )
        return LocalRunner(**values)
    if kind == "emulator":
        from irnn_tvm.tuning.runners.emulator import EmulatorRunner

        return EmulatorRunner(target, **values)
    if kind == "rpc":
        from irnn_tvm.tuning.runners.rpc import RPCRunner

        return RPCRunner(target, **values)
    if kind == "command":
        from irnn_tvm.tuning.runners.command import CommandRunner

        return CommandRunner(target, **values)
    raise TuningError(f"there is no runner {kind!r}; supported: local, rpc, emulator, command")
