"""Rows survive the file, later ones replace earlier ones, and what is no row is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from irnn_tvm.errors import InputError
from irnn_tvm.examples.training.results import Results, Row, commit, read_rows, write_rows

ROW = Row("r", "quick", "gru", "ptq", "8/16", 16, "accuracy %", 95.5, 1000, 0, "abc", "data", 1.5, "a note")


def test_rows_come_back(tmp_path: Path) -> None:
    results = Results(tmp_path / "new" / "rows.jsonl")
    results.add(ROW)
    results.add(replace(ROW, pieces=32, value=96.0))
    results.add(replace(ROW, value=97.0, commit="def"))
    again = Results(results.path)
    assert again.rows == results.rows
    assert [row.value for row in again.find(stage="ptq", pieces=16)] == [97.0]
    assert len(read_rows(results.path)) == 3
    write_rows(tmp_path / "copy.jsonl", again.rows.values())
    assert Results(tmp_path / "copy.jsonl").rows == again.rows


@pytest.mark.parametrize("line", ["{", "[1]", '{"recipe": "r"}', "null"])
def test_a_line_that_is_no_row_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    Results(path).add(ROW)
    with path.open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match=r"rows\.jsonl, line 2 is no result row"):
        Results(path)


def test_rows_name_the_code() -> None:
    assert commit()
