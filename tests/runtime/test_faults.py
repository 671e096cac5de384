"""A library that misbehaves is found out by the runner, with words that say what it did."""

from __future__ import annotations

import leaky
import pytest
from leaky import Build

from irnn_tvm.errors import EmulatorError

pytestmark = pytest.mark.emulator
X, K = leaky.sample(3)


@pytest.mark.parametrize("name", ["arm", "armv7", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("-DFAULT_ARENA", "wrote past the end of the arena"),
        ("-DFAULT_STATE", "wrote before the start of the state"),
        ("-DFAULT_OUTPUT", "wrote past the end of output y"),
        ("-DFAULT_INPUT", "wrote into input x"),
    ],
)
def test_writes_out_of_bounds(build: Build, name: str, flag: str, words: str) -> None:
    with pytest.raises(EmulatorError, match=f"outside its memory.*{words}"):
        build(name, [flag]).run(X, K)


@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m7", "cortex-m55"])
@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("-DFAULT_DIVIDE", r"division by zero.*PC="),
        ("-DFAULT_ADDRESS", r"fault.*(BFAR|MMFAR)=1fffff00.*PC="),
        ("-DFAULT_INSTRUCTION", r"undefined instruction.*PC="),
    ],
)
def test_processor_faults_on_a_board(build: Build, name: str, flag: str, words: str) -> None:
    with pytest.raises(EmulatorError, match=f"processor took a fault.*{words}"):
        build(name, [flag]).run(X, K)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("-DFAULT_ADDRESS", r"mcause=00000007.*mtval=1fffff00"),
        ("-DFAULT_INSTRUCTION", r"undefined instruction.*mepc="),
    ],
)
def test_traps_of_risc_v(build: Build, flag: str, words: str) -> None:
    with pytest.raises(EmulatorError, match=f"processor took a fault.*{words}"):
        build("riscv32", [flag]).run(X, K)


@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "riscv32"])
def test_stack_overflow_on_a_board(build: Build, name: str) -> None:
    with pytest.raises(EmulatorError, match=r"processor took a fault.*stack overflow"):
        build(name, ["-DFAULT_STACK"]).stream().step(X[0], K[0])


@pytest.mark.parametrize("name", ["arm", "armv7"])
@pytest.mark.parametrize(("flag", "signal"), [("-DFAULT_ADDRESS", 11), ("-DFAULT_INSTRUCTION", "4|5")])
def test_signals_of_a_linux_program(build: Build, name: str, flag: str, signal: object) -> None:
    with pytest.raises(EmulatorError, match=f"died of signal ({signal})"):
        build(name, [flag]).run(X, K)


def test_instruction_of_another_cpu_traps(build: Build) -> None:
    """sdot runs on `arm` and is illegal on `arm-a53`: a wrong schedule cannot pass unnoticed."""
    build("arm", ["-DUSE_SDOT"]).run(X, K)
    with pytest.raises(EmulatorError, match="signal 4"):
        build("arm-a53", ["-DUSE_SDOT"]).run(X, K)


def test_vector_instruction_traps_without_helium(build: Build) -> None:
    build("cortex-m55", ["-DUSE_HELIUM"]).run(X, K)
    with pytest.raises(EmulatorError, match="fault"):
        build("cortex-m7", ["-DUSE_HELIUM"]).run(X, K)
