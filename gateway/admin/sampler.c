/*
 * sampler.c: counters of the loops, and what each backend says.
 */
#include "admin/sampler.h"

#include "base/clock.h"
#include "pipeline/cache_store_shared.h"
#include "pipeline/room_shared.h"

#define FDS_OTHER 64 /* listeners, logs, event fds: what is not a connection */

static void sample_net(const struct fg_net_stats *stats, struct fg_overload_use *of)
{
    struct fg_overload_use *connections = &of[FG_OVERLOAD_CONNECTIONS];
    uint64_t open = fg_counter_get(&stats->open);
    /* A proxied connection is two: the client's and the upstream's. */
    of[FG_OVERLOAD_FDS].used += 2 * open;
    of[FG_OVERLOAD_HANDSHAKES].used += fg_counter_get(&stats->handshakes_open);
    if (open >= connections->used) /* all loops have an equal share */
        *connections = (struct fg_overload_use){open, fg_counter_get(&stats->open_max)};
}

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

/* `refused` are all that ever were: fg_room_follow makes it what is new. */
static void look_at(struct fg_gate *gate, uint64_t now_ns, struct fg_admit_sample *sample)
{
    struct fg_gate_gauges gauges = fg_gate_gauges(gate, now_ns);
    bool is_nearer = sample->limit == 0 || (double)gauges.in_flight * sample->limit >
                                               (double)sample->in_flight * gauges.limit;
    if (is_nearer) {
        sample->in_flight = gauges.in_flight;
        sample->limit = gauges.limit;
        sample->service_ns = gauges.service_ns;
    }
    sample->queued += gauges.queued;
    sample->refused += gauges.refused_total;
    sample->is_shut |= gauges.breaker == FG_BREAKER_OPEN;
}

/* Rooms whose pace is the backend's; of its gate and the route's own, the one that is fuller. */
static void follow_backends(const struct fg_admin_options *options, uint64_t now_ns)
{
    const struct fg_config *config = options->config;
    for (size_t i = 0; i < config->route_count; i++) {
        struct fg_room *room = fg_pipeline_room(options->pipeline, i);
        if (room == NULL || !fg_room_is_due(room, now_ns))
            continue;
        struct fg_admit_sample sample = {
            .is_pressed = fg_pressure_sheds(
                fg_overload_shared_pressure(fg_pipeline_overload(options->pipeline)))};
        struct fg_gate *own = fg_pipeline_route_gate(options->pipeline, i);
        look_at(fg_pipeline_gate(options->pipeline, config->routes[i].backend_index), now_ns,
                &sample);
        if (own != NULL)
            look_at(own, now_ns, &sample);
        fg_room_follow(room, now_ns, &sample);
    }
}

static void follow_memory(const struct fg_admin_options *options, uint64_t now_ns)
{
    struct fg_cache_store *cache = fg_pipeline_cache(options->pipeline);
    struct fg_pressure *pressure =
        fg_overload_shared_pressure(fg_pipeline_overload(options->pipeline));
    bool is_short = fg_pressure_asks(pressure, FG_OVERLOAD_SHRINK_CACHE);
    if (cache != NULL && fg_cache_store_follow(cache, now_ns, is_short))
        fg_pressure_acted(pressure, FG_OVERLOAD_SHRINK_CACHE);
}

void fg_admin_sample(const struct fg_admin_options *options, bool is_draining)
{
    struct fg_overload_sample sample = {0};
    struct fg_overload_use *of = sample.of;
    uint64_t now_ns = fg_clock_monotonic_ns();
    of[FG_OVERLOAD_FDS].used = FDS_OTHER;
    for (unsigned i = 0; i < options->thread_count; i++) {
        sample_net(fg_net_stats(options->nets[i]), of);
        sample_loop(options->loops[i], of);
    }
    for (size_t i = 0; i < options->config->backend_count; i++) {
        struct fg_backend *backend = fg_pipeline_backend(options->pipeline, i);
        if (backend->ops->sample != NULL)
            backend->ops->sample(backend, now_ns, &sample);
    }
    fg_overload_shared_sample(fg_pipeline_overload(options->pipeline), now_ns, &sample);
    follow_memory(options, now_ns);
    if (!is_draining)
        follow_backends(options, now_ns);
}
