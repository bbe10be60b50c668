/*
 * words.h: bytes taken four and eight at a time, wherever they lie, in the machine's own order.
 * Thread   any; pure.
 * Never    for what leaves the machine: the order differs between machines.
 */
#ifndef FG_BASE_WORDS_H
#define FG_BASE_WORDS_H

#include <stdint.h>
#include <string.h>

static inline uint64_t fg_load_8(const char *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof(word));
    return word;
}

static inline uint64_t fg_load_4(const char *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof(word));
    return word;
}

#endif
