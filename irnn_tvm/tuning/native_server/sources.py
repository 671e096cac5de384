"""What the server is made of: sources of TVM's packages, and ours."""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from irnn_tvm.errors import BuildError

FOLDER = Path(__file__).parent
# The interfaces of these versions are what include/ and server/ are written to.
SUPPORTED = {"apache-tvm": "0.27.0.post1", "apache-tvm-ffi": "0.1.14.post1"}

# What serving takes. Of TVM's runtime: the CPU, timers, and the side of RPC that serves.
_RUNTIME = (
    *("cpu_device_api", "device_api", "tensor", "timer", "workspace_pool"),
    *("rpc/rpc_channel", "rpc/rpc_endpoint", "rpc/rpc_local_session", "rpc/rpc_module", "rpc/rpc_session"),
)
_FFI = (
    *("backtrace", "custom_allocator", "dtype", "error", "function", "init_once", "object"),
    *("tensor", "extra/env_c_api", "extra/env_context", "extra/library_module"),
    *("extra/library_module_dynamic_lib", "extra/module"),
)


def check_versions() -> None:
    """Raises BuildError where the installed packages are not those that the server is written for."""
    for package, wanted in SUPPORTED.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "not installed"
        if found != wanted:
            raise BuildError(
                f"the server is built from the sources of {package} {wanted}; here it is {found}: "
                f"pip install {package}=={wanted}"
            )


def sources() -> list[Path]:
    """All C++ files, the longest to compile first. Raises BuildError where a package lacks one."""
    runtime, ffi = _package("tvm") / "src" / "runtime", _package("tvm_ffi") / "src" / "ffi"
    found = [ffi / f"{name}.cc" for name in _FFI] + [runtime / f"{name}.cc" for name in _RUNTIME]
    missing = next((path for path in found if not path.is_file()), None)
    if missing is not None:
        raise BuildError(f"the installed package lacks {missing}, of which the server is built")
    slow = ("object.cc", "rpc_module.cc")
    found.sort(key=lambda path: (path.name not in slow, -path.stat().st_size))
    return found + sorted((FOLDER / "server").glob("*.cc"))


def stand_ins() -> list[Path]:
    """Our headers for those that TVM's sources include and the packages lack."""
    return sorted((FOLDER / "include").rglob("*.h"))


def server_headers() -> list[Path]:
    """The headers of our sources."""
    return sorted((FOLDER / "server").glob("*.h"))


def include_flags() -> list[str]:
    """Where headers lie. What the sources call ../support and ../../support is found from two folders of ours."""
    tvm, ffi, own = _package("tvm"), _package("tvm_ffi"), FOLDER / "include"
    flags = [f"-I{path}" for path in (own, tvm / "include", ffi / "include", tvm)]
    for quoted in (own / "support", own / "tvm" / "support"):
        flags += ["-iquote", str(quoted)]
    return flags


def _package(name: str) -> Path:
    """The folder of a package, which is not imported."""
    spec = importlib.util.find_spec(name)
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        raise BuildError(f"the package {name} is not installed")
    return Path(folders[0])
