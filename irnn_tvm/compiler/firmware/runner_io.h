/* What the runner needs from its surroundings: files, memory, an exit code. Two versions: a hosted C library (programs
   under a user-mode emulator) and semihosting (firmware under a system emulator). */
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

/* Stack high-water mark: paint the free stack, later ask how deep it was used, in bytes; -1 when not known. */
void io_stack_paint(void);
int32_t io_stack_used(void);

#endif
