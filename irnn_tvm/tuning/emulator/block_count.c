/* A QEMU plugin that counts how often every translation block of the emulated program executes, and logs for each its
   first address, its number of instructions, and that count. A block lies within one function: calls and returns end it.

   Debian ships no header for plugins; the few declarations that are needed follow QEMU's documented plugin interface. */
#include <stddef.h>
#include <stdint.h>

#ifndef PLUGIN_VERSION
#define PLUGIN_VERSION 1
#endif
#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
typedef void (*on_translate)(qemu_plugin_id_t id, struct qemu_plugin_tb *block);
typedef void (*on_execute)(unsigned int cpu, void *userdata);
typedef void (*on_exit)(qemu_plugin_id_t id, void *userdata);
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, on_translate callback);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, on_execute callback,
                                                 enum qemu_plugin_cb_flags flags, void *userdata);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, on_exit callback, void *userdata);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);
extern void qemu_plugin_outs(const char *text);
extern void *malloc(size_t size); /* of the emulator's C library */

EXPORT int qemu_plugin_version = PLUGIN_VERSION;

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

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    (void)info;
    (void)argc;
    (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
