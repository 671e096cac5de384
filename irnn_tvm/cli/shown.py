"""Tables of what commands show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def pairs_table(title: str, pairs: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table("", "", title=title, show_header=False)
    for key, value in pairs.items():
        table.add_row(key.replace("_", " "), _text(value))
    return table


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def report_table(content: dict[str, Any]) -> Table:
    pairs: dict[str, Any] = {key: content[key] for key in ("target", "kind") if key in content}
    for kind in ("inputs", "outputs"):
        for spec in content.get(kind, []):
            shape = ", ".join(str(extent) for extent in spec["shape"])
            scale = (
                ""
                if spec.get("scale") is None
                else f" scale {spec['scale']:.6g} zero point {spec['zero_point']}"
            )
            pairs[f"{kind[:-1]} {spec['name']}"] = f"{spec['dtype']}[{shape}]{scale}"
    for key in ("flash_bytes", "state_bytes", "arena_bytes", "stack_bytes", "macs_per_step", "streamable"):
        if content.get(key) is not None:
            pairs[key] = content[key]
    return pairs_table(content.get("name", "library"), pairs)


def kernel_table(kernels: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    columns = list(dict.fromkeys(key for kernel in kernels for key in kernel))
    table = Table(*(column.replace("_", " ") for column in columns), title="kernels")
    for kernel in kernels:
        table.add_row(
            *(f"{v:,}" if isinstance(v, int) else str(v) for v in (kernel.get(c, "") for c in columns))
        )
    return table
