/*
 * pipeline.h: what every request goes through, from its head to its log line.
 *
 *    route -> identity -> overload -> waiting room -> rate limit -> cache
 *          -> concurrency + queue (the route's, the backend's) -> breaker -> backend
 *
 * Job      own the stages' shared objects (one fg_pipeline) and each loop's part of them (one
 *          fg_pipeline_thread), and hand requests in (fg_pipeline_handler for the codecs).
 * Thread   fg_pipeline: made before the loops start, then shared; fg_pipeline_thread: its loop.
 */
#ifndef FG_PIPELINE_H
#define FG_PIPELINE_H

#include "config/config.h"
#include "http/request.h"
#include "net/loop.h"
#include "observe/metrics.h"
#include "observe/recorder_shared.h"
#include "pipeline/cache_store_shared.h"
#include "pipeline/overload_shared.h"
#include "pipeline/pinned_pages_shared.h"
#include "pipeline/rate_table_shared.h"
#include "pipeline/room_store_shared.h"
#include "state/shared_state.h"
#include "upstream/gate_shared.h"

struct fg_nonce_table;
struct fg_pipeline;
struct fg_pipeline_thread;

/*
 * `backends` (config->backend_count, in the same order) become the pipeline's and are destroyed
 * with it; also on failure. `helper` outlives it. `lines` (config->route_count), read here alone:
 * what a parent keeps for the line of each route; NULL: nothing. NULL with `error` set.
 */
struct fg_pipeline *fg_pipeline_create(const struct fg_config *config,
                                       struct fg_backend *const *backends,
                                       struct fg_helper_pool *helper, unsigned thread_count,
                                       const struct fg_room_memory *lines, struct fg_error *error);
/* Remember nonces in `nonces`, which outlives it, in place of memory of its own. On the main
 * thread, before the loops start. */
void fg_pipeline_share_nonces(struct fg_pipeline *pipeline, struct fg_nonce_table *nonces);
/* Keep pinned pages in `memory` from now on, and take over what is there. False without memory. On
 * the main thread, before the loops start. */
bool fg_pipeline_keep_pages(struct fg_pipeline *pipeline, const struct fg_page_memory *memory);
/* NULL: none are kept. */
struct fg_pinned_pages *fg_pipeline_pages(const struct fg_pipeline *pipeline);
/* All threads closed. */
void fg_pipeline_destroy(struct fg_pipeline *pipeline);

/* Read the keys of other issuers and of signers anew; on failure the old ones stay. The main
 * thread, while loops run. */
enum fg_status fg_pipeline_reload_keys(struct fg_pipeline *pipeline, struct fg_error *error);

/* The loop's part: opens every backend on it. On the loop's thread, before it runs. */
struct fg_pipeline_thread *fg_pipeline_thread_open(struct fg_pipeline *pipeline,
                                                   struct fg_loop *loop, struct fg_error *error);
/* The loop's link to the Redis of policies.shared_state; NULL: none is configured. */
struct fg_redis_link *fg_pipeline_thread_link(const struct fg_pipeline_thread *thread);
/* No request is open any more. */
void fg_pipeline_thread_close(struct fg_pipeline_thread *thread);

/* For fg_net_options: handler, with the fg_pipeline_thread as its context. */
extern const struct fg_request_handler fg_pipeline_handler;

/* For the admin server; any thread. */
const struct fg_config *fg_pipeline_config(const struct fg_pipeline *pipeline);
struct fg_backend *fg_pipeline_backend(const struct fg_pipeline *pipeline, size_t index);
struct fg_gate *fg_pipeline_gate(const struct fg_pipeline *pipeline, size_t index);
/* NULL for a route without a limit of its own. */
struct fg_gate *fg_pipeline_route_gate(const struct fg_pipeline *pipeline, size_t route_index);
struct fg_rate_table *fg_pipeline_rate_table(const struct fg_pipeline *pipeline, size_t index);
/* NULL: none is configured. */
struct fg_shared_state *fg_pipeline_shared_state(const struct fg_pipeline *pipeline);
struct fg_cache_store *fg_pipeline_cache(const struct fg_pipeline *pipeline);
struct fg_overload_shared *fg_pipeline_overload(const struct fg_pipeline *pipeline);
/* Request memory of a backend's requests, all loops together. */
struct fg_memory_share {
    uint64_t used_bytes;
    uint64_t reserved_bytes;
    uint64_t refused; /* for others' reserves; in shadow: would have been */
};
struct fg_memory_share fg_pipeline_memory(const struct fg_pipeline *pipeline, size_t index);
/* NULL for a route without a waiting room. */
struct fg_room *fg_pipeline_room(const struct fg_pipeline *pipeline, size_t route_index);
/* Metrics of loop `index`, NULL until it has opened. */
const struct fg_thread_metrics *fg_pipeline_metrics(const struct fg_pipeline *pipeline,
                                                    unsigned index);
/* Of the loop; NULL when observability.recent_requests is off. */
struct fg_recorder *fg_pipeline_recorder(const struct fg_pipeline *pipeline, unsigned index);
unsigned fg_pipeline_thread_count(const struct fg_pipeline *pipeline);

#endif
