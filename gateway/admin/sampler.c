/*
 * sampler.c: counters of the loops, and what each backend says.
 */
#include "admin/sampler.h"

#include "base/clock.h"

#define FDS_OTHER 64 /* listeners, logs, event fds: what is not a connection */

static void sample_loop(const struct fg_loop *loop, struct fg_overload_use *of)
{
    struct fg_overload_use *memory = &of[FG_OVERLOAD_REQUEST_MEMORY];
    uint64_t lag_ns = fg_loop_lag_ns(loop);
    uint64_t bytes = fg_loop_request_bytes(loop);
    if (lag_ns > of[FG_OVERLOAD_LOOP_LAG].used)
        of[FG_OVERLOAD_LOOP_LAG].used = lag_ns;
    if (bytes >= memory->used) /* all loops have an equal share */
        *memory = (struct fg_overload_use){bytes, fg_loop_request_bytes_max(loop)};
}

void fg_admin_sample(const struct fg_admin_options *options)
{
    struct fg_overload_sample sample = {0};
    struct fg_overload_use *of = sample.of;
    uint64_t now_ns = fg_clock_monotonic_ns();
    of[FG_OVERLOAD_FDS].used = FDS_OTHER;
    for (unsigned i = 0; i < options->thread_count; i++) {
        const struct fg_net_stats *stats = fg_net_stats(options->nets[i]);
        /* A proxied connection is two: the client's and the upstream's. */
        of[FG_OVERLOAD_FDS].used += 2 * fg_counter_get(&stats->open);
        of[FG_OVERLOAD_HANDSHAKES].used += fg_counter_get(&stats->handshakes_open);
        sample_loop(options->loops[i], of);
    }
    for (size_t i = 0; i < options->config->backend_count; i++) {
        struct fg_backend *backend = fg_pipeline_backend(options->pipeline, i);
        if (backend->ops->sample != NULL)
            backend->ops->sample(backend, now_ns, &sample);
    }
    fg_overload_shared_sample(fg_pipeline_overload(options->pipeline), now_ns, &sample);
}
