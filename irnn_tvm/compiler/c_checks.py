"""C text of what run and step look at before they touch any memory: pointers, alignment, overlap, length, indices."""

from __future__ import annotations

from irnn_tvm.compiler.abi import Interface, Tensor
from irnn_tvm.compiler.header import parameters
from irnn_tvm.compiler.plan import ITEM_BYTES

_IN_TABLE = """static int in_table(const int32_t *ids, size_t count, int32_t rows) {
  for (size_t i = 0; i < count; ++i) {
    if (ids[i] < 0 || ids[i] >= rows) {
      return 0;
    }
  }
  return 1;
}
"""

_OVERLAP = """struct memory {
  const void *at;
  size_t bytes;
};

/* Whether any of these, of which `read` from the third on are only read, shares memory with another that is written. */
static int overlap(const struct memory *all, int count, int read) {
  for (int i = 0; i < count; ++i) {
    for (int j = i < 2 || i >= 2 + read ? i + 1 : 2 + read; j < count; ++j) {
      const uintptr_t a = (uintptr_t)all[i].at, b = (uintptr_t)all[j].at;
      if (a < b ? b - a < all[i].bytes : a - b < all[j].bytes) {
        return 1;
      }
    }
  }
  return 0;
}
"""


def lines(io: Interface) -> list[str]:
    """The static function `check` and what it calls."""
    tensors = [*io.inputs, *io.outputs]
    text = []
    if any(t.limit is not None for t in io.inputs):
        text += [_IN_TABLE]
    text += [_OVERLAP]
    text += [
        f"static int check(void *state, void *arena, int32_t T, {parameters(io)}) {{",
        "  int code = check_state(state);",
        "  if (code != IRNN_OK) {",
        "    return code;",
        "  }",
        f"  if (arena == NULL || {' || '.join(f'{t.name} == NULL' for t in tensors)}) {{",
        "    return IRNN_E_NULL;",
        "  }",
        f"  if ({' || '.join(_misaligned(io))}) {{",
        "    return IRNN_E_ALIGN;",
        "  }",
        f"  if ({_length(io)}) {{",
        "    return IRNN_E_LENGTH;",
        "  }",
        "  {",
        "    const struct memory used[] = {",
        "        {state, STATE_BYTES},",
        f"        {{arena, {io.arena_bytes}u}},",
        *(f"        {{{t.name}, {_bytes(t)}}}," for t in tensors),
        "    };",
        f"    if (overlap(used, {2 + len(tensors)}, {len(io.inputs)})) {{",
        "      return IRNN_E_OVERLAP;",
        "    }",
        "  }",
    ]
    for t in io.inputs:
        if t.limit is not None:
            text += [
                f"  if (!in_table({t.name}, {t.elements().replace('T', '(size_t)T')}, {t.limit})) {{",
                "    return IRNN_E_INDEX;",
                "  }",
            ]
    return [*text, "  return IRNN_OK;", "}", ""]


def _misaligned(io: Interface) -> list[str]:
    """Conditions: the arena, and tensors by their elements."""
    found = ["((uintptr_t)arena & 15u) != 0"]
    for t in (*io.inputs, *io.outputs):
        if ITEM_BYTES[t.dtype] > 1:
            found.append(f"((uintptr_t){t.name} & {ITEM_BYTES[t.dtype] - 1}u) != 0")
    return found


def _length(io: Interface) -> str:
    """The condition under which a number of time steps is refused."""
    return f"!({' && '.join(io.takes('T'))})"


def _bytes(t: Tensor) -> str:
    """Bytes of a tensor, a C expression in T."""
    size = t.elements().replace("T", "(size_t)T")
    return f"({size}) * {ITEM_BYTES[t.dtype]}u"
