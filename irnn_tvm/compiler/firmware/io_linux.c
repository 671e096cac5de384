/* Runner input and output on Linux without a C library: RUNNER in.bin out.bin. System calls are made by hand, so that
   linking it needs no libc for the target (compiling one takes a minute) and nothing but the library is emulated. */
#include "runner_io.h"

#define MAX_BLOCKS 256
#define PAINT_BYTES (256u * 1024u) /* of the stack, which the system lets grow by itself */

enum { AT_FDCWD = -100, O_RDONLY = 0, O_WRONLY_CREAT_TRUNC = 01 | 0100 | 01000 };
enum { PROT_READ_WRITE = 3, MAP_PRIVATE_ANONYMOUS = 0x22 };

#if defined(__aarch64__)
enum { NR_OPENAT = 56, NR_READ = 63, NR_WRITE = 64, NR_EXIT_GROUP = 94, NR_MUNMAP = 215, NR_MMAP = 222 };

static long syscall6(long number, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}

__asm__(".text\n.global _start\n_start:\n mov x0, sp\n mov x29, xzr\n mov x30, xzr\n b linux_start\n");
#elif defined(__arm__)
enum { NR_OPENAT = 322, NR_READ = 3, NR_WRITE = 4, NR_EXIT_GROUP = 248, NR_MUNMAP = 91, NR_MMAP = 192 /* mmap2 */ };

/* r7 is the frame pointer of Thumb code: it is saved by hand. */
static long syscall6(long number, long a, long b, long c, long d, long e, long f) {
    register long r0 __asm__("r0") = a;
    register long r1 __asm__("r1") = b;
    register long r2 __asm__("r2") = c;
    register long r3 __asm__("r3") = d;
    register long r4 __asm__("r4") = e;
    register long r5 __asm__("r5") = f;
    __asm__ volatile("push {r7}\n mov r7, %[number]\n svc 0\n pop {r7}"
                     : "+r"(r0)
                     : [number] "r"(number), "r"(r1), "r"(r2), "r"(r3), "r"(r4), "r"(r5)
                     : "memory");
    return r0;
}

__asm__(".text\n.global _start\n.type _start, %function\n_start:\n mov r0, sp\n mov lr, #0\n b linux_start\n");
#elif defined(__x86_64__)
enum { NR_OPENAT = 257, NR_READ = 0, NR_WRITE = 1, NR_EXIT_GROUP = 231, NR_MUNMAP = 11, NR_MMAP = 9 };

static long syscall6(long number, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

__asm__(".text\n.global _start\n_start:\n movq %rsp, %rdi\n xorl %ebp, %ebp\n andq $-16, %rsp\n"
        " callq linux_start\n");
#else
#error "the runner knows Linux on x86-64, on AArch64 and on 32-bit ARM"
#endif

extern int main(int argc, char **argv);
void linux_start(long *stack) __attribute__((noreturn, used));

static int in_file = -1, out_file = -1;
static struct {
    void *data;
    size_t bytes;
} blocks[MAX_BLOCKS];
static size_t block_count;
static uintptr_t first_stack;

void linux_start(long *stack) {
    first_stack = (uintptr_t)stack;
    io_exit(main((int)stack[0], (char **)(stack + 1)));
}

void io_exit(int code) {
    for (;;) syscall6(NR_EXIT_GROUP, code, 0, 0, 0, 0, 0);
}

static long transfer(long number, int file, const uint8_t *data, size_t bytes) {
    while (bytes) {
        const long done = syscall6(number, file, (long)data, (long)bytes, 0, 0, 0);
        if (done <= 0) return -1;
        data += done;
        bytes -= (size_t)done;
    }
    return 0;
}

void io_print(const char *text) {
    size_t length = 0;
    while (text[length]) ++length;
    transfer(NR_WRITE, 2, (const uint8_t *)text, length);
}

void io_open(int argc, char **argv) {
    if (argc > 2) {
        in_file = (int)syscall6(NR_OPENAT, AT_FDCWD, (long)argv[1], O_RDONLY, 0, 0, 0);
        out_file = (int)syscall6(NR_OPENAT, AT_FDCWD, (long)argv[2], O_WRONLY_CREAT_TRUNC, 0644, 0, 0);
    }
    if (in_file < 0 || out_file < 0) {
        io_print("usage: runner in.bin out.bin\n");
        io_exit(RUNNER_BAD_FILE);
    }
}

void io_read(void *data, size_t bytes) {
    if (transfer(NR_READ, in_file, data, bytes) != 0) {
        io_print("in.bin is truncated\n");
        io_exit(RUNNER_BAD_FILE);
    }
}

void io_write(const void *data, size_t bytes) {
    if (transfer(NR_WRITE, out_file, data, bytes) != 0) {
        io_print("out.bin cannot be written\n");
        io_exit(RUNNER_BAD_FILE);
    }
}

void *io_alloc(size_t bytes) {
    const size_t size = bytes ? bytes : 16;
    const long data = syscall6(NR_MMAP, 0, (long)size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (block_count == MAX_BLOCKS || (data < 0 && data > -4096)) {
        io_print("out of memory\n");
        io_exit(RUNNER_NO_MEMORY);
    }
    blocks[block_count].data = (void *)data;
    blocks[block_count++].bytes = size;
    return (void *)data;
}

size_t io_mark(void) { return block_count; }

void io_release(size_t mark) {
    while (block_count > mark) {
        --block_count;
        syscall6(NR_MUNMAP, (long)blocks[block_count].data, (long)blocks[block_count].bytes, 0, 0, 0, 0);
    }
}

uint32_t *io_stack_bottom(void) { return (uint32_t *)((first_stack - PAINT_BYTES) & ~(uintptr_t)3u); }
