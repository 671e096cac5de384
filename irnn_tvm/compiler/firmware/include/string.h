/* The four functions of <string.h> that a freestanding program may call; zig's compiler-rt defines them. */
#ifndef IRNN_STRING_H
#define IRNN_STRING_H
#include <stddef.h>

void *memcpy(void *restrict destination, const void *restrict source, size_t count);
void *memmove(void *destination, const void *source, size_t count);
void *memset(void *destination, int value, size_t count);
int memcmp(const void *left, const void *right, size_t count);

#endif
