/* Runner input and output by semihosting (ARM, RISC-V): in.bin and out.bin in the directory where the emulator runs. Memory is a
   bump allocator over what the linker script left free. */
#include "runner_io.h"

enum { SYS_OPEN = 0x01, SYS_CLOSE = 0x02, SYS_WRITE0 = 0x04, SYS_WRITE = 0x05, SYS_READ = 0x06 };
enum { SYS_EXIT_EXTENDED = 0x20 };
enum { MODE_READ_BINARY = 1, MODE_WRITE_BINARY = 5 };
#define ADP_STOPPED_APPLICATION_EXIT 0x20026u

extern uint8_t __heap0_start[], __heap0_end[], __heap1_start[], __heap1_end[];

static int32_t in_handle = -1, out_handle = -1;
static uintptr_t used[2];

static int32_t semihost(uint32_t operation, const void *argument) {
#if defined(__riscv)
    register uint32_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;
    /* These three are what an emulator looks for, uncompressed and on one page. */
    __asm__ volatile(".option push\n .option norvc\n .balign 16\n slli x0, x0, 0x1f\n ebreak\n srai x0, x0, 7\n"
                     " .option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return (int32_t)a0;
#else
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return (int32_t)r0;
#endif
}

static int32_t open_file(const char *name, uint32_t length, uint32_t mode) {
    const uint32_t block[3] = {(uint32_t)(uintptr_t)name, mode, length};
    return semihost(SYS_OPEN, block);
}

void io_print(const char *text) { semihost(SYS_WRITE0, text); }

void io_exit(int code) {
    const uint32_t handle[1] = {(uint32_t)out_handle};
    const uint32_t block[2] = {ADP_STOPPED_APPLICATION_EXIT, (uint32_t)code};
    if (out_handle >= 0) semihost(SYS_CLOSE, handle);
    for (;;) semihost(SYS_EXIT_EXTENDED, block);
}

void io_open(int argc, char **argv) {
    (void)argc;
    (void)argv;
    in_handle = open_file("in.bin", 6, MODE_READ_BINARY);
    out_handle = open_file("out.bin", 7, MODE_WRITE_BINARY);
    if (in_handle < 0 || out_handle < 0) {
        io_print("in.bin or out.bin cannot be opened\n");
        io_exit(RUNNER_BAD_FILE);
    }
}

/* SYS_READ and SYS_WRITE return how many bytes are left to do. */
static void transfer(uint32_t operation, int32_t handle, const uint8_t *data, size_t bytes, const char *message) {
    while (bytes) {
        const uint32_t block[3] = {(uint32_t)handle, (uint32_t)(uintptr_t)data, bytes};
        const int32_t left = semihost(operation, block);
        if (left < 0 || (size_t)left >= bytes) {
            io_print(message);
            io_exit(RUNNER_BAD_FILE);
        }
        data += bytes - (size_t)left;
        bytes = (size_t)left;
    }
}

void io_read(void *data, size_t bytes) { transfer(SYS_READ, in_handle, data, bytes, "in.bin is truncated\n"); }

void io_write(const void *data, size_t bytes) {
    transfer(SYS_WRITE, out_handle, data, bytes, "out.bin cannot be written\n");
}

void *io_alloc(size_t bytes) {
    uint8_t *const start[2] = {__heap0_start, __heap1_start}, *const end[2] = {__heap0_end, __heap1_end};
    const size_t size = bytes ? (bytes + 15u) & ~(size_t)15u : 16u;
    for (int region = 0; region < 2; ++region) {
        if (size >= bytes && size <= (size_t)(end[region] - start[region]) - used[region]) {
            uint8_t *block = start[region] + used[region];
            used[region] += size;
            return block;
        }
    }
    io_print("out of memory\n");
    io_exit(RUNNER_NO_MEMORY);
}

/* A mark is an index into the fills that both regions had; marks nest. */
static uintptr_t marks[8][2];
static size_t mark_count;

size_t io_mark(void) {
    marks[mark_count][0] = used[0];
    marks[mark_count][1] = used[1];
    return mark_count++;
}

void io_release(size_t mark) {
    mark_count = mark;
    used[0] = marks[mark][0];
    used[1] = marks[mark][1];
}
