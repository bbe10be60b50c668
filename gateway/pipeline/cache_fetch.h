/*
 * cache_fetch.h: a fetch of the cache's own: it belongs to no client, so that none can end it.
 *
 *    stage_cache --start--> fetch: a request of its own, through queue, breaker and backend
 *                             `--> stream --> the readers;  and, whole, --> the store
 *
 * Thread   the loop that started it.
 * Memory   one heap object with an arena of limits.request_memory_max; the bytes are the stream's.
 */
#ifndef FG_PIPELINE_CACHE_FETCH_H
#define FG_PIPELINE_CACHE_FETCH_H

#include "flow.h"

struct fg_cache_fetch;

/*
 * Fetch what `by` asks for. Takes over the caller's reference to `stream`. `stale` (may be NULL) is
 * revalidated: the fetch takes its own reference. `round`: fetches that failed before for the same
 * waiters. Never calls back into `by`.
 */
void fg_cache_fetch_start(struct fg_flow *by, const struct fg_cache_ask *ask,
                          struct fg_cache_stream *stream, struct fg_cache_object *stale,
                          unsigned round);

/* Instead of an answer; from answer.c, for a flow that is a fetch. */
void fg_cache_fetch_failed(struct fg_cache_fetch *fetch, const struct fg_refusal *refusal,
                           const char *code);

/* The loop ends: all of its fetches do. */
void fg_cache_fetch_cancel_all(struct fg_pipeline_thread *thread);

/* The operator's and the route's rules, at the present pressure. */
struct fg_cache_rules fg_cache_rules_of(const struct fg_pipeline *pipeline,
                                        const struct fg_route_conf *route);

#endif
