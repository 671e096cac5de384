"""Bounds of the stack, from assembly text that LLVM writes for frames of all kinds. Whole libraries are compared with
what they use: models/test_whole_models.py, and every call under an emulator (runtime/emulated.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from program import in_a_program

import irnn_tvm
from irnn_tvm.compiler.stack import EXTERNAL_BYTES, call_bytes, stack_bounds

AARCH64, ARM, THUMB, RISCV, X86 = (
    "aarch64-linux",
    "arm-linux",
    "thumb-freestanding",
    "riscv32-none",
    "x86_64-linux",
)


def _function(body: str, name: str = "f") -> str:
    return (
        f"\t.type\t{name},@function\n{name}:\n" + "\n".join(f"\t{line}" for line in body.split("; ")) + "\n"
    )


def _bound(target: str, body: str) -> int | None:
    return stack_bounds(_function(body), target)["f"]


@pytest.mark.parametrize(
    ("target", "body", "expected"),
    [
        (AARCH64, "ret", 0),
        (AARCH64, "stp x29, x30, [sp, #-32]!; sub sp, sp, #1, lsl #12; sub sp, sp, #128; ret", 32 + 4096 + 128),
        (AARCH64, "sub x9, sp, #3392; and sp, x9, #0xffffffffffffffc0; ret", 3392 + 60),
        (AARCH64, "mov w8, #8224; sub sp, sp, x8; add sp, sp, x8; ret", 8224),
        (AARCH64, "mov x8, #4464; movk x8, #1, lsl #16; sub sp, sp, x8; ret", 70000),
        (AARCH64, "str d8, [sp, #-16]!; ldr d8, [sp], #16; ret", 16),
        (ARM, "push {r4, r5, r11, lr}; vpush {d8-d15}; sub sp, sp, #1024; bx lr", 16 + 64 + 1024),
        (ARM, "add r11, sp, #8; sub sp, sp, #4096; bfc sp, #0, #5; sub sp, r11, #28; bx lr", 4096 + 28),
        (ARM, "movw r4, #4464; movt r4, #1; sub sp, sp, r4; bx lr", 70000),
        (ARM, "str lr, [sp, #-8]!; ldr pc, [sp], #8", 8),
        (THUMB, "push {r4, r6, r7, lr}; mov r4, sp; lsrs r4, r4, #4; lsls r4, r4, #4; mov sp, r4; bx lr", 16 + 12),
        (THUMB, "ldr r6, .LCPI0_0; add sp, r6; bx lr; .p2align 2\n.LCPI0_0:; .long 4294959104", 8192),
        (THUMB, "sub.w sp, sp, #1232; add.w sp, sp, #1232; pop {r4, pc}", 1232),
        (RISCV, "addi sp, sp, -2032; lui a0, 1; addi a0, a0, -1024; sub sp, sp, a0; ret", 2032 + 3072),
        (RISCV, "addi sp, sp, -64; addi s0, sp, 64; andi sp, sp, -64; addi sp, s0, -64; ret", 64 + 60),
        (X86, "retq", 8),
        (X86, "pushq %rbp; movq %rsp, %rbp; andq $-64, %rsp; subq $320, %rsp; leaq -8(%rbp), %rsp; retq", 396),
        (X86, "addq $-128, %rsp; subq $-128, %rsp; retq", 8 + 128),
        (X86, "vmovdqu %ymm0, -48(%rsp); retq", 8 + 48),
        (X86, "pushq %rbp; movq %rsp, %rbp; movq %rdi, -88(%rbp); popq %rbp; retq", 8 + 8 + 88),
        (X86, "pushq %rax; callq memcpy@PLT; popq %rcx; retq", 8 + 8 + 8 + EXTERNAL_BYTES),
        (X86, "subq $24, %rsp; addq $24, %rsp; jmp memset@PLT # TAILCALL", 8 + EXTERNAL_BYTES),
    ],
)  # fmt: skip
def test_frames(target: str, body: str, expected: int) -> None:
    assert _bound(target, body) == expected


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (AARCH64, "sub sp, sp, x3; ret"),
        (AARCH64, "addvl sp, sp, #-1; ret"),
        (ARM, "subne sp, sp, #8; bx lr"),
        (ARM, "stmdb sp!, {r4}; stmia sp!, {r4}; bx lr"),
        (RISCV, "cm.push {ra, s0}, -16; ret"),
        (X86, "subq %rax, %rsp; retq"),
        (X86, ".LBB0_1:; pushq %rax; jmp .LBB0_1"),
        (X86, "callq f; retq"),
    ],
)
def test_what_is_not_understood_has_no_bound(target: str, body: str) -> None:
    assert _bound(target, body.replace(".LBB0_1:; ", "nop\n.LBB0_1:\n\t")) is None


def test_branches_are_followed() -> None:
    """The larger of two frames; arguments that are pushed for a call come off again."""
    body = (
        "testq %rdi, %rdi\n\tje .L2\n\tsubq $64, %rsp\n\taddq $64, %rsp\n\tretq\n.L2:\n\tpushq %rax\n\tcallq g\n"
        "\taddq $8, %rsp\n\tpushq %rbx\n\tcallq g\n\tpopq %rcx\n\tretq"
    )
    text = _function(body) + _function("subq $40, %rsp; addq $40, %rsp; retq", "g")
    assert stack_bounds(text, X86) == {"f": 8 + 64, "g": 48}


def test_pointers_reach_what_is_named() -> None:
    text = _function("sub sp, sp, #16; blr x8; add sp, sp, #16; ret") + _function("sub sp, sp, #96; ret", "g")
    assert stack_bounds(text, AARCH64, ["g"])["f"] == 112
    assert stack_bounds(text, AARCH64)["f"] == 16 + EXTERNAL_BYTES


def test_arguments_beyond_the_registers_count() -> None:
    assert call_bytes({"f": 40}, ["f"], X86, 6) == 40
    assert call_bytes({"f": 40}, ["f"], X86, 9) == 40 + 32
    assert call_bytes({"f": 40, "g": None}, ["f", "g"], X86, 6) is None


@pytest.fixture(scope="module")
def model() -> irnn_tvm.IntegerModel:
    """A layer in both directions: kernels of several steps, whose frames are the largest there are."""
    torch.manual_seed(3)

    class Tagger(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = torch.nn.LSTM(72, 96, bidirectional=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0]

    return irnn_tvm.quantize(Tagger().eval(), [torch.randn(9, 4, 72)])


@pytest.mark.emulator
@pytest.mark.parametrize("target", ["arm-i8mm", "cortex-m55", "host"])
@pytest.mark.parametrize("threads", [1, 4])
def test_several_steps_stay_within_the_bound(
    target: str,
    threads: int,
    model: irnn_tvm.IntegerModel,
    tmp_path: Path,
    require_tool: Callable[[str], str],
) -> None:
    chosen = irnn_tvm.TARGETS[target]
    if chosen.emulator is not None:
        require_tool(chosen.emulator.qemu)
    if threads > 1 and target != "host":
        pytest.skip("under emulators all parts are done one after another")
    if threads > 1:
        torch.manual_seed(3)
        big = torch.nn.Sequential(torch.nn.Linear(800, 800))
        model = irnn_tvm.quantize(big.eval(), [torch.randn(9, 800)])
    built = irnn_tvm.build(model, target, out=tmp_path / "built", threads=threads)
    if target == "host":
        built = in_a_program(built, tmp_path / "program")
    for steps in (1, 2, 3, 17):
        shape = [steps if isinstance(d, str) else d for d in built.inputs[0].shape]
        built.run(np.zeros(shape, built.inputs[0].dtype))
        assert built.stack_bytes is not None
        assert built.stack_bytes <= built.report["stack_bytes"]
    assert built.stack_bytes > 64
    if threads == 1:  # no looser than what C functions for copying may take
        assert built.report["stack_bytes"] - built.stack_bytes <= EXTERNAL_BYTES + 48
