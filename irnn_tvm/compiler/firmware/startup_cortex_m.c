/* Reset, vector table and fault handlers for the emulated Cortex-M boards (ARMv6-M to ARMv8-M). */
#include "runner_io.h"

#define SCB_CCR (*(volatile uint32_t *)0xE000ED14u)
#define SCB_CFSR (*(volatile uint32_t *)0xE000ED28u)
#define SCB_HFSR (*(volatile uint32_t *)0xE000ED2Cu)
#define SCB_MMFAR (*(volatile uint32_t *)0xE000ED34u)
#define SCB_BFAR (*(volatile uint32_t *)0xE000ED38u)
#define MPU_CTRL (*(volatile uint32_t *)0xE000ED94u)
#define MPU_RBAR (*(volatile uint32_t *)0xE000ED9Cu)
#define MPU_RASR (*(volatile uint32_t *)0xE000EDA0u)
#define SCB_CPACR (*(volatile uint32_t *)0xE000ED88u)

extern uint32_t __bss_start[], __bss_end[], __stack_limit[], __stack_top[];
extern int main(int argc, char **argv);
void reset_handler(void) __attribute__((noreturn));
void fault_handler(void);
void fault_report(const uint32_t *frame, uint32_t exception) __attribute__((noreturn, used));

__attribute__((used, section(".vectors"))) static const void *const vectors[16] = {
    __stack_top,
    (const void *)reset_handler,
    (const void *)fault_handler, /* NMI */
    (const void *)fault_handler, /* HardFault */
    (const void *)fault_handler, /* MemManage */
    (const void *)fault_handler, /* BusFault */
    (const void *)fault_handler, /* UsageFault */
    (const void *)fault_handler, /* SecureFault */
    0, 0, 0,
    (const void *)fault_handler, /* SVCall */
    (const void *)fault_handler, /* DebugMonitor */
    0,
    (const void *)fault_handler, /* PendSV */
    (const void *)fault_handler, /* SysTick */
};

/* The MPS2 models accept writes where the board has nothing. Without access below RAM a stack overflow faults, and
   without access to the first kilobyte a null pointer does. (ARMv8-M boards fault by themselves.) */
static void protect(void) {
#if __ARM_ARCH == 7
    MPU_RBAR = 0x10000000u | 0x10u | 0u; /* region 0: 256 MB below RAM, no access */
    MPU_RASR = (27u << 1) | 1u;
    MPU_RBAR = 0x00000000u | 0x10u | 1u; /* region 1: the vector table, which the processor reads all the same */
    MPU_RASR = (9u << 1) | 1u;
    MPU_CTRL = 5u; /* on, with the default map elsewhere; off in fault handlers */
#endif
}

/* The emulator loads .data where it runs from, so that only .bss is left to do. */
void reset_handler(void) {
#if __ARM_ARCH >= 7
    SCB_CPACR |= 0xFu << 20;        /* coprocessors 10 and 11: FPU, and the vector registers of Helium */
    SCB_CCR |= (1u << 4) | (1u << 19); /* trap on division by zero; low-overhead loops (ARMv8.1-M, else ignored) */
#endif
    __asm__ volatile("dsb\n isb" ::: "memory");
    protect();
    __asm__ volatile("dsb\n isb" ::: "memory");
    for (volatile uint32_t *word = __bss_start; word < __bss_end; ++word) *word = 0;
    io_exit(main(0, 0));
}

/* The stack may be what broke: take a fresh one before any C code runs. */
__attribute__((naked, used)) void fault_handler(void) {
    __asm__ volatile("mrs r0, msp\n"
                     "mrs r1, ipsr\n"
                     "ldr r2, =__fault_stack_top\n"
                     "mov sp, r2\n"
                     "ldr r3, =fault_report\n"
                     "bx r3\n"
                     ".ltorg\n");
}

static void print_hex(const char *label, uint32_t value) {
    char text[9];
    for (int digit = 0; digit < 8; ++digit) text[digit] = "0123456789abcdef"[(value >> (28 - 4 * digit)) & 15u];
    text[8] = 0;
    io_print(label);
    io_print(text);
}

void fault_report(const uint32_t *frame, uint32_t exception) {
    static const char *const names[] = {"fault", "fault", "NMI", "HardFault", "MemManage", "BusFault", "UsageFault"};
    io_print("processor fault: ");
    io_print(names[exception < 7u ? exception : 0u]);
#if __ARM_ARCH >= 7
    if (SCB_CFSR & (1u << 25)) io_print(" (division by zero)");
    if (SCB_CFSR & (1u << 24)) io_print(" (unaligned access)");
    if (SCB_CFSR & (1u << 19)) io_print(" (coprocessor or vector unit not usable)");
    if (SCB_CFSR & (1u << 16)) io_print(" (undefined instruction)");
    print_hex(" CFSR=", SCB_CFSR);
    print_hex(" HFSR=", SCB_HFSR);
    if (SCB_CFSR & (1u << 20)) io_print(" (stack limit)");
    if (SCB_CFSR & (1u << 7)) print_hex(" MMFAR=", SCB_MMFAR);
    if (SCB_CFSR & (1u << 15)) print_hex(" BFAR=", SCB_BFAR);
#endif
    if (frame >= __stack_limit && frame + 8 <= __stack_top) {
        print_hex(" PC=", frame[6]);
        print_hex(" LR=", frame[5]);
    } else {
        io_print(" (stack overflow)");
    }
    io_print("\n");
    io_exit(RUNNER_FAULT);
}
