"""A choice of settings for the kernels of an operator. Importing this module does not import TVM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Choice:
    """An instruction set ("scalar": none) and attributes of it (spaces.py)."""

    isa: str
    values: Mapping[str, int] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.text())

    def text(self) -> str:
        """As JSON, the same for equal choices."""
        return json.dumps({"isa": self.isa, **dict(sorted(self.values.items()))})

    def merged(self, other: Choice) -> Choice:
        """These settings, and those of the other choice that are not among them."""
        return Choice(self.isa, {**other.values, **self.values})

    @staticmethod
    def parse(text: str) -> Choice:
        """What `text` wrote."""
        values = dict(json.loads(text))
        return Choice(values.pop("isa"), values)
