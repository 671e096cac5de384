"""Of the package irnn_tvm, the modules that modules.txt names: the others are those of irnn-tvm."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

MODULES = (Path(__file__).parent / "modules.txt").read_text().split()


class BuildRuntime(build_py):
    def find_package_modules(self, package, package_dir):
        found = super().find_package_modules(package, package_dir)
        return [item for item in found if package != "irnn_tvm" or item[1] in MODULES]


class NoSdist(sdist):
    def run(self):
        raise SystemExit(
            "irnn-tvm-runtime is built as a wheel, from a checkout: pip wheel ./packages/runtime"
        )


setup(cmdclass={"build_py": BuildRuntime, "sdist": NoSdist})
