/* Reset and traps of the emulated RISC-V board. */
#include "runner_io.h"

extern uint32_t __bss_start[], __bss_end[], __stack_limit[], __stack_top[], __guard[];
extern int main(int argc, char **argv);
void reset_handler(void);
void bare_start(void) __attribute__((noreturn, used));
void trap_report(const uint32_t *stack, uint32_t cause, uint32_t address, uint32_t value)
    __attribute__((noreturn, used));

__attribute__((naked, used, section(".reset"))) void reset_handler(void) {
    __asm__ volatile("la sp, __stack_top\n"
                     "la t0, trap_handler\n"
                     "csrw mtvec, t0\n"
                     "j bare_start\n"
                     ".balign 4\n"
                     "trap_handler:\n" /* the stack may be what broke: take a fresh one before any C code runs */
                     "mv a0, sp\n"
                     "csrr a1, mcause\n"
                     "csrr a2, mepc\n"
                     "csrr a3, mtval\n"
                     "la sp, __fault_stack_top\n"
                     "j trap_report\n");
}

/* Without access to what lies below the stack its overflow traps. Locked entries hold in machine mode, too. */
static void protect(void) {
    const uint32_t guard = ((uint32_t)(uintptr_t)__guard >> 2) | ((0x10000u >> 3) - 1u); /* a power of two */
    __asm__ volatile("csrw pmpaddr0, %0\n csrw pmpcfg0, %1" : : "r"(guard), "r"(0x98u));
}

void bare_start(void) {
    protect();
    for (volatile uint32_t *word = __bss_start; word < __bss_end; ++word) *word = 0;
    io_exit(main(0, 0));
}

static void print_hex(const char *label, uint32_t value) {
    char text[9];
    for (int digit = 0; digit < 8; ++digit) text[digit] = "0123456789abcdef"[(value >> (28 - 4 * digit)) & 15u];
    text[8] = 0;
    io_print(label);
    io_print(text);
}

void trap_report(const uint32_t *stack, uint32_t cause, uint32_t address, uint32_t value) {
    io_print("processor fault:");
    if (cause == 2u) io_print(" (undefined instruction)");
    if (cause == 4u || cause == 6u) io_print(" (unaligned access)");
    print_hex(" mcause=", cause);
    print_hex(" mepc=", address);
    print_hex(" mtval=", value);
    if (stack < __stack_limit || stack > __stack_top) io_print(" (stack overflow)");
    io_print("\n");
    io_exit(RUNNER_FAULT);
}
