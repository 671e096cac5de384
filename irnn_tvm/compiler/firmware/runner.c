/* Runs one library on the operations of in.bin and writes out.bin; see irnn_tvm/runtime/protocol.py for both formats.

   The arena and the outputs are filled with a pattern before every operation and every buffer lies between two red
   zones, so that a library which relies on zeroed memory, or writes where it must not, is found out. */
#include "runner_config.h" /* generated: the library's header, sizes, and calls */
#include "runner_io.h"

#define MAGIC 0x4E525249
#define RED_ZONE 64
#define PATTERN 0xA5

enum { OP_RESET = 0, OP_STEP = 1, OP_RUN = 2, OP_REPEAT_STEP = 3, OP_REPEAT_RUN = 4, OP_SAVE = 5, OP_RESTORE = 6 };

typedef struct {
    uint8_t *data;
    size_t bytes;
    uint32_t digest; /* of an input: it must not change */
} buffer_t;

static void fill(uint8_t *data, size_t bytes, uint8_t value) {
    for (size_t i = 0; i < bytes; ++i) data[i] = value;
}

static uint32_t digest(const uint8_t *data, size_t bytes) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < bytes; ++i) hash = (hash ^ data[i]) * 16777619u;
    return hash;
}

/* The red zone of the low side follows the padding that keeps data 16-byte aligned: RED_ZONE is a multiple of 16. */
static buffer_t buffer_new(size_t bytes) {
    uint8_t *block = io_alloc(bytes + 2 * RED_ZONE);
    const buffer_t buffer = {block + RED_ZONE, bytes, 0};
    fill(block, bytes + 2 * RED_ZONE, PATTERN);
    return buffer;
}

static void fail_bounds(const char *kind, const char *what) {
    io_print("the library wrote ");
    io_print(what);
    io_print(kind);
    io_print("\n");
    io_exit(RUNNER_OUT_OF_BOUNDS);
}

static void fail_init(int32_t code) {
    const char digit[] = {(char)('0' + -code % 10), '\n', 0}; /* codes are -1 to -9 */
    io_print("init: code -");
    io_print(digit);
    io_exit(RUNNER_INIT_FAILED);
}

static void check_zones(const buffer_t *buffer, const char *kind) {
    for (size_t i = 0; i < RED_ZONE; ++i) {
        if (buffer->data[-1 - (ptrdiff_t)i] != PATTERN) fail_bounds(kind, "before the start of ");
        if (buffer->data[buffer->bytes + i] != PATTERN) fail_bounds(kind, "past the end of ");
    }
}

static int32_t read_int(void) {
    int32_t value;
    io_read(&value, sizeof value);
    return value;
}

static inline __attribute__((always_inline)) int32_t
call(int32_t opcode, int32_t length, uint8_t *state, uint8_t *arena, void *const *io) {
    if (opcode == OP_RESET) return library_reset(state);
    if (opcode == OP_STEP) return library_step(state, arena, io);
    return library_run(state, arena, length, io);
}

static int32_t deepest; /* use of the stack by one call so far; -1: more than is painted */

/* Paints all of the stack below this function's own part of it, and looks how much of that the call has changed. */
static __attribute__((noinline)) int32_t
measured_call(int32_t opcode, int32_t length, uint8_t *state, uint8_t *arena, void *const *io) {
    uint32_t *const top = io_stack_pointer();
    io_stack_paint(top);
    const int32_t code = call(opcode, length, state, arena, io), used = io_stack_used(top);
    deepest = used < 0 || deepest < 0 ? -1 : used > deepest ? used : deepest;
    return code;
}

static void operate(buffer_t *state, buffer_t *arena, int32_t opcode, int32_t length, int32_t repeats) {
    buffer_t buffers[TENSOR_COUNT + 1];
    void *io[TENSOR_COUNT + 1];
    int32_t code = 0;
    const size_t mark = io_mark();
    const int tensors = opcode == OP_RESET ? 0 : TENSOR_COUNT;
    for (int i = 0; i < tensors; ++i) {
        const int64_t bytes = tensor_bytes(i, length);
        buffers[i] = buffer_new(bytes > 0 ? (size_t)bytes : 0u);
        io[i] = buffers[i].data;
        if (i < INPUT_COUNT) {
            io_read(buffers[i].data, buffers[i].bytes);
            buffers[i].digest = digest(buffers[i].data, buffers[i].bytes);
        }
    }
    fill(arena->data, arena->bytes, PATTERN);

    /* Only the first of several is measured: repetitions are there to count instructions. */
    if (repeats > 0) code = measured_call(opcode, length, state->data, arena->data, io);
    for (int32_t i = 1; i < repeats && code == 0; ++i) code = call(opcode, length, state->data, arena->data, io);

    check_zones(state, "the state");
    check_zones(arena, "the arena");
    for (int i = 0; i < tensors; ++i) {
        check_zones(&buffers[i], tensor_name(i));
        if (i < INPUT_COUNT && digest(buffers[i].data, buffers[i].bytes) != buffers[i].digest)
            fail_bounds(tensor_name(i), "into ");
    }
    io_write(&code, sizeof code);
    for (int i = INPUT_COUNT; code == 0 && i < tensors; ++i) io_write(buffers[i].data, buffers[i].bytes);
    io_release(mark);
}

/* A snapshot goes out or comes in. */
static void transfer_state(buffer_t *state, int saving) {
    const size_t mark = io_mark();
    buffer_t snapshot = buffer_new(LIBRARY_SNAPSHOT_BYTES);
    int32_t code;
    if (!saving) io_read(snapshot.data, snapshot.bytes);
    code = saving ? library_save(state->data, snapshot.data) : library_restore(state->data, snapshot.data);
    check_zones(state, "the state");
    check_zones(&snapshot, "the snapshot");
    io_write(&code, sizeof code);
    if (saving && code == 0) io_write(snapshot.data, snapshot.bytes);
    io_release(mark);
}

int main(int argc, char **argv) {
    io_open(argc, argv);
    if (read_int() != MAGIC) {
        io_print("in.bin has a wrong magic number\n");
        io_exit(RUNNER_BAD_FILE);
    }
    const int32_t operations = read_int(), has_state = read_int(), magic = MAGIC;
    buffer_t state = buffer_new(LIBRARY_STATE_BYTES), arena = buffer_new(LIBRARY_ARENA_BYTES);
    io_write(&magic, sizeof magic);
    if (has_state) {
        io_read(state.data, state.bytes);
    } else {
        const int32_t code = library_init(state.data);
        if (code != 0) fail_init(code);
    }
    check_zones(&state, "the state");
    for (int32_t i = 0; i < operations; ++i) {
        const int32_t opcode = read_int(), length = read_int();
        if (opcode < OP_RESET || opcode > OP_RESTORE) {
            io_print("in.bin holds an unknown operation\n");
            io_exit(RUNNER_BAD_FILE);
        }
        if (opcode >= OP_SAVE) {
            transfer_state(&state, opcode == OP_SAVE);
            continue;
        }
        const int repeated = opcode >= OP_REPEAT_STEP;
        operate(&state, &arena, repeated ? opcode - 2 : opcode, length, repeated ? read_int() : 1);
    }
    io_write(state.data, state.bytes);
    io_write(&deepest, sizeof deepest);
    io_exit(RUNNER_OK);
}
