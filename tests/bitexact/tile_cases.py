"""Cases for kernels that work on tiles of rows, several vectors and several time steps together: around their sizes."""

from __future__ import annotations

from cases import Case

RECURRENT: dict[str, dict[str, object]] = {
    # Rows: less than a tile, whole tiles, a padded last tile. Depth: whole groups of 4 and of 16, and what is left.
    **{
        f"h{h}": {"x": x, "h": h, "steps": 3}
        for x, h in ((1, 4), (4, 8), (15, 15), (16, 17), (31, 48), (64, 63))
    },
    "h130": {"x": 20, "h": 130, "steps": 2},
    # Vectors that share weights, and those that are left.
    **{f"batch{b}": {"x": 7, "h": 20, "batch": b, "steps": 3} for b in (2, 4, 5, 9)},
    # Time steps that are prepared together, and those that are left.
    **{f"steps{t}": {"x": 5, "h": 8, "steps": t} for t in (4, 15, 16, 17, 35)},
    # Several groups of their activations, with and without a rest.
    **{f"steps{t}-x{x}": {"x": x, "h": 8, "steps": t} for t, x in ((16, 32), (27, 37))},
    "steps9-x70-batch3": {"x": 70, "h": 8, "steps": 9, "batch": 3},
    "reverse35": {"x": 5, "h": 8, "steps": 35, "reverse": True},
    "reverse17-batch5": {"x": 5, "h": 12, "steps": 17, "batch": 5, "reverse": True},
    "gates8-h40": {"x": 9, "h": 40, "gate_bits": 8, "steps": 3},
    "saturating-h40": {"x": 9, "h": 40, "gain": 64, "steps": 3},
}
GATED: dict[str, dict[str, object]] = {
    **RECURRENT,
    # One, two and four registers of a table and more; beyond 64 pieces there are no tiles.
    **{f"pieces{p}": {"x": 5, "h": 24, "pieces": p, "steps": 3} for p in (2, 4, 16, 64, 128)},
    # Some instruction sets have no exact product of -128 and -128.
    "lowest-weights": {"x": 33, "h": 24, "steps": 3, "lowest": -128},
}
TILES: tuple[Case, ...] = (
    *(Case(f"lstm-tiles-{name}", "lstm", settings) for name, settings in GATED.items()),
    *(Case(f"gru-tiles-{name}", "gru", settings | {"reset_after": True}) for name, settings in GATED.items()),
    *(
        Case(f"rnn-tiles-{function}-{name}", "rnn", settings | {"function": function})
        for name, settings in RECURRENT.items()
        for function in ("tanh", "relu")
    ),
    *(
        Case(f"linear-tiles-n{n}-k{k}-m{m}-to{to}", "linear", {"n": n, "k": k, "lead": (m,), "to": to, **zp})
        for n, k, m in ((1, 4, 1), (4, 3, 2), (8, 16, 4), (63, 31, 5), (64, 64, 3), (65, 17, 9), (130, 20, 8))
        for to, zp in ((8, {"out_zp": 5}), (16, {}), (32, {}))
    ),
)
# Built apart: an emulator's program has room for a number of inputs and outputs.
TILE_BUNDLES = {
    f"tiles-{op}": tuple(case for case in TILES if case.op == op) for op in dict.fromkeys(c.op for c in TILES)
}
