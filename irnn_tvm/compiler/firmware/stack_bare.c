/* How deep a stack was used that the linker script laid out: without an operating system. */
#include "runner_io.h"

#define PAINT 0xC5A5C5A5u

extern uint32_t __stack_limit[], __stack_top[];

void io_stack_paint(void) {
    volatile uint32_t *stop = (volatile uint32_t *)__builtin_frame_address(0) - 16;
    for (volatile uint32_t *word = __stack_limit; word < stop; ++word) *word = PAINT;
}

int32_t io_stack_used(void) {
    volatile uint32_t *word = __stack_limit;
    while (word < __stack_top && *word == PAINT) ++word;
    return (int32_t)((uintptr_t)__builtin_frame_address(0) - (uintptr_t)word);
}
