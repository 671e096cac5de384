"""Where tuning logs lie: shipped ones in the package, a user's in a folder of theirs."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT = "IRNN_TVM_TUNING_LOGS"


def user_folder() -> Path:
    """$IRNN_TVM_TUNING_LOGS, else $XDG_DATA_HOME/irnn_tvm/tuning_logs, else ~/.local/share/irnn_tvm/tuning_logs."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "irnn_tvm" / "tuning_logs"


def shipped_folder() -> Path:
    """The one in the package."""
    from irnn_tvm import tuning_logs

    return Path(tuning_logs.__file__).parent


def folder_for(logs: str | Path | None, target: str) -> Path:
    """The folder of a target's database; logs: None for the user's."""
    return (user_folder() if logs is None else Path(logs)) / target
