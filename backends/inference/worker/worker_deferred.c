/*
 * worker_deferred.c: see worker_deferred.h.
 * Thread   the worker's loop.
 */
#include "inference/worker/worker_deferred.h"

#include <stdlib.h>
#include <string.h>

struct fg_worker_deferred *fg_worker_deferred_create(const struct fg_scheduler_key *key,
                                                     struct fg_span payload, uint64_t until_ns)
{
    struct fg_worker_deferred *deferred = malloc(sizeof(*deferred) + payload.len);
    if (deferred == NULL)
        return NULL;
    fg_list_init(&deferred->link);
    deferred->key = *key;
    deferred->until_ns = until_ns;
    deferred->payload_bytes = payload.len;
    if (payload.len > 0)
        memcpy(deferred->payload, payload.data, payload.len);
    return deferred;
}

void fg_worker_deferred_destroy(struct fg_worker_deferred *deferred)
{
    fg_list_remove(&deferred->link);
    free(deferred);
}

size_t fg_worker_deferred_forget(struct fg_list *list, uint64_t connection,
                                 const uint64_t *request_id)
{
    size_t bytes = 0;
    FG_LIST_EACH_SAFE(it, after, list)
    {
        struct fg_worker_deferred *deferred = FG_CONTAINER_OF(it, struct fg_worker_deferred, link);
        if (deferred->key.connection != connection ||
            (request_id != NULL && deferred->key.request_id != *request_id))
            continue;
        bytes += deferred->payload_bytes;
        fg_worker_deferred_destroy(deferred);
    }
    return bytes;
}
