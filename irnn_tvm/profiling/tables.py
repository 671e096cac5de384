"""A profile as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Figures = Mapping[str, Any]


def tables(profile: Figures) -> list[Table]:
    """What `irnn-tvm bench --profile` prints: the whole step, its kernels, and the ceilings of this core."""
    found = [_summary(profile), _kernels(profile), _work(profile)]
    if profile["ceilings"] is not None:
        found.append(_ceilings(profile))
    return found


def _summary(profile: Figures) -> Table:
    from rich.table import Table

    step, timed = profile["per_step"], profile["ceilings"] is not None
    table = Table("", "", title=f"{profile['name']}, {profile['target']}: per time step", show_header=False)
    calls = "single steps" if profile["call"] == "step" else f"sequences of {profile['steps']}"
    rows: list[tuple[str, str]] = [
        ("measured", f"{profile['measure']}, {calls}, {profile['where']}"),
        ("weights and constants read", f"{step['weight_bytes']:,} B"),
        ("activations and states", f"{step['activation_bytes']:,} B"),
        ("int8 multiply-accumulates", f"{step['macs']:,}"),
        ("MACs per byte of weights", number(step["macs_per_weight_byte"])),
    ]
    if timed:
        rows += [
            ("time", f"{step['us']:,.3f} µs"),
            ("weights", f"{number(step['gbytes_per_s'])} GB/s"),
            ("products", f"{number(step['gmacs_per_s'])} GMAC/s"),
        ]
        if step["floor_us"] is not None:
            floor = f"{step['floor_us']:,.3f} µs ({step['bound_by']})"
            rows += [("floor", floor), ("of the roofline", percent(step["roofline_share"]))]
    else:
        rows += [
            ("instructions (emulated)", f"{step['instructions']:,.0f}"),
            ("instructions per MAC", number(step["instructions_per_mac"])),
        ]
    rows.append(("elementwise", _elementwise(profile["elementwise"])))
    for row in rows:
        table.add_row(*row)
    return table


def _elementwise(figures: Figures | None) -> str:
    if figures is None:
        return "not measured (needs the model: --model FILE.pt2)"
    note = ""
    if figures["counted_as_products"]:
        note = f"; not taken apart: {', '.join(figures['counted_as_products'])}"
    return f"{percent(figures['share'])} of the step{note}"


def _kernels(profile: Figures) -> Table:
    timed = profile["ceilings"] is not None
    unit = "µs" if timed else "instructions (emulated)"
    rates = ["GB/s", "GMAC/s", "of the roofline"] if timed else ["per MAC"]
    table = _table("kernels, per time step", ["kernel", unit, "share", "elementwise part", *rates])
    for row in profile["kernels"]:
        amount = f"{row['us']:,.3f}" if timed else f"{row['instructions']:,.0f}"
        cells = [row["op"], amount, percent(row["share"]), percent(row["elementwise_share"])]
        if timed:
            bound = f" ({row['bound_by']})" if row["bound_by"] else ""
            cells += [number(row["gbytes_per_s"]), number(row["gmacs_per_s"])]
            cells.append(percent(row["roofline_share"]) + bound)
        else:
            cells.append(number(row["instructions_per_mac"]))
        table.add_row(*cells)
    rest = profile["outside_kernels"]
    amount = f"{rest['us']:,.3f}" if timed else f"{rest['instructions']:,.0f}"
    table.add_row("outside kernels", amount, percent(rest["share"]))
    return table


def _work(profile: Figures) -> Table:
    columns = ["kernel", "runs", "weights B", "activations B", "MACs", "MACs per weight byte"]
    table = _table("what they read and multiply, per time step", columns)
    for row in profile["kernels"]:
        sizes = [f"{row[key]:,}" for key in ("weight_bytes", "activation_bytes", "macs")]
        runs = number(row["executions"] / profile["steps"])
        table.add_row(row["op"], runs, *sizes, number(row["macs_per_weight_byte"]))
    return table


def _table(title: str, columns: list[str]) -> Table:
    from rich.table import Table

    table = Table(*columns, title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _ceilings(profile: Figures) -> Table:
    from rich.table import Table

    found = profile["ceilings"]
    table = Table("", "", title=f"ceilings of this core: {profile['device']}", show_header=False)
    size = f"weights, {found['working_set_bytes']:,} B of this library"
    table.add_row(size, "-" if found["gbytes_per_s"] is None else f"{found['gbytes_per_s']:,.1f} GB/s")
    if found["gmacs_per_s"] is None:
        what = profile["instruction_set"] or "scalar code"
        table.add_row("products", f"no loop for {what}: bandwidth alone bounds")
    else:
        table.add_row(f"products ({found['product']})", f"{found['gmacs_per_s']:,.1f} GMAC/s")
    for level in found["levels"]:
        table.add_row(f"{level['name']}, {level['bytes']:,} B", f"{level['gbytes_per_s']:,.1f} GB/s")
    return table


def number(value: float | None) -> str:
    """Three digits or so; "-" where there is none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def percent(share: float | None) -> str:
    """A share as a percentage; "-" where there is none."""
    return "-" if share is None else f"{100 * share:.1f} %"
