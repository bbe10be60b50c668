/*
 * redis_link.h: the pipelined connection of one event loop, and the commands on it.
 * Job      send commands (those of one loop turn leave in one write), match replies, time them out,
 *          and send again what a lost connection left open, where that is safe.
 * Thread   one event loop. A command outlives the request that asked: it is detached from it, and
 *          its reply then finds nobody.
 * Memory   at most commands_in_flight_max commands, kept for reuse.
 *
 *    waiting --connected--> sent --reply--> owner called, freed
 *       ^                    | connection lost, repeatable, first time
 *       `--------------------'              else: unavailable; command_timeout: timeout
 */
#ifndef FG_ORDERS_REDIS_LINK_H
#define FG_ORDERS_REDIS_LINK_H

#include "base/list.h"
#include "orders/orders_metrics_shared.h"
#include "orders/redis_connector.h"
#include "orders/redis_scripts.h"

#define FG_ORDERS_SKUS_MAX 256
#define FG_REDIS_ARGS_MAX (FG_ORDERS_SKUS_MAX + 8)

enum fg_redis_outcome {
    FG_REDIS_REPLY,       /* reply is set; it may be an error reply of Redis */
    FG_REDIS_UNAVAILABLE, /* the connection was lost; whether the command had its effect is open */
    FG_REDIS_TIMEOUT,     /* no reply within command_timeout; likewise */
};

typedef void (*fg_redis_reply_fn)(void *owner, enum fg_redis_outcome outcome,
                                  const redisReply *reply);

/* What to send. The spans and the array belong to the caller until the reply, or detach. */
struct fg_redis_request {
    bool is_script;
    enum fg_redis_script script;
    const struct fg_span *args; /* of a script: KEYS[1], then ARGV; else the whole command */
    size_t arg_count;           /* at most FG_REDIS_ARGS_MAX - 3 */
    bool is_repeatable;         /* twice has the effect of once */
    fg_redis_reply_fn on_reply;
    void *owner;
};

struct fg_redis_command;

struct fg_redis_link {
    struct fg_redis_connector connector;
    const struct fg_orders_conf *conf;
    struct fg_orders_metrics *metrics;
    const char *prefix; /* of the campaign's keys */

    /* commands */
    struct fg_list open; /* waiting or sent, oldest first: so in the order of their deadlines */
    struct fg_list free;
    struct event *deadline_timer;
    bool is_timer_set;
    uint32_t in_flight;

    /* preparation of a new connection */
    size_t replies_missing;
    size_t scripts_loaded;
    char *sources[FG_SCRIPT_COUNT];
    size_t source_lens[FG_SCRIPT_COUNT];
    char shas[FG_SCRIPT_COUNT][FG_SCRIPT_SHA_BYTES];
    bool is_durability_checked;
    bool is_closing;
};

/* connector.env, .conf, .address, conf, metrics and prefix are set. Starts to connect. */
FG_MUST_USE enum fg_status fg_redis_link_open(struct fg_redis_link *link);

/* Every command must have been detached by its owner. */
void fg_redis_link_close(struct fg_redis_link *link);

bool fg_redis_link_is_ready(const struct fg_redis_link *link);

/*
 * Never calls back before it returns. FG_ERR_LIMIT: commands_in_flight_max is reached;
 * FG_ERR_CLOSED: Redis has been away for longer than command_timeout. On FG_OK, *command is the
 * handle to detach with; it is void once on_reply is called.
 */
FG_MUST_USE enum fg_status fg_redis_link_submit(struct fg_redis_link *link,
                                                const struct fg_redis_request *request,
                                                struct fg_redis_command **command);

/* The owner has gone: its reply will be dropped. */
void fg_redis_command_detach(struct fg_redis_command *command);

#endif
