"""The shell's door to the package: `irnn-tvm build | tune | run | report | bench | export | firmware | logs | targets`
and more; on devices `rpc-server` and `rpc-tracker`.

Everything heavy is imported inside the commands, so that `--help` answers at once. An IrnnError is one line
on stderr and exit code 2.
"""

from irnn_tvm.cli import devices, firmware, libraries, logs, models, studies  # noqa: F401  they declare commands
from irnn_tvm.cli.models import Example
from irnn_tvm.cli.root import EXAMPLES, app
from irnn_tvm.cli.studies import Function

__all__ = ["EXAMPLES", "Example", "Function", "app"]
