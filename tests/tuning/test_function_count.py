"""Instructions by function: blocks go where their addresses lie, and the sum is what the whole count says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "runtime"))
import leaky

from irnn_tvm import targets
from irnn_tvm.errors import InputError
from irnn_tvm.runtime import load
from irnn_tvm.tuning.elf_symbols import Symbol
from irnn_tvm.tuning.function_count import OTHER, by_function, count_functions
from irnn_tvm.tuning.instruction_count import count_instructions

X, K = leaky.sample(20)


def test_blocks_belong_to_the_function_around_them() -> None:
    functions = [Symbol("second", 200, 50, True), Symbol("first", 100, 40, True)]
    blocks = {(100, 3): 2, (139, 1): 5, (140, 7): 1, (249, 2): 4, (250, 1): 1, (20, 1): 9}
    assert by_function(blocks, functions) == {"first": 11, OTHER: 7 + 1 + 9, "second": 8}


@pytest.mark.emulator
@pytest.mark.parametrize("name", ["arm", "armv7", "cortex-m4", "cortex-m55"])
def test_where_200_more_instructions_are(tmp_path: Path, require_tool, name: str) -> None:
    target = targets.get(name)
    require_tool(target.emulator.qemu)
    plain = load(leaky.build(target, tmp_path / "plain", ()))
    longer = load(leaky.build(target, tmp_path / "longer", ("-DUSE_NOPS",)))
    found, more = (count_functions(lib, "step", (X[0], K[0]), 3) for lib in (plain, longer))
    changed = {key: more[key] - found.get(key, 0) for key in more if more[key] != found.get(key, 0)}
    assert changed == {"leaky_run": 200}
    assert 0 < count_instructions(plain, "step", (X[0], K[0]), 3) - sum(found.values()) < 40


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="counted under an emulator"):
        count_functions(load(leaky.build(targets.get("host"), tmp_path / "host", ())), "step", (X[0], K[0]))
