/* Words to phonemes on a microcontroller: both integer libraries in one image, the autoregressive loop in C.

   in.bin:  int32 number of words, then per word one byte with the number of grapheme ids, and the ids as bytes.
   out.bin: per word and decoder step: the phoneme id (one byte), the logits and the new hidden state as they are in
            memory; a word ends with </s> or after MAX_PHONEMES. At the very end: int32 bytes of stack that were used.

   ID_T and LOGIT_T, the types of the ids and of the logits, come from the build. The input and output functions are
   those of irnn_tvm/compiler/firmware: replace them, and this is the program for a product. */
#include "g2p_decoder.h"
#include "g2p_encoder.h"
#include "runner_io.h"

enum { START = 2, END = 3, PHONEMES = 74, HIDDEN = 256, MAX_GRAPHEMES = 64, MAX_PHONEMES = 20 };

#define AT_LEAST_ONE(bytes) ((bytes) > 0 ? (bytes) : 1)
#define LARGER(a, b) ((a) > (b) ? (a) : (b))

/* All the memory that both networks need; the arena is scratch, so that one serves both. */
static _Alignas(16) uint8_t encoder_state[AT_LEAST_ONE(G2P_ENCODER_STATE_BYTES)];
static _Alignas(16) uint8_t decoder_state[AT_LEAST_ONE(G2P_DECODER_STATE_BYTES)];
static _Alignas(16) uint8_t arena[AT_LEAST_ONE(LARGER(G2P_ENCODER_ARENA_BYTES, G2P_DECODER_ARENA_BYTES))];
static _Alignas(16) int16_t hidden[2][HIDDEN];
static _Alignas(16) LOGIT_T logits[PHONEMES];

static void check(int code) {
    if (code != IRNN_OK) {
        io_print("the library returned an error\n");
        io_exit(RUNNER_INIT_FAILED);
    }
}

/* The first of the largest logits, as torch.argmax. */
static ID_T argmax(const LOGIT_T *values) {
    ID_T best = 0;
    for (ID_T index = 1; index < PHONEMES; ++index) {
        if (values[index] > values[best]) best = index;
    }
    return best;
}

static void pronounce(const ID_T *graphemes, int32_t length) {
    check(g2p_encoder_reset(encoder_state));
    check(g2p_encoder_run(encoder_state, arena, length, graphemes, hidden[0]));
    check(g2p_decoder_reset(decoder_state));
    ID_T token = START;
    for (int step = 0; step < MAX_PHONEMES && token != END; ++step) {
        int16_t *const before = hidden[step & 1], *const after = hidden[(step + 1) & 1];
        check(g2p_decoder_step(decoder_state, arena, &token, before, logits, after));
        token = argmax(logits);
        const uint8_t byte = (uint8_t)token;
        io_write(&byte, 1);
        io_write(logits, sizeof logits);
        io_write(after, sizeof hidden[0]);
    }
}

int main(int argc, char **argv) {
    int32_t words;
    io_open(argc, argv);
    uint32_t *const top = io_stack_pointer();
    io_stack_paint(top);
    check(g2p_encoder_init(encoder_state));
    check(g2p_decoder_init(decoder_state));
    io_read(&words, sizeof words);
    for (int32_t word = 0; word < words; ++word) {
        uint8_t length, bytes[MAX_GRAPHEMES];
        ID_T graphemes[MAX_GRAPHEMES];
        io_read(&length, 1);
        if (length == 0 || length > MAX_GRAPHEMES) {
            io_print("a word is empty or too long\n");
            return RUNNER_BAD_FILE;
        }
        io_read(bytes, length);
        for (int32_t index = 0; index < length; ++index) graphemes[index] = bytes[index];
        pronounce(graphemes, length);
    }
    const int32_t stack = io_stack_used(top);
    io_write(&stack, sizeof stack);
    return RUNNER_OK;
}
