"""Shape expressions: evaluated in Python, and in C by the runner, they must agree."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irnn_tvm import targets
from irnn_tvm.compiler import toolchain
from irnn_tvm.errors import LoadError
from irnn_tvm.runtime import shapes

leaf = st.one_of(st.just("T"), st.integers(0, 99).map(str))
expressions = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(inner, st.integers(1, 9)).map(lambda p: f"({p[0]} // {p[1]})"),
        inner.map(lambda text: f"-{text}"),
    ),
    max_leaves=6,
)


@given(expressions, st.integers(0, 1000))
def test_value_is_pythons(expression: str, length: int) -> None:
    assert shapes.dimension(expression, length) == eval(expression, {"T": length})


@settings(max_examples=1, deadline=None)
@given(st.lists(expressions, min_size=40, max_size=40))
def test_c_agrees_with_python(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder: Path = tmp_path_factory.mktemp("shapes")
    cases = "".join(f"case {i}: return {shapes.c_expression(text)};" for i, text in enumerate(texts))
    (folder / "shapes.c").write_text(
        "#include <stdint.h>\n"
        "static int64_t floor_div(int64_t a, int64_t b) "
        "{ return a / b - (a % b != 0 && (a < 0) != (b < 0)); }\n"
        f"int64_t value(int i, int64_t T) {{ (void)floor_div; switch (i) {{ {cases} }} return 0; }}\n"
    )
    target = targets.get("host")
    objects = toolchain.compile_c([folder / "shapes.c"], folder, target, ["-w"])
    library = ctypes.CDLL(str(toolchain.link_shared(objects, folder / "libshapes.so", target, ["value"])))
    library.value.restype = ctypes.c_int64
    library.value.argtypes = [ctypes.c_int, ctypes.c_int64]
    for i, text in enumerate(texts):
        for length in (0, 1, 7, 1000):
            assert library.value(i, length) == shapes.dimension(text, length), text


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "T.real", "T**2", "T/2", "x", "1.5", "True", "(", "", "T if T else 1", "1" * 99],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(LoadError, match="not a dimension"):
        shapes.parse(text)


def test_division_by_zero() -> None:
    with pytest.raises(LoadError, match="divides by zero for T = 0"):
        shapes.dimension("4 // T", 0)


def test_axes() -> None:
    assert shapes.time_axis([1, "T", 4]) == 1
    assert shapes.time_axis([1, "2*T"]) is None
    assert shapes.depends_on_length([1, "2*T"])
    assert not shapes.depends_on_length([1, "2*3"])
    assert shapes.shape(["T", 1, "(T - 3)//2 + 1"], 8) == (8, 1, 3)
    assert shapes.shape(["T - 9"], 8) == (0,)
