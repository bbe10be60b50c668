/*
 * ticket_keys_shared.c: see ticket_keys_shared.h.
 *
 *    rings[0]  of the secret set last:     epoch - 1, epoch, epoch + 1
 *    rings[1]  of the one before it:       the same
 */
#include "net/ticket_keys_shared.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define EPOCHS 3
#define CURRENT 1

struct ring {
    struct fg_ticket_digest secret;
    bool is_derived; /* keys[] are of `epoch` */
    uint64_t epoch;
    struct fg_ticket_key keys[EPOCHS];
};

struct fg_ticket_keys {
    pthread_mutex_t lock;
    uint64_t rotate_s;
    struct fg_ticket_memory *memory; /* NULL: what it knows dies with it */
    struct ring rings[2];
};

struct fg_ticket_keys *fg_ticket_keys_create(uint64_t rotate_s)
{
    assert(rotate_s > 0);
    struct fg_ticket_keys *keys = calloc(1, sizeof(*keys));
    if (keys == NULL || pthread_mutex_init(&keys->lock, NULL) != 0) {
        free(keys);
        return NULL;
    }
    keys->rotate_s = rotate_s;
    return keys;
}

void fg_ticket_keys_destroy(struct fg_ticket_keys *keys)
{
    if (keys == NULL)
        return;
    pthread_mutex_destroy(&keys->lock);
    OPENSSL_cleanse(keys, sizeof(*keys));
    free(keys);
}

/* Under the lock. */
static void leave_to_next(const struct fg_ticket_keys *keys)
{
    struct fg_ticket_digest digests[2] = {keys->rings[0].secret, keys->rings[1].secret};
    if (keys->memory != NULL)
        fg_ticket_memory_write(keys->memory, digests);
    OPENSSL_cleanse(digests, sizeof(digests));
}

void fg_ticket_keys_set_secret(struct fg_ticket_keys *keys, const void *secret, size_t len)
{
    struct fg_ticket_digest digest = {.is_set = true};
    unsigned digest_len = sizeof(digest.bytes);
    assert(len >= FG_TICKET_SECRET_BYTES_MIN);
    if (EVP_Digest(secret, len, digest.bytes, &digest_len, EVP_sha256(), NULL) != 1)
        return;
    pthread_mutex_lock(&keys->lock);
    struct ring *ring = &keys->rings[0];
    if (!ring->secret.is_set ||
        CRYPTO_memcmp(ring->secret.bytes, digest.bytes, sizeof(digest.bytes)) != 0) {
        keys->rings[1] = *ring;
        *ring = (struct ring){.secret = digest};
        leave_to_next(keys);
    }
    pthread_mutex_unlock(&keys->lock);
    OPENSSL_cleanse(&digest, sizeof(digest));
}

void fg_ticket_keys_keep(struct fg_ticket_keys *keys, struct fg_ticket_memory *memory)
{
    struct fg_ticket_digest digests[2];
    fg_ticket_memory_read(memory, digests);
    pthread_mutex_lock(&keys->lock);
    keys->memory = memory;
    for (unsigned r = 0; r < 2; r++)
        keys->rings[r] = (struct ring){.secret = digests[r]};
    pthread_mutex_unlock(&keys->lock);
    OPENSSL_cleanse(digests, sizeof(digests));
}

bool fg_ticket_keys_are_set(struct fg_ticket_keys *keys)
{
    pthread_mutex_lock(&keys->lock);
    bool are_set = keys->rings[0].secret.is_set;
    pthread_mutex_unlock(&keys->lock);
    return are_set;
}

static bool derive_part(const struct ring *ring, uint64_t epoch, char part, unsigned char out[32])
{
    unsigned char text[32] = "floodgate ticket ";
    unsigned len = 32;
    text[17] = (unsigned char)part;
    for (unsigned i = 0; i < 8; i++)
        text[18 + i] = (unsigned char)(epoch >> (56 - 8 * i));
    return HMAC(EVP_sha256(), ring->secret.bytes, sizeof(ring->secret.bytes), text, 26, out,
                &len) != NULL;
}

static bool derive_key(const struct ring *ring, uint64_t epoch, struct fg_ticket_key *key)
{
    unsigned char name[32];
    if (!derive_part(ring, epoch, 'n', name) || !derive_part(ring, epoch, 'c', key->cipher) ||
        !derive_part(ring, epoch, 'm', key->mac))
        return false;
    memcpy(key->name, name, sizeof(key->name));
    return true;
}

/* The ring has the keys of this moment; false: it has none. Under the lock. */
static bool bring_up(const struct fg_ticket_keys *keys, struct ring *ring, uint64_t now_s)
{
    uint64_t epoch = now_s / keys->rotate_s;
    if (!ring->secret.is_set)
        return false;
    if (ring->is_derived && ring->epoch == epoch)
        return true;
    ring->is_derived = true;
    ring->epoch = epoch;
    for (uint64_t i = 0; i < EPOCHS; i++)
        ring->is_derived =
            ring->is_derived && derive_key(ring, epoch + i - CURRENT, &ring->keys[i]);
    return ring->is_derived;
}

bool fg_ticket_keys_current(struct fg_ticket_keys *keys, uint64_t now_s, struct fg_ticket_key *key)
{
    pthread_mutex_lock(&keys->lock);
    bool is_there = bring_up(keys, &keys->rings[0], now_s);
    if (is_there)
        *key = keys->rings[0].keys[CURRENT];
    pthread_mutex_unlock(&keys->lock);
    return is_there;
}

enum fg_ticket_key_age fg_ticket_keys_find(struct fg_ticket_keys *keys, uint64_t now_s,
                                           const unsigned char name[FG_TICKET_NAME_BYTES],
                                           struct fg_ticket_key *key)
{
    enum fg_ticket_key_age age = FG_TICKET_KEY_UNKNOWN;
    pthread_mutex_lock(&keys->lock);
    for (unsigned r = 0; r < 2; r++) {
        if (!bring_up(keys, &keys->rings[r], now_s))
            continue;
        for (unsigned i = 0; i < EPOCHS; i++) {
            if (memcmp(keys->rings[r].keys[i].name, name, FG_TICKET_NAME_BYTES) != 0)
                continue;
            *key = keys->rings[r].keys[i];
            age = r == 0 && i >= CURRENT ? FG_TICKET_KEY_CURRENT : FG_TICKET_KEY_OLD;
        }
    }
    pthread_mutex_unlock(&keys->lock);
    return age;
}
