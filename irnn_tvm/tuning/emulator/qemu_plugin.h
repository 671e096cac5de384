/* Debian ships no header for plugins of QEMU; these are the few declarations that are needed, after QEMU's documented plugin
   interface. One file of a plugin includes it. */
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

EXPORT int qemu_plugin_version = PLUGIN_VERSION;

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block);
static void finish(qemu_plugin_id_t id, void *userdata);

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    (void)info;
    (void)argc;
    (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
