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
    bool is_set;
    bool is_derived; /* keys[] are of `epoch` */
    unsigned char secret[32];
    uint64_t epoch;
    struct fg_ticket_key keys[EPOCHS];
};

struct fg_ticket_keys {
    pthread_mutex_t lock;
    uint64_t rotate_s;
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

void fg_ticket_keys_set_secret(struct fg_ticket_keys *keys, const void *secret, size_t len)
{
    unsigned char digest[32];
    unsigned digest_len = sizeof(digest);
    assert(len >= FG_TICKET_SECRET_BYTES_MIN);
    if (EVP_Digest(secret, len, digest, &digest_len, EVP_sha256(), NULL) != 1)
        return;
    pthread_mutex_lock(&keys->lock);
    struct ring *ring = &keys->rings[0];
    if (!ring->is_set || CRYPTO_memcmp(ring->secret, digest, sizeof(digest)) != 0) {
        keys->rings[1] = *ring;
        *ring = (struct ring){.is_set = true};
        memcpy(ring->secret, digest, sizeof(digest));
    }
    pthread_mutex_unlock(&keys->lock);
    OPENSSL_cleanse(digest, sizeof(digest));
}

static bool derive_part(const struct ring *ring, uint64_t epoch, char part, unsigned char out[32])
{
    unsigned char text[32] = "floodgate ticket ";
    unsigned len = 32;
    text[17] = (unsigned char)part;
    for (unsigned i = 0; i < 8; i++)
        text[18 + i] = (unsigned char)(epoch >> (56 - 8 * i));
    return HMAC(EVP_sha256(), ring->secret, sizeof(ring->secret), text, 26, out, &len) != NULL;
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
    if (!ring->is_set)
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
