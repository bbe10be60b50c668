/*
 * key_store_shared.h: the keys of other issuers and of signers, as they are in their files now.
 * Protocol the main thread reads the files and puts a whole new ring in; loops hold a reference to
 *          the ring they use and look once a request whether its generation is still the present
 *          one (an atomic, relaxed: a request that is a moment late is a request of that moment).
 *          References are counted under one mutex, which loops take once a reload.
 * Memory   one ring, two while loops change over.
 */
#ifndef FG_PIPELINE_KEY_STORE_SHARED_H
#define FG_PIPELINE_KEY_STORE_SHARED_H

#include "base/status.h"
#include "config/config.h"
#include "config/key_set.h"

#define FG_SIGNING_SECRET_BYTES_MAX 4096

struct fg_signing_secret {
    unsigned char bytes[FG_SIGNING_SECRET_BYTES_MAX];
    size_t len;
};

/* Read-only while anybody holds it. */
struct fg_key_ring {
    uint64_t generation;               /* from 1 */
    struct fg_key_set *issuers;        /* in the order of identity.issuers */
    struct fg_signing_secret *signers; /* in the order of identity.signing_keys */
    size_t references;
};

struct fg_key_store;

/* Reads all files; NULL with `error`. */
struct fg_key_store *fg_key_store_create(const struct fg_identity_conf *conf,
                                         struct fg_error *error);
/* Nobody holds a ring. */
void fg_key_store_destroy(struct fg_key_store *store);

/* Reads all files anew; on failure the ring that is there stays. The main thread. */
enum fg_status fg_key_store_reload(struct fg_key_store *store, struct fg_error *error);

/* The present ring, held until it is released. Any thread. */
const struct fg_key_ring *fg_key_store_take(struct fg_key_store *store);
void fg_key_store_release(struct fg_key_store *store, const struct fg_key_ring *ring);
/* Is there a newer one? Any thread, at any time. */
bool fg_key_store_is_current(struct fg_key_store *store, const struct fg_key_ring *ring);

#endif
