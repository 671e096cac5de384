"""The kernel of one irnn.lstm_general step in tiles of units (formulas: lstm_general_formulas.py).

Stages for the whole batch, so that its rows share weights: Mogrifier rounds; products of all gates, which a norm wants
on their 16-bit grids; then, where there are norms row by row, statistics, gates and cell update; statistics of the cell
and the normalised output; projection. What one stage hands to the next is a scratch parameter of the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from tvm.tirx.script import builder as T

from . import fixed_point as fp
from . import normalize_lanes
from .from_inputs import Sums
from .kernel import MACS_ATTR, kernel
from .lanes import Lanes
from .lstm_general_formulas import Formulas, Terms
from .lstm_general_layout import Shapes, Variant
from .normalize import CELLS
from .planes import Planes
from .products import Product, local_sums, sum_products
from .tiles import TileState, Tiling, for_each_tile, tiling

Expr = Any


@dataclass(frozen=True)
class Tiles:
    """Tiles of the gates, of the projection, and of a Mogrifier's rounds on x (q) and on h (r)."""

    gates: Tiling
    projection: Tiling | None
    q: Tiling | None
    r: Tiling | None

    @property
    def units(self) -> Tiling:
        """The tiles of the gates with one row per unit."""
        return replace(self.gates, gates=1)

    def of_round(self, r: int) -> Tiling:
        found = self.r if r % 2 else self.q
        assert found is not None
        return found


def tiles(v: Variant, arrays: dict[str, np.ndarray]) -> Tiles | None:
    """None where there is no instruction set, it cannot be exact, or a layer with a Mogrifier does not fill a tile."""
    weights = [array for name, array in arrays.items() if name.startswith("w_")]
    gates = tiling(v.gates, v.hidden, v.batch, weights, arrays["tables"])
    if gates is None:
        return None
    if v.rounds and min(v.hidden, v.width, v.state) < min(gates.isa.tiles):
        # Nothing is gained, and LLVM takes hours for some of these: padded rounds of a few rows, norms and a batch.
        return None
    projection = tiling(1, v.state, v.batch, weights) if v.projected else None
    q = tiling(1, v.width, v.batch, weights) if v.rounds else None
    r = tiling(1, v.state, v.batch, weights) if v.rounds > 1 else None
    return Tiles(gates, projection, q, r)


def ahead(v: Variant, t: Tiles) -> bool:
    """Whether the products with x are made ahead: they wait for no state, and that gains something."""
    return v.rounds == 0 and t.gates.isa.ahead


def planes(v: Variant, t: Tiles) -> dict[str, Planes]:
    """Planes of x and h, which the Mogrifier's rounds change, and of what is projected, by name."""
    isa = t.gates.isa
    found = {"h": Planes(isa, v.batch, v.state)}
    if not ahead(v, t):
        found["x"] = Planes(isa, v.batch, v.width)
    if v.projected:
        found["inner"] = Planes(isa, v.batch, v.hidden)
    return found


def pack(v: Variant, t: Tiles, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Constants by the names of the kernel's parameters, in their order."""
    tile = t.gates
    packed = {"w_hh": tile.pack_weights(arrays["w_hh"])}
    if not ahead(v, t):
        packed |= {"w_ih": tile.pack_weights(arrays["w_ih"]), "start_x": tile.pack_start(arrays["bias"])}
    packed |= {name: tile.pack(arrays[name]) for name in ("mult_ih", "mult_hh")}
    if v.norm is not None:
        packed["start_h"] = tile.pack_start(arrays["bias_hh"])
        packed |= {name: tile.pack(arrays[name]) for name in ("gain_ih", "gain_hh", "gate_bias")}
    if v.peephole:
        packed["mult_peephole"] = replace(tile, gates=v.gates - 1).pack(arrays["mult_peephole"])
    if v.cell_norm is not None:
        packed |= {name: t.units.pack(arrays[name]) for name in ("cell_gain", "cell_bias")}

    def matrix(name: str, rows: Tiling, w: np.ndarray, bias: np.ndarray, mult: np.ndarray) -> None:
        packed[f"w_{name}"] = rows.pack_weights(w)
        packed[f"start_{name}"], packed[f"mult_{name}"] = rows.pack_start(bias), rows.pack(mult)

    if t.projection is not None:
        matrix("projection", t.projection, arrays["w_hr"], arrays["bias_hr"], arrays["mult_hr"])
    for r in range(v.rounds):
        w, bias, mult = (arrays[f"{kind}_{'r' if r % 2 else 'q'}"][r // 2] for kind in ("w", "bias", "mult"))
        matrix(f"mogrify{r}", t.of_round(r), w, bias, mult)
    return packed | {"tables": tile.pack_table(arrays["tables"])}


def scratch_shapes(v: Variant, t: Tiles) -> Shapes:
    """Scratch parameters of the kernel in order: shape and dtype by name."""
    shapes = v.scratch_shapes()
    if v.norm is not None:
        products = (v.batch, t.gates.count * t.gates.width)
        shapes |= dict.fromkeys(("products_x", "products_h"), (products, "int16"))
    if v.cell_norm is not None:  # without its zero point
        shapes["out_gate"] = ((v.batch, t.gates.count, t.gates.lanes), "int16")
    for name, of in planes(v, t).items():
        shapes |= of.shapes(f"_{name}")
    return shapes


def build(v: Variant, t: Tiles, packed: dict[str, np.ndarray], fits: bool) -> Any:
    """PrimFunc of one step; scalars of the op are compiled in. packed: of `pack`."""
    scratch, tile = scratch_shapes(v, t), t.gates
    cell = f"int{v.get('cell_bits')}"
    macs = v.macs() - (v.batch * v.gates * v.hidden * v.width if ahead(v, t) else 0)
    with kernel("lstm_general_step", "recurrent_step", {MACS_ATTR: macs}, 2 + len(scratch)) as k:
        sums = ((v.batch, *tile.sums_shape), "int32")
        named = {"x": k.arg("x", *(sums if ahead(v, t) else ((v.batch, v.width), "int8")))}
        named["h"] = k.arg("h", (v.batch, v.state), "int8")
        named["c"] = k.arg("c", (v.batch, v.hidden), cell)
        named |= {name: k.arg(name, array.shape, str(array.dtype)) for name, array in packed.items()}
        named["h_out"] = k.arg("h_out", (v.batch, v.state), "int8")
        named["c_out"] = k.arg("c_out", (v.batch, v.hidden), cell)
        named |= {name: k.arg(name, shape, dtype) for name, (shape, dtype) in scratch.items()}
        _Step(v, t, named, fits).emit()
    return k.result


class _Step:
    """Emits the stages one after the other."""

    def __init__(self, v: Variant, t: Tiles, named: dict[str, Any], fits: bool) -> None:
        self.v, self.t, self.named = v, t, named
        self.lanes = Lanes(t.gates.lanes, t.gates.isa)
        self.formulas = Formulas(v, self.lanes, named["tables"], fits)
        self.fits = fits
        self.x, self.h = named["x"], named["h"]  # as the products see them: after the Mogrifier
        self.planes = planes(v, t)
        for name, of in self.planes.items():
            of.take(named, f"_{name}")

    def emit(self) -> None:
        v = self.v
        if "x" in self.planes and v.rounds < 1:  # otherwise nothing reads x before the first round changes it
            self.planes["x"].prepare(self.x)
        self.planes["h"].prepare(self.h)
        for r in range(v.rounds):
            self._mogrify(r)
        for_each_tile(self.t.gates, v.batch, self._products)
        if v.norm is not None:
            self._row_by_row("norm", self._normalised_gates)
        if v.cell_norm is not None:
            self._row_by_row("cell_norm", self._outputs)
        if v.projected:
            self.planes["inner"].prepare(self.named["inner"])
            self._project()

    def _whole(self, name: str) -> Any:
        """All of a constant."""
        buffer = self.named[name]
        return buffer[tuple(slice(0, int(d)) for d in buffer.ty.shape)]

    def _rows(self, names: tuple[str, ...], number: Expr) -> list[Any]:
        """What a tile reads of packed vectors, as far as the variant has them."""
        found = [self.named[name] for name in names if name in self.named]
        return [buffer[number, 0 : int(buffer.ty.shape[1])] for buffer in found]

    def _load(self, name: str, number: Expr, gate: int = 0) -> Expr:
        return self.lanes.load(self.named[name], number, gate * self.lanes.rows)

    # Products.

    def _sum(
        self, name: str, product: Product, number: Expr, source: str, buffer: Any, rows: list[Expr]
    ) -> list[Sums]:
        sums = local_sums(product.tile, len(rows))
        sum_products(name, product, number, self.planes[source].vectors(buffer, rows), sums)
        return sums

    def _products(self, name: str, rows: list[Expr], vj: Expr, valid: Expr) -> None:
        """Both products of a tile, and what comes of them before statistics are wanted."""
        v, named, tile = self.v, self.named, self.t.gates
        these = slice(rows[0], rows[0] + len(rows))
        units = tile.units(vj, valid)
        from_h = Product(tile, v.state, named["w_hh"], named.get("start_h"))
        reads = [*self.planes["h"].regions(self.h, these), *from_h.regions(vj)]
        from_x = None
        if ahead(v, self.t):
            reads.append(self.x[these, vj, 0 : tile.width])
        else:
            from_x = Product(tile, v.width, named["w_ih"], named["start_x"])
            reads += [*self.planes["x"].regions(self.x, these), *from_x.regions(vj)]
        constants = self._rows(("mult_ih", "mult_hh"), vj)
        if v.norm is None:
            constants += [*self._rows(("mult_peephole",), vj), self.formulas.all_tables()]
            reads.append(named["c"][these, units])
            written = self._targets(these, units, vj)
        else:
            written = self._kept(these, vj)
        T.reads(*reads, *constants)
        T.writes(*written)
        self.formulas.open()
        state = TileState(self.lanes, tile, valid, f"int{v.get('cell_bits')}")
        sums_x: list[Sums] = [(self.x, (vb, vj)) for vb in rows]
        if from_x is not None:
            sums_x = self._sum(f"x{name}", from_x, vj, "x", self.x, rows)
        sums_h = self._sum(f"h{name}", from_h, vj, "h", self.h, rows)
        for number, (vb, *sums) in enumerate(zip(rows, sums_x, sums_h, strict=True)):
            with T.sblock(f"update{name}_{number}"):
                reads = [buffer[(*outer, slice(0, tile.width))] for buffer, outer in sums]
                if v.norm is not None:
                    T.reads(*reads, *constants)
                    T.writes(*self._kept(vb, vj))
                    self.lanes.each(tile.lanes, partial(self._keep, vb, vj, sums))
                    continue
                T.reads(*reads, *constants, named["c"][vb, units])
                T.writes(*self._targets(vb, units, vj))

                def terms(g: int, sums: list[Sums] = sums) -> Terms:
                    at = g * tile.lanes
                    pairs = zip(sums, ("mult_ih", "mult_hh"), strict=True)
                    return [(self.lanes.load(b, *outer, at), self._load(m, vj, g)) for (b, outer), m in pairs]

                self.lanes.each(valid, partial(self._update, terms, state, vb, vj))

    def _kept(self, rows: Any, vj: Expr) -> list[Any]:
        """What `_keep` writes."""
        first = vj * self.t.gates.width
        return [self.named[f"products_{s}"][rows, first : first + self.t.gates.width] for s in "xh"]

    def _keep(self, vb: Expr, vj: Expr, sums: list[Sums]) -> None:
        """Both products on their 16-bit grids; what is padding stays 0."""
        tile, lanes = self.t.gates, self.lanes
        for part, (buffer, outer) in enumerate(sums):
            out, mult = self.named[f"products_{'xh'[part]}"], self.named[("mult_ih", "mult_hh")[part]]
            for at in range(0, tile.width, tile.lanes):
                terms = [(lanes.load(buffer, *outer, at), lanes.load(mult, vj, at))]
                value = self.formulas.rescale(terms, self.v.get("norm_shift")[part], 0, 16)
                lanes.store(out, value, vb, vj * tile.width + at)

    # Gates and cell.

    def _targets(self, rows: Any, units: slice, vj: Expr) -> list[Any]:
        """What `_update` writes."""
        v, named = self.v, self.named
        if v.cell_norm is not None:
            return [named["c_out"][rows, units], named["out_gate"][rows, vj, 0 : self.lanes.rows]]
        return [named["c_out"][rows, units], named["inner" if v.projected else "h_out"][rows, units]]

    def _update(self, terms: Callable[[int], Terms], state: TileState, vb: Expr, vj: Expr) -> None:
        v, named, formulas = self.v, self.named, self.formulas
        formulas.update(
            terms,
            lambda column: self._load("mult_peephole", vj, column),
            fp.i32(state.load(named["c"], vb, vj)),
            lambda cell: state.store(cell, named["c_out"], vb, vj),
        )
        if v.cell_norm is not None:
            self.lanes.store(named["out_gate"], formulas.output_gate, vb, vj, 0)
            return
        state.store(formulas.output(), named["inner" if v.projected else "h_out"], vb, vj)

    def _row_by_row(self, name: str, emit: Callable[[Expr], None]) -> None:
        """A block per row of the batch. emit: states its regions."""
        with T.serial(self.v.batch) as b:
            with T.sblock(name):
                emit(T.axis.spatial(self.v.batch, b))

    def _normalised_gates(self, vb: Expr) -> None:
        v, named, tile, lanes = self.v, self.named, self.t.gates, self.lanes
        vectors = ("gain_ih", "gain_hh", "gate_bias", "mult_peephole")
        products = [named[f"products_{s}"] for s in "xh"]
        everything = [p[vb, 0 : tile.count * tile.width] for p in products]
        constants = [self._whole(name) for name in vectors if name in named]
        T.reads(*everything, named["c"][vb, 0 : v.hidden], *constants, self.formulas.all_tables())
        T.writes(*self._all_targets(vb))
        cells = [
            normalize_lanes.row_statistics(
                tile.isa, str(v.norm), f"norm_{s}", v.gates * v.hidden, (product, (vb,)), v.get("norm_eps")[i]
            )
            for i, (s, product) in enumerate(zip("xh", products, strict=True))
        ]

        def unit(name: str, rows: list[Expr], vj: Expr, valid: Expr) -> None:
            del name, rows
            units = tile.units(vj, valid)
            T.reads(
                *self._kept(vb, vj), *(c[0:CELLS] for c in cells),
                named["c"][vb, units], *self._rows(vectors, vj), self.formulas.all_tables(),
            )  # fmt: skip
            T.writes(*self._targets(vb, units, vj))
            self.formulas.open()
            state = TileState(lanes, tile, valid, f"int{v.get('cell_bits')}")

            def terms(g: int) -> Terms:
                at = vj * tile.width + g * tile.lanes
                elements = [fp.i32(lanes.load(p, vb, at)) for p in products]
                gains = [self._load(n, vj, g) for n in ("gain_ih", "gain_hh")]
                both = list(zip(cells, elements, gains, strict=True))
                return self.formulas.normalised(both, self._load("gate_bias", vj, g))

            lanes.each(valid, partial(self._update, terms, state, vb, vj))

        for_each_tile(tile, 1, unit)

    def _all_targets(self, vb: Expr) -> list[Any]:
        v, named = self.v, self.named
        found = [named["c_out"][vb, 0 : v.hidden]]
        if v.cell_norm is not None:
            return [*found, named["out_gate"][vb, 0 : self.t.gates.count, 0 : self.lanes.rows]]
        return [*found, named["inner" if v.projected else "h_out"][vb, 0 : v.hidden]]

    def _outputs(self, vb: Expr) -> None:
        """o * tanh(normalised cell) of every unit."""
        v, named, tile, lanes = self.v, self.named, self.t.gates, self.lanes
        target = named["inner" if v.projected else "h_out"]
        vectors = ("cell_gain", "cell_bias")
        gates = named["out_gate"][vb, 0 : tile.count, 0 : lanes.rows]
        T.reads(named["c_out"][vb, 0 : v.hidden], gates, *(self._whole(n) for n in vectors),
                self.formulas.all_tables())  # fmt: skip
        T.writes(target[vb, 0 : v.hidden])
        cells = normalize_lanes.row_statistics(
            tile.isa, str(v.cell_norm), "norm_c", v.hidden, (named["c_out"], (vb,)), v.get("cell_norm_eps")
        )

        def unit(name: str, rows: list[Expr], vj: Expr, valid: Expr) -> None:
            del name, rows
            units = tile.units(vj, valid)
            T.reads(named["c_out"][vb, units], named["out_gate"][vb, vj, 0 : lanes.rows], cells[0:CELLS],
                    *self._rows(vectors, vj), self.formulas.all_tables())  # fmt: skip
            T.writes(target[vb, units])
            self.formulas.open()
            state = TileState(lanes, tile, valid, f"int{v.get('cell_bits')}")

            def output() -> None:
                c = fp.i32(state.load(named["c_out"], vb, vj))
                gate = fp.i32(lanes.load(named["out_gate"], vb, vj, 0))
                gain, bias = (self._load(n, vj) for n in vectors)
                state.store(self.formulas.normalised_output(cells, c, gain, bias, gate), target, vb, vj)

            lanes.each(valid, output)

        for_each_tile(tile, 1, unit)

    # Products that gates are not made of.

    def _mogrify(self, r: int) -> None:
        v = self.v
        zero = v.get("projection_zp" if v.projected else "h_zp") if r % 2 else v.get("x_zp")
        if r > 1:
            zero = v.get("mogrifier_out_zp")[r - 2]
        of, source, value = ("x", self.x, self.h) if r % 2 else ("h", self.h, self.x)
        out, tile = self.named[f"mogrified{r}"], self.t.of_round(r)

        def store(formulas: Formulas, terms: Terms, state: TileState, vb: Expr, vj: Expr) -> None:
            gated = fp.i32(state.load(value, vb, vj))
            state.store(formulas.mogrified(r, terms, gated - zero if zero else gated), out, vb, vj)

        self._rescaled(f"mogrify{r}", tile, (of, source), value, out, store)
        if r % 2:
            self.h = out
        else:
            self.x = out
        self.planes["h" if r % 2 else "x"].prepare(out)

    def _project(self) -> None:
        v, tile = self.v, self.t.projection
        assert tile is not None
        shift, zp = v.get("projection_shift"), v.get("projection_zp")
        out = self.named["h_out"]

        def store(formulas: Formulas, terms: Terms, state: TileState, vb: Expr, vj: Expr) -> None:
            state.store(formulas.rescale(terms, shift, zp, 8), out, vb, vj)

        self._rescaled("projection", tile, ("inner", self.named["inner"]), None, out, store)

    def _rescaled(
        self,
        name: str,
        tile: Tiling,
        source: tuple[str, Any],
        value: Any,
        out: Any,
        store: Callable[[Formulas, Terms, TileState, Expr, Expr], None],
    ) -> None:
        """Products of a matrix of its own with `source`, whose planes have this name, int8. value: what `store` reads
        besides, shaped as `out`."""
        of, vectors = source
        named, depth, lanes = self.named, int(vectors.ty.shape[1]), Lanes(tile.lanes, tile.isa)
        mult = named[f"mult_{name}"]
        product = Product(tile, depth, named[f"w_{name}"], named[f"start_{name}"])
        formulas = Formulas(self.v, lanes, named["tables"], self.fits)

        def unit(suffix: str, rows: list[Expr], vj: Expr, valid: Expr) -> None:
            these = slice(rows[0], rows[0] + len(rows))
            units = tile.units(vj, valid)
            constants = [mult[vj, 0 : tile.lanes], formulas.all_tables()]
            values = [] if value is None else [value[these, units]]
            T.reads(*self.planes[of].regions(vectors, these), *values, *product.regions(vj), *constants)
            T.writes(out[these, units])
            formulas.open()
            state = TileState(lanes, tile, valid)
            sums = self._sum(f"{name}{suffix}", product, vj, of, vectors, rows)
            for number, (vb, (total, _)) in enumerate(zip(rows, sums, strict=True)):
                with T.sblock(f"store_{name}{suffix}_{number}"):
                    values = [] if value is None else [value[vb, units]]
                    T.reads(total[0 : tile.lanes], *values, *constants)
                    T.writes(out[vb, units])

                    def finish(vb: Expr = vb, total: Any = total) -> None:
                        terms = [(lanes.load(total, 0), lanes.load(mult, vj, 0))]
                        store(formulas, terms, state, vb, vj)

                    lanes.each(valid, finish)

        for_each_tile(tile, self.v.batch, unit)
