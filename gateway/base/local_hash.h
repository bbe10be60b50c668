/*
 * local_hash.h: a hash for tables in memory, sixteen bytes at a time.
 * Thread   any; pure.
 * Never    seen from outside: its values differ between machines and versions. What others see, or
 *          must agree about, is fg_span_hash's.
 * Source   wyhash (Wang Yi). Both sides of every product depend on the seed: where that is secret,
 *          nobody can tell which keys collide.
 */
#ifndef FG_BASE_LOCAL_HASH_H
#define FG_BASE_LOCAL_HASH_H

#include "base/span.h"
#include "base/words.h"

static inline uint64_t fg_local_fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t fg_local_hash(struct fg_span span, uint64_t seed)
{
    const uint64_t key = fg_local_fold(seed ^ 0xa0761d6478bd642fu, 0xe7037ed1a0b428dbu);
    const char *at = span.data;
    uint64_t hash = key ^ 0x8ebc6af09c88c6e3u;
    uint64_t first = 0, last = 0;
    size_t len = span.len;
    for (; len > 16; at += 16, len -= 16)
        hash = fg_local_fold(fg_load_8(at) ^ key, fg_load_8(at + 8) ^ hash);
    if (len >= 8) {
        first = fg_load_8(at);
        last = fg_load_8(at + len - 8);
    } else if (len >= 4) {
        first = fg_load_4(at);
        last = fg_load_4(at + len - 4);
    } else if (len > 0) {
        const unsigned char *bytes = (const unsigned char *)at;
        first = (uint64_t)bytes[0] << 16 | (uint64_t)bytes[len / 2] << 8 | bytes[len - 1];
    }
    return fg_local_fold(key ^ span.len, fg_local_fold(first ^ key, last ^ hash));
}

#endif
