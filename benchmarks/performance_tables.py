"""Tables of docs/performance.md, from rows of the scripts in this folder."""

from __future__ import annotations

from typing import Any

from workloads import CALLS, WORKLOADS

OURS = ("irnn_tvm", "irnn_tvm.runtime")
Row = dict[str, Any]


def cells(rows: list[Row]) -> list[tuple[str, int]]:
    found = {(row["workload"], row["T"]) for row in rows}
    return [(name, steps) for name in WORKLOADS for steps in sorted(t for w, t in found if w == name)]


def latency_table(rows: list[Row]) -> list[str]:
    names = list(dict.fromkeys(row["runtime"] for row in rows))
    value = {(row["workload"], row["T"], row["runtime"]): row["us_median"] for row in rows}
    lines = [
        f"| layer | T | {' | '.join(names)} | times faster than the fastest peer |",
        "|---" * (len(names) + 3) + "|",
    ]
    for name, steps in cells(rows):
        figures = [value.get((name, steps, runtime)) for runtime in names]
        peers = [f for n, f in zip(names, figures, strict=True) if f is not None and n not in OURS]
        mine = value.get((name, steps, OURS[0]))
        ratio = f"{min(peers) / mine:.2f}" if peers and mine else ""
        shown = " | ".join("" if f is None else f"{f:,.1f}" for f in figures)
        lines.append(f"| {name} | {steps} | {shown} | {ratio} |")
    return lines


def streams_table(rows: list[Row]) -> list[str]:
    """Microseconds per stream by how many share a call, for what was timed with several."""
    several = {(row["workload"], row["T"], row["runtime"]) for row in rows if row.get("batch", 1) > 1}
    value = {
        (row["workload"], row["T"], row["runtime"], row.get("batch", 1)): row["us_median"]
        / row.get("batch", 1)
        for row in rows
    }
    batches = sorted({batch for *what, batch in value if tuple(what) in several})
    lines = [
        f"| layer | T | runtime | {' | '.join(f'{b} at once' for b in batches)} | streams a second, best over 1 |",
        "|---" * (4 + len(batches)) + "|",
    ]
    names = list(dict.fromkeys(row["runtime"] for row in rows))
    for name, steps in cells([row for row in rows if row.get("batch", 1) > 1]):
        for runtime in names:
            found = {b: value[name, steps, runtime, b] for b in batches if (name, steps, runtime, b) in value}
            if (name, steps, runtime) not in several:
                continue
            shown = " | ".join(f"{found[b]:,.1f}" if b in found else "" for b in batches)
            gain = f"{found[1] / min(found.values()):.2f}" if 1 in found else ""
            lines.append(f"| {name} | {steps} | {runtime} | {shown} | {gain} |")
    return lines


def count_table(rows: list[Row]) -> list[str]:
    targets = list(dict.fromkeys(row["target"] for row in rows))
    value = {(row["workload"], row["T"], row["target"]): row for row in rows}
    lines = [
        f"| layer | T | {' | '.join(f'{t} | per MAC' for t in targets)} |",
        "|---" * (2 + 2 * len(targets)) + "|",
    ]
    for name, steps in cells(rows):
        shown = []
        for target in targets:
            row = value.get((name, steps, target))
            shown.append("| " if row is None else f"{row['instructions']:,} | {row['per_mac']:.3f}")
        lines.append(f"| {name} | {steps} | {' | '.join(shown)} |")
    return lines


def peers_count_table(ours: list[Row], peers: list[Row]) -> list[str]:
    """Instructions of all runtimes for one target, and ours as a share of the fewest of the others. Of their single
    steps, what a call takes is subtracted for that."""
    names = list(dict.fromkeys(row["runtime"] for row in peers))
    value = {(row["workload"], row["T"], row["runtime"]): row["instructions"] for row in [*ours, *peers]}
    lines = [
        f"| layer | T | {' | '.join([OURS[0], *names])} | {OURS[0]} / fewest of the others |",
        "|---" * (len(names) + 4) + "|",
    ]
    calls = {(name, 1): [value.get((name, 1, runtime), 0) for runtime in names] for name in CALLS}
    for name, steps in [*(cell for cell in calls if any(calls[cell])), *cells(peers)]:
        mine, *others = (value.get((name, steps, runtime)) for runtime in [OURS[0], *names])
        call = (WORKLOADS | CALLS)[name].call().name, steps
        free = calls[call] if name in WORKLOADS and call in calls else [0] * len(names)
        known = [count - less for count, less in zip(others, free, strict=True) if count is not None]
        ratio = "" if mine is None or not known else f"{mine / min(known):.2f}"
        shown = " | ".join("" if count is None else f"{count:,}" for count in (mine, *others))
        lines.append(f"| {name} | {steps} | {shown} | {ratio} |")
    return lines


def operator_count_table(rows: list[Row]) -> list[str]:
    """Instructions of single operators by target."""
    targets = list(dict.fromkeys(row["target"] for row in rows))
    value = {(row["workload"], row["target"]): row["instructions"] for row in rows}
    lines = [f"| operator | {' | '.join(targets)} |", "|---" * (1 + len(targets)) + "|"]
    for name in dict.fromkeys(row["workload"] for row in rows):
        counts = [value.get((name, target)) for target in targets]
        lines.append(f"| {name} | {' | '.join('' if c is None else f'{c:,}' for c in counts)} |")
    return lines


def operator_time_table(rows: list[Row]) -> list[str]:
    """Microseconds of single operators beside PyTorch."""
    lines = ["| operator | irnn_tvm | PyTorch, float32 | times faster |", "|---|---|---|---|"]
    for row in rows:
        mine, theirs = row["us_median"], row["float_us_median"]
        lines.append(f"| {row['workload']} | {mine:,.1f} | {theirs:,.1f} | {theirs / mine:.2f} |")
    return lines


def batch_table(rows: list[Row]) -> list[str]:
    """Instructions per stream by batch, for what was counted with several."""
    several = {(row["workload"], row["T"], row["target"]) for row in rows if row.get("batch", 1) > 1}
    batches = sorted({row.get("batch", 1) for row in rows})
    lines = [
        f"| layer | T | target | {' | '.join(f'batch {b}' for b in batches)} |",
        "|---" * (3 + len(batches)) + "|",
    ]
    for name, steps, target in sorted(several):
        value = {
            row.get("batch", 1): row["instructions"] // row.get("batch", 1)
            for row in rows
            if (row["workload"], row["T"], row["target"]) == (name, steps, target)
        }
        shown = " | ".join(f"{value[b]:,}" if b in value else "" for b in batches)
        lines.append(f"| {name} | {steps} | {target} | {shown} |")
    return lines


def models_table(rows: list[Row]) -> list[str]:
    """Whole models: microseconds and items a second of every runtime."""
    lines = [
        "| model | runtime | µs | a second | irnn_tvm is faster by | as the float model |",
        "|---|---|---|---|---|---|",
    ]
    mine = {row["model"]: row["us_median"] for row in rows if row["runtime"] == OURS[1]}
    for row in rows:
        us, same = row["us_median"], row["same"]
        ratio = f"{us / mine[row['model']]:.2f}" if row["model"] in mine else ""
        lines.append(
            f"| {row['model']}, per {row['item']} | {row['runtime']} | {us:,.1f} | {1e6 / us:,.0f} | {ratio} | "
            f"{100 * same:.1f} % of {row['compared']:,} {row['what']} |"
        )
    return lines


def code_size_table(rows: list[Row]) -> list[str]:
    lines = [
        "| layer | target | code | constants | headers and tables of the file | all beside weights | weights |",
        "|---|---|---|---|---|---|---|",
    ]
    order = {name: number for number, name in enumerate(WORKLOADS)}
    for row in sorted(rows, key=lambda row: order[row["workload"]]):
        keys = ("code_bytes", "constant_bytes", "other_bytes", "beside_weights_bytes", "weight_bytes")
        shown = " | ".join(f"{row[key]:,}" for key in keys)
        lines.append(f"| {row['workload']} | {row['target']} | {shown} |")
    return lines


def footprint_table(rows: list[Row]) -> list[str]:
    lines = ["| what | layer | measured | goal |", "|---|---|---|---|"]
    for row in rows:
        measured = f"{row['value']:,.{row['digits']}f} {row['unit']}"
        goal = "" if row["goal"] is None else f"< {row['goal']:,} {row['unit']}"
        lines.append(f"| {row['figure']} | {row['workload']} | {measured} | {goal} |")
    return lines
