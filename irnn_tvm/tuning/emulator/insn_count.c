/* A QEMU plugin that counts the instructions that the emulated program executes, and logs the number at the end.

   Whole translation blocks are counted when they start: they run to their end unless the program faults, and a program
   that faults is not measured. */
#include "qemu_plugin.h"

static uint64_t executed;

static void execute(unsigned int cpu, void *userdata) {
    (void)cpu;
    executed += (uintptr_t)userdata;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(block, execute, QEMU_PLUGIN_CB_NO_REGS,
                                         (void *)(uintptr_t)qemu_plugin_tb_n_insns(block));
}

static void finish(qemu_plugin_id_t id, void *userdata) {
    char text[] = "instructions: 00000000000000000000\n";
    char *digit = text + sizeof text - 2;
    (void)id;
    (void)userdata;
    for (uint64_t rest = executed; rest != 0; rest /= 10) *--digit = (char)('0' + rest % 10);
    qemu_plugin_outs(text);
}
