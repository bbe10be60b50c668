/*
 * siphash.c: SipHash-2-4 with a 64-bit or a 128-bit tag.
 * Job      hash what a client chose (user id, address) so that it cannot choose the hash.
 * Thread   any; pure functions.
 * Never    reads beyond `len`; needs no alignment.
 * Source   Aumasson, Bernstein: "SipHash: a fast short-input PRF" (INDOCRYPT 2012); the 128-bit
 * form is that of the authors' reference (v1 ^= 0xee, final 0xee/0xdd). Same result on any byte
 *          order: words are put together byte by byte.
 */
#include "policies/siphash.h"

#include <assert.h>

struct sip_state {
    uint64_t v0;
    uint64_t v1;
    uint64_t v2;
    uint64_t v3;
};

static uint64_t rotate_left(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static uint64_t read_little_endian(const uint8_t *bytes, size_t count)
{
    uint64_t word = 0;
    for (size_t i = 0; i < count; i++)
        word |= (uint64_t)bytes[i] << (8 * i);
    return word;
}

static void sip_rounds(struct sip_state *s, int count)
{
    for (int i = 0; i < count; i++) {
        s->v0 += s->v1;
        s->v2 += s->v3;
        s->v1 = rotate_left(s->v1, 13) ^ s->v0;
        s->v3 = rotate_left(s->v3, 16) ^ s->v2;
        s->v0 = rotate_left(s->v0, 32);
        s->v2 += s->v1;
        s->v0 += s->v3;
        s->v1 = rotate_left(s->v1, 17) ^ s->v2;
        s->v3 = rotate_left(s->v3, 21) ^ s->v0;
        s->v2 = rotate_left(s->v2, 32);
    }
}

static void sip_word(struct sip_state *s, uint64_t word)
{
    s->v3 ^= word;
    sip_rounds(s, 2);
    s->v0 ^= word;
}

static struct sip_state sip_begin(const struct fg_siphash_key *key)
{
    /* "somepseudorandomlygeneratedbytes" */
    return (struct sip_state){
        .v0 = key->k0 ^ UINT64_C(0x736f6d6570736575),
        .v1 = key->k1 ^ UINT64_C(0x646f72616e646f6d),
        .v2 = key->k0 ^ UINT64_C(0x6c7967656e657261),
        .v3 = key->k1 ^ UINT64_C(0x7465646279746573),
    };
}

static void sip_message(struct sip_state *s, const uint8_t *bytes, size_t len)
{
    size_t whole = len - len % 8;
    for (size_t i = 0; i < whole; i += 8)
        sip_word(s, read_little_endian(bytes + i, 8));
    uint64_t last = (uint64_t)len << 56;
    if (len > whole)
        last |= read_little_endian(bytes + whole, len - whole);
    sip_word(s, last);
}

static uint64_t sip_tag(const struct sip_state *s)
{
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

struct fg_siphash_key fg_siphash_key_from_bytes(const uint8_t bytes[16])
{
    return (struct fg_siphash_key){
        .k0 = read_little_endian(bytes, 8),
        .k1 = read_little_endian(bytes + 8, 8),
    };
}

uint64_t fg_siphash(const struct fg_siphash_key *key, const void *data, size_t len)
{
    assert(data != NULL || len == 0);
    struct sip_state s = sip_begin(key);
    sip_message(&s, data, len);
    s.v2 ^= 0xff;
    sip_rounds(&s, 4);
    return sip_tag(&s);
}

void fg_siphash_128(const struct fg_siphash_key *key, const void *data, size_t len, uint64_t *hi,
                    uint64_t *lo)
{
    assert(data != NULL || len == 0);
    struct sip_state s = sip_begin(key);
    s.v1 ^= 0xee;
    sip_message(&s, data, len);
    s.v2 ^= 0xee;
    sip_rounds(&s, 4);
    *lo = sip_tag(&s);
    s.v1 ^= 0xdd;
    sip_rounds(&s, 4);
    *hi = sip_tag(&s);
}
