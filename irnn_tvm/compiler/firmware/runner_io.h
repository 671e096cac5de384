/* What the runner needs from its surroundings: files, memory, an exit code. Three versions: system calls of Linux (programs
   under a user-mode emulator), semihosting (firmware under a system emulator), and a PC without an operating system. */
#ifndef IRNN_RUNNER_IO_H
#define IRNN_RUNNER_IO_H
#include <stddef.h>
#include <stdint.h>

/* Exit codes of the runner; irnn_tvm/runtime/emulated.py gives them words. */
enum {
    RUNNER_OK = 0,
    RUNNER_BAD_FILE = 11,    /* in.bin or out.bin cannot be opened, is truncated or has a wrong magic number */
    RUNNER_NO_MEMORY = 12,   /* the buffers do not fit */
    RUNNER_OUT_OF_BOUNDS = 13, /* the library wrote outside its state, arena or outputs, or into an input */
    RUNNER_INIT_FAILED = 14, /* NAME_init returned an error */
    RUNNER_FAULT = 15        /* the processor took a fault (bare metal) */
};

void io_open(int argc, char **argv);
void io_read(void *data, size_t bytes);
void io_write(const void *data, size_t bytes);
void io_print(const char *text); /* to the standard error of the emulator */
void io_exit(int code) __attribute__((noreturn));

/* Memory, 16-byte aligned. io_release(mark) gives back everything allocated since `mark = io_mark()`. */
void *io_alloc(size_t bytes);
size_t io_mark(void);
void io_release(size_t mark);

/* The lowest address of the stack, or of what is painted of it. */
uint32_t *io_stack_bottom(void);

#define IO_STACK_PAINT 0xC5A5C5A5u

static inline uint32_t *io_stack_pointer(void) {
    uintptr_t value;
#if defined(__x86_64__)
    __asm__ volatile("movq %%rsp, %0" : "=r"(value));
#elif defined(__riscv)
    __asm__ volatile("mv %0, sp" : "=r"(value));
#else
    __asm__ volatile("mov %0, sp" : "=r"(value));
#endif
    return (uint32_t *)value;
}

/* How deep the stack is used below a function: it paints what is free below `top`, its own stack pointer, and looks later
   how much of that has changed, in bytes; -1: more than is painted. */
static inline void io_stack_paint(uint32_t *top) {
    for (volatile uint32_t *word = io_stack_bottom(); word < top; ++word) *word = IO_STACK_PAINT;
}

static inline int32_t io_stack_used(uint32_t *top) {
    volatile uint32_t *const bottom = io_stack_bottom(), *word = bottom;
    while (word < top && *word == IO_STACK_PAINT) ++word;
    return word == bottom ? -1 : (int32_t)((uintptr_t)top - (uintptr_t)word);
}

#endif
