/*
 * tls_slot_shared.c: see tls_slot_shared.h.
 */
#include "tls/tls_slot_shared.h"

#include <assert.h>

bool fg_tls_slot_init(struct fg_tls_slot *slot)
{
    slot->current = NULL;
    return pthread_mutex_init(&slot->lock, NULL) == 0;
}

void fg_tls_slot_fini(struct fg_tls_slot *slot)
{
    SSL_CTX_free(slot->current);
    slot->current = NULL;
    pthread_mutex_destroy(&slot->lock);
}

void fg_tls_slot_put(struct fg_tls_slot *slot, SSL_CTX *next)
{
    pthread_mutex_lock(&slot->lock);
    SSL_CTX *before = slot->current;
    slot->current = next;
    pthread_mutex_unlock(&slot->lock);
    SSL_CTX_free(before);
}

SSL_CTX *fg_tls_slot_take(struct fg_tls_slot *slot)
{
    pthread_mutex_lock(&slot->lock);
    SSL_CTX *current = slot->current;
    if (current != NULL) {
        int is_counted = SSL_CTX_up_ref(current);
        assert(is_counted == 1);
    }
    pthread_mutex_unlock(&slot->lock);
    return current;
}
