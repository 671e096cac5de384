"""A CMake package: `add_subdirectory(NAME)`, or `find_package(NAME)` with its place in CMAKE_PREFIX_PATH, and the
targets NAME::NAME and NAME::selftest."""

from __future__ import annotations

from .package import Files, Package

_TARGETS = """# Targets: {name}::{name}, the library, and {name}::selftest, which compares it with the reference.
if(NOT TARGET {name}::{name})
  get_filename_component(_{name}_root "${{CMAKE_CURRENT_LIST_DIR}}/{up}" ABSOLUTE)
{library}
  add_library({name}_selftest_sources INTERFACE)
  target_sources({name}_selftest_sources INTERFACE "${{_{name}_root}}/src/{name}_selftest.c")
  target_link_libraries({name}_selftest_sources INTERFACE {name}::{name})
  add_library({name}::selftest ALIAS {name}_selftest_sources)
endif()
"""
_ARCHIVE = """  add_library({name}::{name} STATIC IMPORTED GLOBAL)
  set_target_properties({name}::{name} PROPERTIES
    IMPORTED_LOCATION "${{_{name}_root}}/lib/lib{name}.a"
    INTERFACE_INCLUDE_DIRECTORIES "${{_{name}_root}}/include")"""
_SOURCES = """  add_library({name} STATIC
{sources})
  set_target_properties({name} PROPERTIES C_STANDARD 99)
  target_include_directories({name} PUBLIC "${{_{name}_root}}/include")
  add_library({name}::{name} ALIAS {name})"""
_LISTS = """cmake_minimum_required(VERSION 3.16)
project({name} C)

# As a part of another project this defines the targets only; by itself it builds the example, too.
include("${{CMAKE_CURRENT_LIST_DIR}}/cmake/{name}Config.cmake")
if(CMAKE_SOURCE_DIR STREQUAL CMAKE_CURRENT_SOURCE_DIR)
  add_executable({name}_example examples/main.c)
  target_link_libraries({name}_example PRIVATE {name}::selftest)
endif()
"""


def files(package: Package) -> Files:
    name = package.name
    sources = "\n".join(f'    "${{_{name}_root}}/src/{path.name}"' for path in package.sources)
    library = _ARCHIVE.format(name=name) if package.archive else _SOURCES.format(name=name, sources=sources)
    found: Files = {
        "CMakeLists.txt": _LISTS.format(name=name),
        f"cmake/{name}Config.cmake": _TARGETS.format(name=name, up="..", library=library),
        "examples/main.c": package.main(),
    }
    found |= package.within("include", package.headers) | package.within("src", package.code)
    return found | (package.within("lib", [package.archive]) if package.archive else {})
