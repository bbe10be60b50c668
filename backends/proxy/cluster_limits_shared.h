/*
 * cluster_limits_shared.h: what one cluster may have at once over all event loops, exactly: open
 * connections, requests, attempts that wait for a connection, retries, tunnels.
 * Protocol  each is a base/limit_shared. A loop that finds no connection left says that it wants
 *           one (`is_wanting`, then looks again: see limit_shared.h) and tells the others, who
 *           close what they keep idle; whoever closes one tells a loop that wants. `is_told` keeps
 *           a loop's one message from being posted twice. Loops join before any of them runs, and
 *           nobody tells another once loops are taken down.
 *           Whose answer gives way is decided under a mutex: places made on one loop are for those
 *           who wait on another.
 * Memory    one small object a loop, made at start.
 */
#ifndef FG_PROXY_CLUSTER_LIMITS_SHARED_H
#define FG_PROXY_CLUSTER_LIMITS_SHARED_H

#include "base/limit_shared.h"
#include "base/mailbox_shared.h"
#include "policies/give_way.h"
#include "proxy/cluster_conf.h"

#include <jansson.h>
#include <pthread.h>

enum fg_cluster_limit {
    FG_CLUSTER_CONNECTIONS,
    FG_CLUSTER_PENDING, /* attempts that wait for a connection */
    FG_CLUSTER_REQUESTS,
    FG_CLUSTER_RETRIES, /* and hedges */
    FG_CLUSTER_TUNNELS, /* with a connection of their own */
    FG_CLUSTER_LIMIT_COUNT,
};

/* What became of a wish for one more. */
enum fg_cluster_took {
    FG_CLUSTER_TOOK_NONE,
    FG_CLUSTER_TOOK,
    FG_CLUSTER_TOOK_OVER, /* in shadow: above the limit */
};

/* On the loop that joined: a connection may be had, or somebody else wants one. */
typedef void (*fg_cluster_told_fn)(void *object);

struct fg_cluster_loop {
    struct fg_message message; /* first */
    struct fg_mailbox *mailbox;
    fg_cluster_told_fn on_told;
    void *object;
    _Atomic bool is_told;    /* the message is on its way */
    _Atomic bool is_wanting; /* set and cleared by its loop */
};

struct fg_cluster_limits {
    struct fg_limit limits[FG_CLUSTER_LIMIT_COUNT];
    bool is_shadow; /* all but connections are counted, and nobody refused */
    unsigned loop_count;
    struct fg_cluster_loop *loops;
    _Atomic uint32_t wanting_count;
    pthread_mutex_t lock; /* of what follows: taken only when somebody waits, or when short */
    struct fg_give_way give_way; /* its settings are constant, and read without it */
};

/* An answer has been stalled by its client since `stalled_since_ns` (0: it gets on). Must it give
 * its connection up? Any loop; who waits is counted here. */
bool fg_cluster_limits_give_way(struct fg_cluster_limits *limits, uint64_t now_ns,
                                uint64_t stalled_since_ns, struct fg_give_way_need need);

/* False without memory. */
bool fg_cluster_limits_init(struct fg_cluster_limits *limits, const struct fg_cluster_conf *conf,
                            unsigned loop_count);
void fg_cluster_limits_fini(struct fg_cluster_limits *limits);
/* Loop `index` from here on, before loops run. */
void fg_cluster_limits_join(struct fg_cluster_limits *limits, unsigned index,
                            struct fg_mailbox *mailbox, fg_cluster_told_fn on_told, void *object);

/* Any loop; what was taken is given back once. In shadow all but connections are always had. */
enum fg_cluster_took fg_cluster_limits_try_take(struct fg_cluster_limits *limits,
                                                enum fg_cluster_limit which);
/* A retry, if fewer than `budget` are out: that binds in shadow too. */
bool fg_cluster_limits_try_take_retry(struct fg_cluster_limits *limits, uint64_t budget);
void fg_cluster_limits_give(struct fg_cluster_limits *limits, enum fg_cluster_limit which);

/* Loop `index` has closed a connection; tells one that wants it. */
void fg_cluster_limits_give_connection(struct fg_cluster_limits *limits, unsigned index);
/* Loop `index` waits for a connection: try again after this, then wait to be told. */
void fg_cluster_limits_want(struct fg_cluster_limits *limits, unsigned index);
void fg_cluster_limits_want_no_more(struct fg_cluster_limits *limits, unsigned index);
/* Does any other loop? */
bool fg_cluster_limits_is_wanted(const struct fg_cluster_limits *limits, unsigned index);

/* "connections", "pending", "requests", "retries", "tunnels": constant strings. */
const char *fg_cluster_limit_name(enum fg_cluster_limit which);
/* {"requests": {"used", "max", "most", "refused"}, ..., "shadow"}; max is null without one. */
json_t *fg_cluster_limits_json(const struct fg_cluster_limits *limits);

#endif
