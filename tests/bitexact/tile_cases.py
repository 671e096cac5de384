"""Cases for kernels that work on tiles of rows, several vectors and several time steps together: around their sizes."""

from __future__ import annotations

from cases import Case

# A case may stand at several borders at a time: each takes part of a minute to compile on some instruction set.
RECURRENT: dict[str, dict[str, object]] = {
    # Rows: less than a tile, whole tiles, a padded last tile. Depth: whole groups of 4 and of 16, and what is left.
    # Time steps that are prepared together, vectors that share weights, and those that are left.
    "h4-steps4": {"x": 1, "h": 4, "steps": 4},
    "h8-steps15": {"x": 4, "h": 8, "steps": 15},
    "h15-batch2": {"x": 15, "h": 15, "batch": 2, "steps": 3},
    "h17-steps16": {"x": 16, "h": 17, "steps": 16},
    "h48-batch4": {"x": 31, "h": 48, "batch": 4, "steps": 3},
    "h63-steps17": {"x": 64, "h": 63, "steps": 17},
    "h130": {"x": 20, "h": 130, "steps": 2},
    **{f"batch{b}": {"x": 7, "h": 20, "batch": b, "steps": 3} for b in (5, 9)},
    # Several groups of their activations, with and without a rest.
    **{f"steps{t}-x{x}": {"x": x, "h": 8, "steps": t} for t, x in ((16, 32), (27, 37))},
    "steps9-x70-batch3": {"x": 70, "h": 8, "steps": 9, "batch": 3},
    "reverse35": {"x": 5, "h": 8, "steps": 35, "reverse": True},
    "reverse17-batch5": {"x": 5, "h": 12, "steps": 17, "batch": 5, "reverse": True},
    "gates8-h40": {"x": 9, "h": 40, "gate_bits": 8, "steps": 3},
    "saturating-h40": {"x": 9, "h": 40, "gain": 64, "steps": 3},
}
# relu has other lanes, and the same products.
RELU = ("h15-batch2", "h63-steps17", "reverse17-batch5", "gates8-h40", "saturating-h40")
GATED: dict[str, dict[str, object]] = {
    **{name: row for name, row in RECURRENT.items() if name not in ("batch5", "batch9")},
    # One, two and four registers of a table and more; beyond 64 pieces there are no tiles.
    "batch5-pieces4": RECURRENT["batch5"] | {"pieces": 4},
    "batch9-pieces16": RECURRENT["batch9"] | {"pieces": 16},
    **{f"pieces{p}": {"x": 5, "h": 24, "pieces": p, "steps": 3} for p in (2, 64, 128)},
    # Depths that are multiplied in parts, with a rest and without, by several vectors and what is left of them.
    "x420-h48": {"x": 420, "h": 48, "steps": 18},
    "x613-h64-batch3": {"x": 613, "h": 64, "batch": 3, "steps": 6},
    # Some instruction sets have no exact product of -128 and -128.
    "lowest-weights": {"x": 33, "h": 24, "steps": 3, "lowest": -128},
}
# What the norms of both kinds meet. Rows of statistics: shorter than a register, whole ones, and what is left.
NORMED: dict[str, dict[str, object]] = {
    **{f"h{h}": {"x": x, "h": h, "steps": 2} for x, h in ((1, 1), (1, 4), (16, 17), (31, 48), (64, 63))},
    "batch2": {"x": 15, "h": 15, "batch": 2, "steps": 3},
    "batch3": {"x": 7, "h": 20, "batch": 3, "steps": 3},
    "reverse17-batch5": {"x": 5, "h": 12, "steps": 17, "batch": 5, "reverse": True},
    "gates8-h40": {"x": 9, "h": 40, "gate_bits": 8, "steps": 3},
    # Squares of -2**15 next to each other, whose sum is 2**31.
    "halves-h40": {"x": 9, "h": 40, "gain": 64, "halves": True, "steps": 3},
    "constant-h17": {"x": 9, "h": 17, "weight": 0, "steps": 2},
}
MAD_NORMED = {name: NORMED[name] for name in ("h1", "h17", "batch2", "halves-h40", "constant-h17")}
LIMITS: dict[str, dict[str, object]] = {
    name: settings for name, settings in GATED.items() if name.startswith(("pieces", "lowest"))
}
# Sums before they are saturated beyond 32 bits, which lanes rescale in 64.
WIDE = {"x": 9, "h": 24, "steps": 3, "gain": float(1 << 22)}
BOTH = {kind: {"norm": kind, "cell_norm": kind} for kind in ("layer", "mad")}
EVERYTHING: dict[str, object] = {
    "peephole": True,
    "rounds": 5,
    "clip": 1.5,
    "norm": "layer",
    "cell_norm": "mad",
}
LSTM_GENERAL: dict[str, dict[str, object]] = {
    **{f"layer-{name}": row | BOTH["layer"] for name, row in NORMED.items()},
    **{f"mad-{name}": row | BOTH["mad"] for name, row in MAD_NORMED.items()},
    **{f"layer-{name}": row | BOTH["layer"] for name, row in LIMITS.items()},
    "layer-h130": {"x": 20, "h": 130, "steps": 2, **BOTH["layer"]},
    "layer-gates-only": {"x": 20, "h": 33, "steps": 2, "norm": "layer", "coupled": True},
    "mad-cell-only-batch2": {"x": 9, "h": 33, "steps": 3, "cell_norm": "mad", "batch": 2},
    "bare-wide": WIDE,
    "layer-wide": WIDE | BOTH["layer"],
    **{f"projection{p}-h{h}": {"x": 9, "h": h, "project": p, "steps": 3} for p, h in ((4, 8), (130, 48))},
    "projection33-batch5-reverse": {"x": 9, "h": 48, "project": 33, "batch": 5, "steps": 3, "reverse": True},
    "projection256": {"x": 9, "h": 16, "project": 256, "steps": 2},
    "projection9-steps17": {"x": 5, "h": 16, "project": 9, "steps": 17},
    "peephole-h40-batch3": {"x": 9, "h": 40, "peephole": True, "batch": 3, "steps": 3},
    "peephole-all8": {"x": 9, "h": 17, "peephole": True, "gate_bits": 8, "cell_bits": 8, "cell_zp": 7, "steps": 3},
    "coupled-peephole-h65": {"x": 9, "h": 65, "coupled": True, "peephole": True, "steps": 2},
    "mogrify5-batch5": {"x": 20, "h": 40, "rounds": 5, "batch": 5, "steps": 3},
    "mogrify2-h17": {"x": 33, "h": 17, "rounds": 2, "steps": 17},
    "mogrify3-reverse": {"x": 65, "h": 16, "rounds": 3, "steps": 3, "reverse": True},
    "everything-h40-batch5": {"x": 17, "h": 40, "batch": 5, "steps": 3, "project": 21, **EVERYTHING},
    "everything-coupled-all8": {"x": 9, "h": 20, "steps": 3, "coupled": True, "gate_bits": 8, "cell_bits": 8,
                                "cell_zp": -9, "batch": 2, **EVERYTHING},
}  # fmt: skip
GRU_NORM: dict[str, dict[str, object]] = {
    **{f"layer-{name}": row | {"norm": "layer"} for name, row in NORMED.items()},
    **{f"mad-{name}": row | {"norm": "mad"} for name, row in MAD_NORMED.items()},
    **LIMITS,
    "h130": {"x": 20, "h": 130, "steps": 2},
    "all8-h17": {"x": 9, "h": 17, "gate_bits": 8, "state_bits": 8, "state_zp": 3, "steps": 3},
    "wide": WIDE,
}
GRU_BEFORE = GATED | {
    "all8-h17": {"x": 9, "h": 17, "gate_bits": 8, "state_bits": 8, "state_zp": 3, "steps": 3, "batch": 2},
    "wide": WIDE,
}
TILES: tuple[Case, ...] = (
    *(Case(f"lstm-tiles-{name}", "lstm", settings) for name, settings in GATED.items()),
    *(Case(f"gru-tiles-{name}", "gru", settings | {"reset_after": True}) for name, settings in GATED.items()),
    *(
        Case(f"gru-before-tiles-{name}", "gru", row | {"reset_after": False})
        for name, row in GRU_BEFORE.items()
    ),
    *(Case(f"gru-norm-tiles-{name}", "gru_norm", row) for name, row in GRU_NORM.items()),
    *(Case(f"lstm-general-tiles-{name}", "lstm_general", row) for name, row in LSTM_GENERAL.items()),
    *(
        Case(f"rnn-tiles-{function}-{name}", "rnn", RECURRENT[name] | {"function": function})
        for function, names in (("tanh", RECURRENT), ("relu", RELU))
        for name in names
    ),
    *(
        Case(f"linear-tiles-n{n}-k{k}-m{m}-to{to}", "linear", {"n": n, "k": k, "lead": (m,), "to": to, **zp})
        for n, k, m in ((1, 4, 1), (4, 3, 2), (8, 16, 4), (63, 31, 5), (64, 64, 3), (65, 17, 9), (130, 20, 8))
        for to, zp in ((8, {"out_zp": 5}), (16, {}), (32, {}))
        if to == 8
        or m % 4 == 1  # the rest of the rows and of the vectors is where results of other widths differ
    ),
)
# Built apart: an emulator's program has room for a number of inputs and outputs.
KINDS = tuple(dict.fromkeys(case.name.partition("-tiles-")[0] for case in TILES))
TILE_BUNDLES = {
    f"tiles-{kind}": tuple(case for case in TILES if case.name.startswith(f"{kind}-tiles-")) for kind in KINDS
}
# What `make test` builds for every instruction set: of each layer what others are not, none of them an exception.
SAMPLE = (
    *(f"lstm-tiles-{name}" for name in ("h63-steps17", "reverse17-batch5", "x420-h48", "batch5-pieces4")),
    *("gru-tiles-steps27-x37", "gru-before-tiles-h48-batch4", "gru-norm-tiles-layer-halves-h40"),
    *(
        "lstm-general-tiles-everything-h40-batch5",
        "rnn-tiles-relu-h63-steps17",
        "linear-tiles-n65-k17-m9-to8",
    ),
)
# Where lanes are those of another set, there is nothing new in what is done with the sums.
VARIANT_KINDS = ("gru-before", "gru-norm", "lstm-general")
TILE_SAMPLE = {
    "tiles-sample": tuple(case for case in TILES if case.name in SAMPLE),
    "tiles-sample-products": tuple(
        case for case in TILES if case.name in SAMPLE and not case.name.startswith(VARIANT_KINDS)
    ),
}
