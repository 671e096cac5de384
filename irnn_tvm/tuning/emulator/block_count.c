/* A QEMU plugin that counts how often every translation block of the emulated program executes, and logs for each its
   first address, its number of instructions, and that count. A block lies within one function: calls and returns end it. */
#include "qemu_plugin.h"

extern void *malloc(size_t size); /* of the emulator's C library */

/* A block that is translated again gets a record of its own. */
typedef struct record {
    struct record *next;
    uint64_t address, instructions, executed;
} record_t;

static record_t *records;
static int failed;

static void execute(unsigned int cpu, void *userdata) {
    (void)cpu;
    ++((record_t *)userdata)->executed;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    record_t *record = malloc(sizeof *record);
    (void)id;
    if (record == NULL) {
        failed = 1;
        return;
    }
    record->next = records;
    record->address = qemu_plugin_tb_vaddr(block);
    record->instructions = qemu_plugin_tb_n_insns(block);
    record->executed = 0;
    records = record;
    qemu_plugin_register_vcpu_tb_exec_cb(block, execute, QEMU_PLUGIN_CB_NO_REGS, record);
}

/* Writes the decimal digits of a number before `end`, and returns where they start. */
static char *decimal(uint64_t value, char *end) {
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    return end;
}

static void finish(qemu_plugin_id_t id, void *userdata) {
    char line[80];
    (void)id;
    (void)userdata;
    for (const record_t *record = records; record != NULL && !failed; record = record->next) {
        char *at = line + sizeof line;
        if (record->executed == 0) continue;
        *--at = '\0';
        *--at = '\n';
        at = decimal(record->executed, at);
        *--at = ' ';
        at = decimal(record->instructions, at);
        *--at = ' ';
        at = decimal(record->address, at);
        *--at = ' ';
        *--at = ':';
        *--at = 'k';
        qemu_plugin_outs(at);
    }
    qemu_plugin_outs(failed ? "blocks: out of memory\n" : "blocks: complete\n");
}
