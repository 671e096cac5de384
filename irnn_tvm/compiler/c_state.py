"""C text of the functions that prepare, check, save and restore the state of a stream."""

from __future__ import annotations

from irnn_tvm.compiler.abi import (
    HEADER_BYTES,
    MAGIC,
    SNAPSHOT_HEADER_BYTES,
    SNAPSHOT_MAGIC,
    SNAPSHOT_VERSION,
    Interface,
)

_HEAD = """static int check_memory(const void *state) {
  if (state == NULL) {
    return IRNN_E_NULL;
  }
  return ((uintptr_t)state & 15u) != 0 ? IRNN_E_ALIGN : IRNN_OK;
}

static int check_state(const void *state) {
  const uint32_t *head = (const uint32_t *)state;
  const int code = check_memory(state);
  if (code != IRNN_OK) {
    return code;
  }
  return head[0] == MODEL_MAGIC && head[1] == MODEL_HASH && head[2] == STATE_BYTES ? IRNN_OK : IRNN_E_STATE;
}

static void set_head(void *state) {
  uint32_t *head = (uint32_t *)state;
  head[0] = MODEL_MAGIC;
  head[1] = MODEL_HASH;
  head[2] = STATE_BYTES;
  head[3] = 0;
}
"""

_INIT = """
int {name}_init_for(void *state, uint32_t interface) {{
  const int code = check_memory(state);
  if (code != IRNN_OK) {{
    return code;
  }}
  if (interface != {upper}_INTERFACE) {{
    return IRNN_E_MODEL;
  }}
  set_head(state);
  set_initial((uint8_t *)state);
  return IRNN_OK;
}}

int {name}_init(void *state) {{
  return {name}_init_for(state, {upper}_INTERFACE);
}}

int {name}_reset(void *state) {{
  const int code = check_state(state);
  if (code == IRNN_OK) {{
    set_initial((uint8_t *)state);
  }}
  return code;
}}
"""

# Snapshots are small and rare: a table would be larger than they are.
_CRC = """
/* CRC-32 (IEEE 802.3), continued from `crc`. */
static uint32_t checksum(uint32_t crc, const uint8_t *data, size_t bytes) {
  crc = ~crc;
  for (size_t i = 0; i < bytes; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0xEDB88320u : 0u);
    }
  }
  return ~crc;
}

static uint32_t snapshot_checksum(const uint8_t *snapshot) {
  const uint32_t crc = checksum(0, snapshot, SNAPSHOT_HEADER_BYTES - 4);
  return checksum(crc, snapshot + SNAPSHOT_HEADER_BYTES, SNAPSHOT_BYTES - SNAPSHOT_HEADER_BYTES);
}
"""


def constants(io: Interface) -> list[str]:
    """Macros that the functions use."""
    return [
        f"#define MODEL_MAGIC {MAGIC:#x}u",
        f"#define MODEL_HASH {io.model_hash:#x}u",
        f"#define STATE_BYTES {io.state_bytes}u",
        f"#define SNAPSHOT_MAGIC {SNAPSHOT_MAGIC:#x}u",
        f"#define SNAPSHOT_VERSION {SNAPSHOT_VERSION}u",
        f"#define SNAPSHOT_HEADER_BYTES {SNAPSHOT_HEADER_BYTES}u",
        f"#define SNAPSHOT_BYTES {io.snapshot_bytes}u",
    ]


def functions(io: Interface) -> list[str]:
    """Lines of all of them."""
    names = {"name": io.name, "upper": io.name.upper()}
    lines = [
        "static void set_initial(uint8_t *state) {",
        f"  memset(state + {HEADER_BYTES}, 0, {io.state_bytes - HEADER_BYTES});",
    ]
    if io.state_bytes == HEADER_BYTES:
        lines[-1] = "  (void)state;"
    for i, state in enumerate(io.states):
        if state.initial.any():
            lines.append(f"  memcpy(state + {state.offset}, initial_state{i}, sizeof initial_state{i});")
    lines += ["}", "", _HEAD.rstrip(), _INIT.format(**names).rstrip(), _CRC.rstrip(), ""]
    return [*lines, *_save(io), *_restore(io)]


def _copies(io: Interface, text: str) -> list[str]:
    """A line per state. text: with the places {state} and {snapshot} and the number of {bytes}."""
    lines, place = [], SNAPSHOT_HEADER_BYTES
    for state in io.states:
        size = state.initial.nbytes
        lines.append(text.format(state=state.offset, snapshot=place, bytes=size))
        place += size
    return lines


def _save(io: Interface) -> list[str]:
    return [
        f"int {io.name}_save(const void *state, void *snapshot) {{",
        "  uint8_t *to = (uint8_t *)snapshot;",
        "  const uint32_t head[4] = {SNAPSHOT_MAGIC, SNAPSHOT_VERSION, MODEL_HASH, SNAPSHOT_BYTES};",
        "  uint32_t crc;",
        "  const int code = check_state(state);",
        "  if (code != IRNN_OK) {",
        "    return code;",
        "  }",
        "  if (snapshot == NULL) {",
        "    return IRNN_E_NULL;",
        "  }",
        "  memcpy(to, head, sizeof head);",
        *_copies(io, "  memcpy(to + {snapshot}, (const uint8_t *)state + {state}, {bytes});"),
        "  crc = snapshot_checksum(to);",
        "  memcpy(to + sizeof head, &crc, sizeof crc);",
        "  return IRNN_OK;",
        "}",
        "",
    ]


def _restore(io: Interface) -> list[str]:
    return [
        f"int {io.name}_restore(void *state, const void *snapshot) {{",
        "  const uint8_t *from = (const uint8_t *)snapshot;",
        "  uint32_t head[5];",
        "  const int code = check_memory(state);",
        "  if (code != IRNN_OK) {",
        "    return code;",
        "  }",
        "  if (snapshot == NULL) {",
        "    return IRNN_E_NULL;",
        "  }",
        "  memcpy(head, from, sizeof head);",
        "  if (head[0] != SNAPSHOT_MAGIC || head[1] != SNAPSHOT_VERSION) {",
        "    return IRNN_E_SNAPSHOT;",
        "  }",
        "  if (head[2] != MODEL_HASH || head[3] != SNAPSHOT_BYTES) {",
        "    return IRNN_E_MODEL;",
        "  }",
        "  if (head[4] != snapshot_checksum(from)) {",
        "    return IRNN_E_SNAPSHOT;",
        "  }",
        "  set_head(state);",
        "  set_initial((uint8_t *)state);",
        *_copies(io, "  memcpy((uint8_t *)state + {state}, from + {snapshot}, {bytes});"),
        "  return IRNN_OK;",
        "}",
        "",
    ]
