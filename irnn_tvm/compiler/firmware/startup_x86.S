/* From flat 32-bit code to C in 64-bit mode with SSE, AVX and AVX-512 switched on, as far as the processor has them. The
   first GiB maps to itself. */
.section .start, "ax"
.code32
.global _start
_start:
    /* Bochs gives memory to its guest in blocks, in the order of their first use, and lays a long image over the blocks
       that it gives next: this claims them in order, before anything else does. */
    movl $0x100000, %esi
claim:
    movl (%esi), %eax
    addl $0x1000, %esi
    cmpl $__bss_start, %esi
    jb claim
    lgdt gdt_register
    movl $level4, %eax
    movl %eax, %cr3
    movl $1, %eax
    cpuid
    andl $0x4000000, %ecx /* XSAVE: older processors refuse the bit that switches it on */
    shrl $8, %ecx
    movl %cr4, %eax
    orl $0x620, %eax /* PAE, OSFXSR, OSXMMEXCPT */
    orl %ecx, %eax /* OSXSAVE */
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax /* long mode */
    wrmsr
    movl %cr0, %eax
    andl $0xfffffffb, %eax /* no emulation of the FPU */
    orl $0x80000002, %eax
    movl %eax, %cr0
    ljmp $0x18, $long_mode
.code64
long_mode:
    movq %cr4, %rax
    testl $0x40000, %eax
    jz no_xsave
    movl $13, %eax
    xorl %ecx, %ecx
    cpuid
    andl $0xe7, %eax /* x87, SSE, AVX, and the three parts of AVX-512, as far as there are such */
    xorl %ecx, %ecx
    xorl %edx, %edx
    xsetbv
no_xsave:
    movq $__stack_top, %rsp
    xorl %ebp, %ebp
    call bare_start
.balign 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff
    .quad 0x00cf92000000ffff
    .quad 0x00af9a000000ffff /* 0x18: 64-bit code */
gdt_register:
    .word 31
    .long gdt
.section .data.tables, "aw"
.balign 4096
level4:
    .quad level3 + 3
    .skip 4088
level3:
    .quad level2 + 3
    .skip 4088
level2:
    .set page, 0x83 /* of 2 MiB: older processors have none of 1 GiB */
    .rept 512
    .quad page
    .set page, page + 0x200000
    .endr
