/*
 * redis_connector.h: keeps one asynchronous connection to Redis up.
 * Job      resolve, connect, authenticate; after a loss try again, later each time.
 * Thread   one event loop. Never blocks: a host name is looked up by a helper thread.
 * Memory   one hiredis context at a time.
 *
 *    idle --start--> resolving --> connecting --on_open--> open --established--> settled
 *                        ^             |  (connect_timeout until established)       |
 *                        `-- waiting <-+------------ on_lost, back-off -------------'
 */
#ifndef FG_REDIS_CONNECTOR_H
#define FG_REDIS_CONNECTOR_H

#include "backends/backend.h"
#include "redis/redis_address.h"

#include <hiredis/async.h>

struct event;
struct fg_redis_resolve_job;

enum fg_redis_connector_state {
    FG_CONNECTOR_IDLE,
    FG_CONNECTOR_WAITING, /* for the next try */
    FG_CONNECTOR_RESOLVING,
    FG_CONNECTOR_CONNECTING,
    FG_CONNECTOR_OPEN,    /* connected; its owner prepares it */
    FG_CONNECTOR_SETTLED, /* prepared */
};

struct fg_redis_connector {
    /* identity */
    const char *purpose; /* for the log: a constant */
    void *owner;

    /* configuration, of the owner */
    struct fg_backend_env env;
    const struct fg_redis_conf *conf;
    struct fg_redis_address address;
    void (*on_open)(void *owner); /* commands may be issued; the connection must not be dropped */
    void (*on_lost)(void *owner); /* context is NULL already; replies of NULL follow */

    /* state */
    enum fg_redis_connector_state state;
    redisAsyncContext *context;
    struct event *timer; /* the next try, or the end of patience with this one */
    struct fg_redis_resolve_job *job;
    uint32_t failures;      /* in a row */
    uint64_t down_since_ns; /* monotonic; 0 while settled */
    uint64_t seed;
    uint64_t connects;
};

/* The fields above the states are set by the caller. FG_ERR_NO_MEMORY: nothing is left behind. */
FG_MUST_USE enum fg_status fg_redis_connector_init(struct fg_redis_connector *connector);

/* Begin, if idle. Does not call back. */
void fg_redis_connector_start(struct fg_redis_connector *connector);

/* From on_open or later: prepared, the time for connecting ends. */
void fg_redis_connector_settle(struct fg_redis_connector *connector);

/* Give the connection up and make a new one. Calls on_lost. Not from on_open. */
void fg_redis_connector_drop(struct fg_redis_connector *connector, const char *why);

/* A reply callback got NULL on `context`: makes sure that on_lost has been called for it. */
void fg_redis_connector_notice_loss(struct fg_redis_connector *connector,
                                    const redisAsyncContext *context);

/* Closes for good; pending replies come as NULL, on_lost does not. */
void fg_redis_connector_fini(struct fg_redis_connector *connector);

#endif
