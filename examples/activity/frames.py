"""Reads pickled pandas tables without pandas, and without running anything that the pickle names.

A pickle may call any function that it can name. This reader knows the few names that tables of numbers need, builds
inert records for pandas' classes, and refuses everything else.
"""

from __future__ import annotations

import codecs
import pickle
from typing import Any, Protocol

import numpy as np
from numpy._core.multiarray import _reconstruct

from irnn_tvm.errors import BuildError

BLOCKS = "0.14.1"  # pandas' name of the layout in which a table's columns are stored since that version


class Readable(Protocol):
    """A binary file, opened by `open` or `gzip.open`."""

    def read(self, size: int = ..., /) -> bytes: ...

    def readline(self) -> bytes: ...


class _Record:
    """Stands for an object of a pandas class: keeps its state."""

    state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _new_record(kind: type, base: type, state: Any) -> _Record:
    return _Record()


def _new_index(kind: type, fields: dict[str, Any]) -> dict[str, Any]:
    return fields


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
    ("builtins", "slice"): slice,
    ("builtins", "object"): object,
    ("copyreg", "_reconstructor"): _new_record,
    ("pandas.core.indexes.base", "_new_Index"): _new_index,
    ("pandas.core.indexes.base", "Index"): _Record,
    ("pandas.core.indexes.range", "RangeIndex"): _Record,
    ("pandas.core.internals.managers", "BlockManager"): _Record,
    ("pandas.core.frame", "DataFrame"): _Record,
}
_MODULES = {"copy_reg": "copyreg", "__builtin__": "builtins"}


class _TableReader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _KNOWN.get((_MODULES.get(module, module), name))
        if found is None:
            raise BuildError(f"the table names {module}.{name}, which no table of numbers needs: refused")
        return found


def read_frames(stream: Readable) -> dict[int, list[dict[str, np.ndarray]]]:
    """Per key the list of its tables, each a dict from column to its values [N].

    Raises BuildError for a pickle that is something else or names functions that tables do not need.
    """
    try:
        tables = _TableReader(stream).load()
        return {int(key): [_columns(table) for table in group] for key, group in tables.items()}
    except BuildError:
        raise
    except Exception as error:
        raise BuildError(f"the file holds no pickled tables: {type(error).__name__}: {error}") from error


def _columns(table: _Record) -> dict[str, np.ndarray]:
    manager = table.state["_data"] if "_data" in table.state else table.state["_mgr"]
    content = manager.state[3][BLOCKS]
    names = list(content["axes"][0]["data"])
    columns: dict[str, np.ndarray] = {}
    for block in content["blocks"]:
        places = np.arange(len(names))[block["mgr_locs"]]
        for place, values in zip(places, block["values"], strict=True):
            columns[str(names[place])] = values
    return columns
