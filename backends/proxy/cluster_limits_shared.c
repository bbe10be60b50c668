/*
 * cluster_limits_shared.c: the exact limits of a cluster, and how a connection's place goes from
 * one loop to another.
 */
#include "proxy/cluster_limits_shared.h"

#include "base/list.h"
#include "policies/time_units.h"

#include <assert.h>
#include <stdlib.h>

#define SETTLE_NS (1 * FG_POLICY_S) /* by then whoever waits has a place, or lost it to another */

/* Requests are to have connections, too. */
static uint32_t tunnels_of(const struct fg_cluster_conf *conf)
{
    uint32_t most = conf->max_connections - conf->max_connections / 4;
    return conf->limits.tunnels_max > 0 ? conf->limits.tunnels_max : most;
}

static uint32_t or_none(uint32_t max)
{
    return max == 0 ? UINT32_MAX : max;
}

bool fg_cluster_limits_init(struct fg_cluster_limits *limits, const struct fg_cluster_conf *conf,
                            unsigned loop_count)
{
    const uint32_t most[FG_CLUSTER_LIMIT_COUNT] = {
        [FG_CLUSTER_CONNECTIONS] = conf->max_connections,
        [FG_CLUSTER_PENDING] = conf->limits.pending_max,
        [FG_CLUSTER_REQUESTS] = or_none(conf->limits.requests_max),
        [FG_CLUSTER_RETRIES] = or_none(conf->limits.retries_max),
        [FG_CLUSTER_TUNNELS] = tunnels_of(conf),
    };
    *limits =
        (struct fg_cluster_limits){.is_shadow = conf->limits.is_shadow, .loop_count = loop_count};
    for (size_t i = 0; i < FG_CLUSTER_LIMIT_COUNT; i++)
        fg_limit_init(&limits->limits[i], most[i]);
    pthread_mutex_init(&limits->lock, NULL);
    fg_give_way_init(&limits->give_way, conf->slow_reader_max_ns, SETTLE_NS);
    fg_give_way_set_share(&limits->give_way, conf->max_connections, conf->slow_reader_permille,
                          loop_count, conf->slow_reader_grace_ns);
    limits->loops = calloc(loop_count, sizeof(*limits->loops));
    return limits->loops != NULL;
}

void fg_cluster_limits_fini(struct fg_cluster_limits *limits)
{
    pthread_mutex_destroy(&limits->lock);
    free(limits->loops);
    limits->loops = NULL;
}

static void on_message(struct fg_message *message)
{
    struct fg_cluster_loop *loop = FG_CONTAINER_OF(message, struct fg_cluster_loop, message);
    atomic_store(&loop->is_told, false); /* before looking: what comes now is told again */
    loop->on_told(loop->object);
}

void fg_cluster_limits_join(struct fg_cluster_limits *limits, unsigned index,
                            struct fg_mailbox *mailbox, fg_cluster_told_fn on_told, void *object)
{
    assert(index < limits->loop_count);
    struct fg_cluster_loop *loop = &limits->loops[index];
    loop->message.run = on_message;
    loop->mailbox = mailbox;
    loop->on_told = on_told;
    loop->object = object;
}

/* ---- taking and giving ---- */

enum fg_cluster_took fg_cluster_limits_try_take(struct fg_cluster_limits *limits,
                                                enum fg_cluster_limit which)
{
    if (fg_limit_try_take(&limits->limits[which]))
        return FG_CLUSTER_TOOK;
    if (!limits->is_shadow || which == FG_CLUSTER_CONNECTIONS)
        return FG_CLUSTER_TOOK_NONE;
    fg_limit_take_over(&limits->limits[which]);
    return FG_CLUSTER_TOOK_OVER;
}

bool fg_cluster_limits_try_take_retry(struct fg_cluster_limits *limits, uint64_t budget)
{
    struct fg_limit *retries = &limits->limits[FG_CLUSTER_RETRIES];
    if (fg_limit_try_take_below(retries, budget))
        return true;
    if (!limits->is_shadow || fg_limit_used(retries) >= budget)
        return false;
    fg_limit_take_over(retries);
    return true;
}

void fg_cluster_limits_give(struct fg_cluster_limits *limits, enum fg_cluster_limit which)
{
    fg_limit_give(&limits->limits[which]);
    if (which != FG_CLUSTER_PENDING)
        return;
    pthread_mutex_lock(&limits->lock);
    fg_give_way_taken(&limits->give_way);
    pthread_mutex_unlock(&limits->lock);
}

bool fg_cluster_limits_give_way(struct fg_cluster_limits *limits, uint64_t now_ns,
                                uint64_t stalled_since_ns, struct fg_give_way_need need)
{
    need.waiting = fg_limit_used(&limits->limits[FG_CLUSTER_PENDING]);
    if (need.waiting == 0 && !need.is_short)
        return false;
    pthread_mutex_lock(&limits->lock);
    bool must_go = fg_give_way_decide(&limits->give_way, now_ns, stalled_since_ns, need);
    pthread_mutex_unlock(&limits->lock);
    return must_go;
}

/* ---- connections from one loop to another ---- */

static void tell(struct fg_cluster_loop *loop)
{
    if (loop->mailbox != NULL && !atomic_exchange(&loop->is_told, true))
        fg_mailbox_post(loop->mailbox, &loop->message);
}

void fg_cluster_limits_give_connection(struct fg_cluster_limits *limits, unsigned index)
{
    fg_limit_give(&limits->limits[FG_CLUSTER_CONNECTIONS]);
    if (atomic_load(&limits->wanting_count) == 0)
        return;
    for (unsigned i = 1; i <= limits->loop_count; i++) {
        struct fg_cluster_loop *loop = &limits->loops[(index + i) % limits->loop_count];
        if (atomic_load(&loop->is_wanting)) {
            tell(loop);
            return;
        }
    }
}

void fg_cluster_limits_want(struct fg_cluster_limits *limits, unsigned index)
{
    struct fg_cluster_loop *mine = &limits->loops[index];
    if (atomic_load(&mine->is_wanting))
        return;
    atomic_store(&mine->is_wanting, true);
    atomic_fetch_add(&limits->wanting_count, 1);
    for (unsigned i = 0; i < limits->loop_count; i++) {
        if (i != index)
            tell(&limits->loops[i]);
    }
}

void fg_cluster_limits_want_no_more(struct fg_cluster_limits *limits, unsigned index)
{
    struct fg_cluster_loop *mine = &limits->loops[index];
    if (!atomic_load(&mine->is_wanting))
        return;
    atomic_store(&mine->is_wanting, false);
    atomic_fetch_sub(&limits->wanting_count, 1);
}

bool fg_cluster_limits_is_wanted(const struct fg_cluster_limits *limits, unsigned index)
{
    uint32_t own = atomic_load(&limits->loops[index].is_wanting);
    return atomic_load(&limits->wanting_count) > own;
}

/* ---- what others see ---- */

const char *fg_cluster_limit_name(enum fg_cluster_limit which)
{
    static const char *const names[FG_CLUSTER_LIMIT_COUNT] = {"connections", "pending", "requests",
                                                              "retries", "tunnels"};
    return names[which];
}

json_t *fg_cluster_limits_json(const struct fg_cluster_limits *limits)
{
    json_t *all = json_object();
    for (unsigned i = 0; i < FG_CLUSTER_LIMIT_COUNT; i++) {
        const struct fg_limit *limit = &limits->limits[i];
        json_t *max = limit->max == UINT32_MAX ? json_null() : json_integer(limit->max);
        json_object_set_new(all, fg_cluster_limit_name((enum fg_cluster_limit)i),
                            json_pack("{s:I,s:o,s:I,s:I}", "used", (json_int_t)fg_limit_used(limit),
                                      "max", max, "most", (json_int_t)fg_counter_get(&limit->most),
                                      "refused", (json_int_t)fg_counter_get(&limit->refused)));
    }
    json_object_set_new(all, "shadow", json_boolean(limits->is_shadow));
    return all;
}
