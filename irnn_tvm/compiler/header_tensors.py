"""The part of NAME.h that is about tensors: types, sizes, scales, and functions that take and give floats."""

from __future__ import annotations

from math import prod

import numpy as np

from irnn_tvm.compiler.abi import Interface, Tensor

# alignas comes before everything else of a declaration in C++, and may in C.
ALIGNED = """#ifndef IRNN_ALIGNED
#if defined(__cplusplus) && __cplusplus >= 201103L
#define IRNN_ALIGNED alignas(16)
#elif defined(__GNUC__)
#define IRNN_ALIGNED __attribute__((aligned(16)))
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define IRNN_ALIGNED _Alignas(16)
#elif defined(_MSC_VER)
#define IRNN_ALIGNED __declspec(align(16))
#endif
#endif"""

# The integers of `irnn.quantize`: floor(x / scale + 0.5) + zero_point in double, saturated. The comparisons come before
# the conversion, which is defined for numbers in range only.
_QUANTIZE = """
/* {what}, count elements: floor(from / scale + 0.5) + zero point in double, saturated, as the PyTorch reference does
 * it; not-a-number becomes the zero point. */
static inline void {name}_quantize_{tensor}(const float *from, {type} *to, size_t count) {{
  for (size_t i = 0; i < count; ++i) {{
    const double q = (double)from[i] / {macro}_SCALE + 0.5;
    if (q >= {high}.0 - {macro}_ZERO_POINT) {{
      to[i] = ({type}){high_literal};
    }} else if (q < {low}.0 - {macro}_ZERO_POINT + 1.0) {{
      to[i] = ({type}){low_literal};
    }} else if (q != q) {{
      to[i] = ({type}){macro}_ZERO_POINT;
    }} else {{
      const int64_t n = (int64_t)q;
      to[i] = ({type})(n - ((double)n > q ? 1 : 0) + {macro}_ZERO_POINT);
    }}
  }}
}}
"""
_DEQUANTIZE = """
/* {what}, count elements: scale * (from - zero point). */
static inline void {name}_dequantize_{tensor}(const {type} *from, float *to, size_t count) {{
  for (size_t i = 0; i < count; ++i) {{
    to[i] = (float)({macro}_SCALE * ((double)from[i] - {macro}_ZERO_POINT));
  }}
}}
"""


def tensor_lines(io: Interface) -> list[str]:
    """Types and macros of all tensors."""
    upper = io.name.upper()
    lines = [
        "/* Of every input and output: the type of its elements; how many there are in one time step (without a time",
        " * axis: in all), and in T of them; scale and zero point of real = scale * (q - zero point), or what indices",
        " * are below. */",
        f"#define {upper}_INPUTS {len(io.inputs)}",
        f"#define {upper}_OUTPUTS {len(io.outputs)}",
    ]
    for kind, number, t in _numbered(io):
        macro = f"{upper}_{kind}_{number}"
        lines.append(f"typedef {t.dtype}_t {macro}_T; /* {t.name} */")
        size = step_elements(t)
        lines += [] if size is None else [f"#define {macro}_SIZE {size}"]
        lines.append(f"#define {macro}_COUNT(T) {_count(t)}")
        if t.limit is not None and isinstance(t.limit, int):
            lines.append(f"#define {macro}_LIMIT {t.limit}")
        elif t.limit is None and t.scale is not None:
            lines.append(f"#define {macro}_SCALE {_double(t.scale)}")
            lines.append(f"#define {macro}_ZERO_POINT {_integer(t.zero_point or 0)}")
    return lines


def float_lines(io: Interface) -> list[str]:
    """Functions for programs that have floats, behind NAME_WITH_FLOAT; they have a guard of their own."""
    upper = io.name.upper()
    texts = []
    for kind, number, t in _numbered(io):
        if t.limit is not None or t.scale is None:
            continue
        limits = np.iinfo(t.dtype)
        low, high = int(limits.min), int(limits.max)
        fields = {
            "name": io.name,
            "tensor": t.name,
            "what": f"{kind.capitalize()} {t.name}",
            "type": f"{upper}_{kind}_{number}_T",
            "macro": f"{upper}_{kind}_{number}",
            "low": low,
            "high": high,
            "low_literal": _integer(low),
            "high_literal": high,
        }
        texts.append((_QUANTIZE if kind == "INPUT" else _DEQUANTIZE).format(**fields).rstrip())
    if not texts:
        return []
    return [
        "",
        f"/* Floats, for programs that have them: #define {upper}_WITH_FLOAT before the header is included. */",
        f"#if defined({upper}_WITH_FLOAT) && !defined({upper}_FLOAT_H)",
        f"#define {upper}_FLOAT_H",
        "",
        "#include <stddef.h>",
        *texts,
        "",
        f"#endif /* {upper}_WITH_FLOAT */",
    ]


def step_elements(t: Tensor) -> int | None:
    """Elements of one time step, or of all of a tensor that has no time axis; None where steps are not whole."""
    timed = [dim for dim in t.shape if not isinstance(dim, int)]
    return prod(dim for dim in t.shape if isinstance(dim, int)) if timed in ([], ["T"]) else None


def _count(t: Tensor) -> str:
    """Elements of T steps, a C expression."""
    return f"({' * '.join(str(dim).replace('T', '(T)') for dim in t.shape) or '1'})"


def _numbered(io: Interface) -> list[tuple[str, int, Tensor]]:
    return [
        *(("INPUT", number, t) for number, t in enumerate(io.inputs)),
        *(("OUTPUT", number, t) for number, t in enumerate(io.outputs)),
    ]


def _double(value: float) -> str:
    """A C literal of exactly this double."""
    text = repr(float(value))
    return text if any(char in text for char in ".en") else f"{text}.0"


def _integer(value: int) -> str:
    """A C constant expression of this integer."""
    if value == -(1 << 31):
        return "(-2147483647 - 1)"
    return str(value) if value >= 0 else f"({value})"
