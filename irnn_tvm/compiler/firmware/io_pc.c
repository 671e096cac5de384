/* Runner input and output on an emulated PC without an operating system: in.bin lies in memory, out.bin and messages
   leave by two parallel ports. Memory is a bump allocator. */
#include "runner_io.h"

enum { OUTPUT = 0x378, MESSAGES = 0x278, SHUTDOWN = 0x8900 };

extern uint8_t __heap_start[], __heap_end[], __input[];
extern uint32_t __bss_start[], __bss_end[];
extern int main(int argc, char **argv);
void bare_start(void) __attribute__((noreturn, used));

static const uint8_t *input = __input;
static size_t used;

static void port_write(uint16_t port, uint8_t value) {
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

/* A printer takes a byte at the edge of the strobe. */
static void print_byte(uint16_t port, uint8_t value) {
    port_write(port, value);
    port_write(port + 2, 0x0d);
    port_write(port + 2, 0x0c);
}

void bare_start(void) {
    for (volatile uint32_t *word = __bss_start; word < __bss_end; ++word) *word = 0;
    io_exit(main(0, 0));
}

void io_print(const char *text) {
    while (*text) print_byte(MESSAGES, (uint8_t)*text++);
}

/* The last message is the exit code: without one, the processor took a fault. */
void io_exit(int code) {
    static const char *const words = "Shutdown";
    io_print("\nexit ");
    print_byte(MESSAGES, (uint8_t)('0' + code / 10 % 10));
    print_byte(MESSAGES, (uint8_t)('0' + code % 10));
    for (int i = 0; words[i]; ++i) port_write(SHUTDOWN, (uint8_t)words[i]);
    for (;;) __asm__ volatile("hlt");
}

void io_open(int argc, char **argv) {
    (void)argc;
    (void)argv;
}

void io_read(void *data, size_t bytes) {
    uint8_t *to = data;
    while (bytes--) *to++ = *input++;
}

void io_write(const void *data, size_t bytes) {
    const uint8_t *from = data;
    while (bytes--) print_byte(OUTPUT, *from++);
}

void *io_alloc(size_t bytes) {
    const size_t size = bytes ? (bytes + 15u) & ~(size_t)15u : 16u;
    if (size < bytes || size > (size_t)(__heap_end - __heap_start) - used) {
        io_print("out of memory\n");
        io_exit(RUNNER_NO_MEMORY);
    }
    used += size;
    return __heap_start + used - size;
}

size_t io_mark(void) { return used; }

void io_release(size_t mark) { used = mark; }
