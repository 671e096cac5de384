"""C text of the table that says in which order NAME_fetch is called (fetch_order.py)."""

from __future__ import annotations

from irnn_tvm.compiler.abi import Interface


def table_lines(io: Interface) -> list[str]:
    """C text of the table, for NAME.c."""
    if not io.fetch_order:
        return []
    name, upper = io.name, io.name.upper()
    tiles = [tile for group in io.fetch_order for tile in group.tiles]
    lines = [f"const struct {name}_tile {name}_tiles[{upper}_TILES] = {{"]
    lines += [
        f"    {{(const uint8_t *){name}_w{tile.weight} + {tile.offset}, {tile.size}}}," for tile in tiles
    ]
    lines += ["};", f"const struct {name}_tile_group {name}_tile_groups[{upper}_TILE_GROUPS] = {{"]
    first = 0
    for group in io.fetch_order:
        lines.append(f"    {{{first}, {len(group.tiles)}, {group.per_step}, {group.once}}},")
        first += len(group.tiles)
    return [*lines, "};", ""]


def declaration_lines(io: Interface) -> list[str]:
    """C text of the table's declarations, for NAME.h."""
    if not io.fetch_order:
        return []
    name, upper = io.name, io.name.upper()
    return [
        "/* Everything that is fetched, in order. Group after group, each of them (T * per_step + once) times in a",
        " * call with T time steps: `count` tiles from number `first` on.",
        *(
            [" * There is one group, the tiles of a time step."]
            if io.streamable and io.fixed_steps is None
            else []
        ),
        " */",
        f"#define {upper}_TILES {sum(len(group.tiles) for group in io.fetch_order)}",
        f"#define {upper}_TILE_GROUPS {len(io.fetch_order)}",
        f"struct {name}_tile {{",
        "  const void *weights; /* what fetch is called with */",
        "  int32_t bytes;",
        "};",
        f"struct {name}_tile_group {{",
        "  int32_t first, count, per_step, once;",
        "};",
        f"extern const struct {name}_tile {name}_tiles[{upper}_TILES];",
        f"extern const struct {name}_tile_group {name}_tile_groups[{upper}_TILE_GROUPS];",
        "",
    ]
