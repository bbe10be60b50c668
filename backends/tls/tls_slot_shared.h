/*
 * tls_slot_shared.h: which OpenSSL context new connections of a listener or a cluster use.
 * Protocol one mutex, held for a pointer and a reference count: the keeper of the files puts a new
 *          context in, loops take a reference to the one that is there. A connection holds what it
 *          began with until it ends.
 */
#ifndef FG_TLS_TLS_SLOT_SHARED_H
#define FG_TLS_TLS_SLOT_SHARED_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdbool.h>

struct fg_tls_slot {
    pthread_mutex_t lock;
    SSL_CTX *current;
};

bool fg_tls_slot_init(struct fg_tls_slot *slot);
void fg_tls_slot_fini(struct fg_tls_slot *slot);

/* Takes over the reference to `next`; lets go of the one before. Any thread. */
void fg_tls_slot_put(struct fg_tls_slot *slot, SSL_CTX *next);

/* A reference of the caller's; NULL before the first put. Any thread. */
SSL_CTX *fg_tls_slot_take(struct fg_tls_slot *slot);

#endif
