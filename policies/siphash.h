/*
 * siphash.h: SipHash-2-4, a keyed hash that a client cannot steer without the key.
 * Thread   any; pure functions.
 */
#ifndef FG_POLICIES_SIPHASH_H
#define FG_POLICIES_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

/* 128 secret bits; make them at start from the system's random source. */
struct fg_siphash_key {
    uint64_t k0;
    uint64_t k1;
};

/* Reads 16 bytes, little-endian, as the reference does. */
struct fg_siphash_key fg_siphash_key_from_bytes(const uint8_t bytes[16]);

/* 64-bit tag of `len` bytes; `data` may be NULL when `len` is 0. */
uint64_t fg_siphash(const struct fg_siphash_key *key, const void *data, size_t len);

/* 128-bit tag, for keys of the limit table. `*lo` is the first eight bytes of the reference output.
 */
void fg_siphash_128(const struct fg_siphash_key *key, const void *data, size_t len, uint64_t *hi,
                    uint64_t *lo);

#endif
