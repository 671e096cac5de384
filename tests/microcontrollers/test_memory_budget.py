"""Budgets of flash and RAM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import irnn_tvm
from irnn_tvm import IntegerModel, Library, Memory
from irnn_tvm.errors import MemoryBudgetError


def test_exactly_what_it_needs_is_enough(
    library: Callable[..., Library], model: IntegerModel, tmp_path: Path
) -> None:
    report = library("cortex-m4").report
    flash = report["flash_bytes"]
    ram = report["state_bytes"] + report["arena_bytes"] + report["stack_bytes"]
    irnn_tvm.build(model, "cortex-m4", out=tmp_path / "a", name="tiny", memory=Memory(flash=flash, ram=ram))
    for memory, words in (
        (
            Memory(flash=flash - 1),
            rf"needs {flash:,} bytes of flash, 1 more than the {flash - 1:,} there are",
        ),
        (Memory(ram=ram - 1), rf"needs {ram:,} bytes of RAM, 1 more than the {ram - 1:,} there are"),
    ):
        with pytest.raises(MemoryBudgetError, match=words) as error:
            irnn_tvm.build(model, "cortex-m4", out=tmp_path / "b", name="tiny", memory=memory)
        # The table adds up.
        rows = [line.split() for line in str(error.value).splitlines()[1:-1]]
        assert sum(int(row[-1].replace(",", "")) for row in rows) == (flash if memory.flash else ram)
        assert "What would make it fit" in str(error.value)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("wrong", [dict(flash=-1), dict(ram=1.5), dict(ram="64K")])
def test_a_budget_is_a_number_of_bytes(wrong: dict[str, object]) -> None:
    with pytest.raises(MemoryBudgetError, match="must be a number of bytes"):
        Memory(**wrong)  # type: ignore[arg-type]
