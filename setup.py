"""Of the package irnn_tvm, what irnn-tvm-runtime does not ship: see packages/runtime/pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

RUNTIME = (Path(__file__).parent / "packages" / "runtime" / "modules.txt").read_text().split()


class BuildRest(build_py):
    def find_package_modules(self, package, package_dir):
        found = super().find_package_modules(package, package_dir)
        return [item for item in found if package != "irnn_tvm" or item[1] not in RUNTIME]


setup(cmdclass={"build_py": BuildRest})
