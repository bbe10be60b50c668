/*
 * worker_deferred.h: submissions that wait until the worker does nothing else.
 * Job      keep the bytes of a SUBMIT in the order of arrival, and forget it when it is cancelled.
 * Thread   the worker's loop.
 * Memory   a copy of each payload; the owner bounds their sum.
 */
#ifndef FG_INFERENCE_WORKER_DEFERRED_H
#define FG_INFERENCE_WORKER_DEFERRED_H

#include "base/list.h"
#include "base/span.h"
#include "inference/scheduler/scheduler.h"

struct fg_worker_deferred {
    struct fg_list link; /* of the owner's */
    struct fg_scheduler_key key;
    uint64_t until_ns; /* how long to wait for what is not known of its last worker */
    size_t payload_bytes;
    char payload[];
};

/* NULL when memory is short. In no list yet. */
struct fg_worker_deferred *fg_worker_deferred_create(const struct fg_scheduler_key *key,
                                                     struct fg_span payload, uint64_t until_ns);
/* Takes it out of its list. */
void fg_worker_deferred_destroy(struct fg_worker_deferred *deferred);

/* Those of the connection (and, unless request_id is NULL, of that id alone) are forgotten; returns
 * the bytes of their payloads. */
size_t fg_worker_deferred_forget(struct fg_list *list, uint64_t connection,
                                 const uint64_t *request_id);

#endif
