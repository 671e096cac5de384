"""Builds a program for the emulated board with GCC for ARM; core/ is its startup code and linker script."""

from os.path import join

from SCons.Script import Default, DefaultEnvironment

env = DefaultEnvironment()
core = join(env.PioPlatform().get_dir(), "core")
machine = ["-mcpu=cortex-m4", "-mthumb"]
env.Replace(
    AR="arm-none-eabi-ar",
    CC="arm-none-eabi-gcc",
    CXX="arm-none-eabi-g++",
    LINK="arm-none-eabi-gcc",
    RANLIB="arm-none-eabi-ranlib",
    ARFLAGS=["rcs"],
    PROGSUFFIX=".elf",
)
env.Append(
    CCFLAGS=[*machine, "-O2", "-ffreestanding", "-fno-tree-loop-distribute-patterns"],
    CPPPATH=[join(core, "include")],
    LINKFLAGS=[
        *machine,
        "-nostdlib",
        "-Wl,--gc-sections",
        "-Wl,--no-warn-rwx-segments",
        "-T",
        join(core, "board.ld"),
    ],
    LIBS=["gcc"],
)
env.BuildSources(join("$BUILD_DIR", "core"), core)
Default(env.BuildProgram())
