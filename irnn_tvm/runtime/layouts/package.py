"""What all layouts are made of: the files of a built library, and texts that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

# Place in the layout: a file to copy, or its text.
Files = dict[str, Union[Path, str]]
VERSION = "1.0.0"


@dataclass(frozen=True)
class Package:
    """A library as build wrote it. report: of its directory."""

    directory: Path
    report: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.report["name"])

    @property
    def target(self) -> str:
        return str(self.report["target"])

    @property
    def kind(self) -> str:
        """ "archive", "sources" or "shared"."""
        return str(self.report["kind"])

    @property
    def summary(self) -> str:
        """A line that describes the package."""
        return f"{self.name}: an integer-only recurrent network for {self.target}"

    @property
    def header(self) -> Path:
        return self.directory / str(self.report["files"]["header"])

    @property
    def archive(self) -> Path | None:
        """The static library; None where there are sources."""
        library = self.report["files"]["library"]
        return None if library is None else self.directory / str(library)

    @property
    def sources(self) -> list[Path]:
        """What a compiler gets: nothing where there is an archive."""
        return (
            [] if self.archive else [self.directory / str(file) for file in self.report["files"]["sources"]]
        )

    @property
    def selftest(self) -> list[Path]:
        """The self-test's source and header."""
        return [self.directory / str(file) for file in self.report["files"].get("selftest", ())]

    @property
    def headers(self) -> list[Path]:
        """What a program includes."""
        return [self.header, *(path for path in self.selftest if path.suffix == ".h")]

    @property
    def code(self) -> list[Path]:
        """What a program compiles: the self-test, and sources where there is no archive."""
        return [*self.sources, *(path for path in self.selftest if path.suffix == ".c")]

    def within(self, folder: str, paths: list[Path]) -> Files:
        """Copies of these files in a folder of the layout."""
        return {f"{folder}/{path.name}" if folder else path.name: path for path in paths}

    def main(self) -> str:
        """A program that checks the library and then uses it."""
        return _program(self, "int main(void) {", "  return 0;")

    def sketch(self) -> str:
        """The same for the Arduino environment: a value is printed by the serial port."""
        name, upper = self.name, self.name.upper()
        return (
            f"// {self.summary}.\n#include <{name}.h>\n#include <{name}_selftest.h>\n\n{_memory(self)}\n"
            "void setup() {\n"
            "  Serial.begin(115200);\n"
            f"  const int code = {name}_selftest();\n"
            f'  Serial.println(code == {upper}_SELFTEST_OK ? "self-test passed" : "self-test failed");\n'
            f"  {name}_init(state);\n"
            "}\n\n"
            "void loop() {\n"
            f"  // Fill {_buffers(self)[0]} with what {name}.h describes.\n"
            f"  Serial.println({_call(self)});\n"
            "  delay(1000);\n"
            "}\n"
        )


def _elements(tensor: Mapping[str, Any]) -> str:
    """Elements of a tensor in a call: of one time step, or of the shortest sequence, T."""
    shape = [str(d).replace("//", "/") for d in tensor["shape"]]
    return " * ".join(f"({d})" if not d.isdigit() else d for d in shape) or "1"


def _memory(package: Package) -> str:
    """Definitions of all memory that a call needs."""
    report, upper = package.report, package.name.upper()
    time = report["time"]
    steps = 1 if report["streamable"] and time["dynamic"] else time.get("fixed") or time["min"]
    lines = [f"enum {{ T = {steps} }}; // time steps of a call"]
    aligned = "__attribute__((aligned(16))) static"
    lines += [
        f"{aligned} uint8_t state[{upper}_STATE_BYTES];",
        f"{aligned} uint8_t arena[{upper}_ARENA_BYTES];",
    ]
    for buffer, tensor in zip(_buffers(package), (*report["inputs"], *report["outputs"])):
        lines.append(f"{aligned} {tensor['dtype']}_t {buffer}[{_elements(tensor)}];")
    return "\n".join(lines) + "\n"


def _buffers(package: Package) -> list[str]:
    """Variables of all tensors. Their own names may be those of functions that the environment has (y1)."""
    report = package.report
    return [
        *(f"input_{tensor['name']}" for tensor in report["inputs"]),
        *(f"output_{tensor['name']}" for tensor in report["outputs"]),
    ]


def _call(package: Package) -> str:
    report = package.report
    names = ", ".join(_buffers(package))
    if report["streamable"] and report["time"]["dynamic"]:
        return f"{package.name}_step(state, arena, {names})"
    return f"{package.name}_run(state, arena, T, {names})"


def _program(package: Package, head: str, end: str) -> str:
    name, upper = package.name, package.name.upper()
    return f"""/* {package.summary}.
   Checks the library against the PyTorch reference, then calls it. */
#include <stdint.h>

#include "{name}.h"
#include "{name}_selftest.h"

{_memory(package)}
{head}
  if ({name}_selftest() != {upper}_SELFTEST_OK || {name}_init(state) != IRNN_OK) {{
    return 1;
  }}
  for (int calls_made = 0; calls_made < 10; ++calls_made) {{
    /* Fill the inputs with what {name}.h describes; they are zeros here. */
    if ({_call(package)} != IRNN_OK) {{
      return 2;
    }}
  }}
{end}
}}
"""
