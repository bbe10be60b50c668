/*
 * key_store_shared.c: see key_store_shared.h.
 */
#include "key_store_shared.h"

#include "base/log.h"
#include "config/secret_file.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SECRET_BYTES_MIN 32

struct fg_key_store {
    const struct fg_identity_conf *conf;
    pthread_mutex_t lock;
    struct fg_key_ring *current;
    _Atomic uint64_t generation;
};

static void destroy_ring(const struct fg_identity_conf *conf, struct fg_key_ring *ring)
{
    if (ring == NULL)
        return;
    for (size_t i = 0; ring->issuers != NULL && i < conf->issuer_count; i++)
        fg_key_set_fini(&ring->issuers[i]);
    if (ring->signers != NULL)
        explicit_bzero(ring->signers, conf->signing_key_count * sizeof(*ring->signers));
    free(ring->issuers);
    free(ring->signers);
    free(ring);
}

static enum fg_status load_ring(const struct fg_identity_conf *conf, struct fg_key_ring *ring,
                                struct fg_error *error)
{
    char why[192];
    for (size_t i = 0; i < conf->issuer_count; i++) {
        const struct fg_issuer_conf *issuer = &conf->issuers[i];
        if (!fg_key_set_load(&ring->issuers[i], issuer->keys_file, issuer->algorithm, why,
                             sizeof(why)))
            return fg_error_set(error, "identity.issuers: issuer %s: cannot use %s: %s",
                                issuer->issuer, issuer->keys_file, why);
    }
    for (size_t i = 0; i < conf->signing_key_count; i++) {
        const struct fg_signing_key_conf *key = &conf->signing_keys[i];
        struct fg_signing_secret *secret = &ring->signers[i];
        secret->len = fg_secret_file_load(key->secret_file, SECRET_BYTES_MIN, secret->bytes,
                                          sizeof(secret->bytes), why, sizeof(why));
        if (secret->len == 0)
            return fg_error_set(error, "identity.signatures: key %s: cannot use %s: %s", key->id,
                                key->secret_file, why);
    }
    return FG_OK;
}

static struct fg_key_ring *make_ring(const struct fg_identity_conf *conf, struct fg_error *error)
{
    struct fg_key_ring *ring = calloc(1, sizeof(*ring));
    fg_error_set(error, "identity: out of memory");
    if (ring == NULL)
        return NULL;
    ring->issuers = calloc(conf->issuer_count + 1, sizeof(*ring->issuers));
    ring->signers = calloc(conf->signing_key_count + 1, sizeof(*ring->signers));
    if (ring->issuers != NULL && ring->signers != NULL && load_ring(conf, ring, error) == FG_OK)
        return ring;
    destroy_ring(conf, ring);
    return NULL;
}

/* One reference less; under the lock. */
static void let_go(struct fg_key_store *store, struct fg_key_ring *ring)
{
    assert(ring->references > 0);
    if (--ring->references == 0)
        destroy_ring(store->conf, ring);
}

/* Only of what is taken up: what fails is tried again and again. */
static void tell_left_out(const struct fg_identity_conf *conf, const struct fg_key_ring *ring)
{
    for (size_t i = 0; i < conf->issuer_count; i++) {
        if (ring->issuers[i].left_out[0] != '\0')
            fg_log(FG_LOG_WARN, "identity_key_left_out", "issuer=\"%s\" file=\"%s\" reason=\"%s\"",
                   conf->issuers[i].issuer, conf->issuers[i].keys_file, ring->issuers[i].left_out);
    }
}

enum fg_status fg_key_store_reload(struct fg_key_store *store, struct fg_error *error)
{
    struct fg_key_ring *ring = make_ring(store->conf, error);
    if (ring == NULL)
        return FG_ERR_CONFIG;
    tell_left_out(store->conf, ring);
    pthread_mutex_lock(&store->lock);
    struct fg_key_ring *before = store->current;
    ring->generation = before == NULL ? 1 : before->generation + 1;
    ring->references = 1;
    store->current = ring;
    atomic_store_explicit(&store->generation, ring->generation, memory_order_relaxed);
    if (before != NULL)
        let_go(store, before);
    pthread_mutex_unlock(&store->lock);
    return FG_OK;
}

struct fg_key_store *fg_key_store_create(const struct fg_identity_conf *conf,
                                         struct fg_error *error)
{
    struct fg_key_store *store = calloc(1, sizeof(*store));
    if (store == NULL || pthread_mutex_init(&store->lock, NULL) != 0) {
        free(store);
        fg_error_set(error, "identity: out of memory");
        return NULL;
    }
    store->conf = conf;
    if (fg_key_store_reload(store, error) == FG_OK)
        return store;
    fg_key_store_destroy(store);
    return NULL;
}

void fg_key_store_destroy(struct fg_key_store *store)
{
    if (store == NULL)
        return;
    assert(store->current == NULL || store->current->references == 1);
    destroy_ring(store->conf, store->current);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

const struct fg_key_ring *fg_key_store_take(struct fg_key_store *store)
{
    pthread_mutex_lock(&store->lock);
    struct fg_key_ring *ring = store->current;
    ring->references++;
    pthread_mutex_unlock(&store->lock);
    return ring;
}

void fg_key_store_release(struct fg_key_store *store, const struct fg_key_ring *ring)
{
    if (ring == NULL)
        return;
    pthread_mutex_lock(&store->lock);
    let_go(store, (struct fg_key_ring *)(uintptr_t)ring); /* ours: only readers see it as const */
    pthread_mutex_unlock(&store->lock);
}

bool fg_key_store_is_current(struct fg_key_store *store, const struct fg_key_ring *ring)
{
    return atomic_load_explicit(&store->generation, memory_order_relaxed) == ring->generation;
}
