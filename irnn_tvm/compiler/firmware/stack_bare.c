/* Where a stack ends that the linker script laid out: without an operating system. */
#include "runner_io.h"

extern uint32_t __stack_limit[];

uint32_t *io_stack_bottom(void) { return __stack_limit; }
