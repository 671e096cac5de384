/* The ROM of an emulated PC without a BIOS: from the reset vector to 32-bit code at 1 MiB, where the runner lies. */
.section .rom, "ax"
.code16
.global rom_start
rom_start:
    cli
    lgdtl %cs:(gdt_register - rom_start)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    ljmpl $0x08, $0x100000
.balign 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff /* 0x08: flat 32-bit code */
    .quad 0x00cf92000000ffff /* 0x10: flat data */
gdt_register:
    .word 23
    .long 0xffff0000 + (gdt - rom_start)
.org 0xfff0
    .byte 0xe9 /* jmp rom_start: the assembler does not wrap around 64 KiB */
    .word 0x10000 - 0xfff3
.org 0x10000
