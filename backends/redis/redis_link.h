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
 *
 * A new connection is prepared first: every script is loaded, and `prepare` may add commands.
 */
#ifndef FG_REDIS_LINK_H
#define FG_REDIS_LINK_H

#include "base/list.h"
#include "redis/redis_connector.h"
#include "redis/redis_metrics_shared.h"
#include "redis/redis_script.h"

#define FG_REDIS_ARGS_MAX 264

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
    unsigned script;            /* into the link's scripts */
    unsigned key_count;         /* of a script: how many of its args are KEYS; the rest is ARGV */
    const struct fg_span *args; /* of a script: those; else the whole command */
    size_t arg_count;           /* at most FG_REDIS_ARGS_MAX - 3 */
    bool is_repeatable;         /* twice has the effect of once */
    fg_redis_reply_fn on_reply;
    void *owner;
};

struct fg_redis_command;
struct fg_redis_link;

struct fg_redis_link {
    struct fg_redis_connector connector;

    /* configuration, of the owner */
    const struct fg_redis_script *scripts;
    size_t script_count;
    struct fg_redis_metrics *metrics;
    void (*prepare)(struct fg_redis_link *link); /* NULL: scripts are all that is needed */

    /* commands */
    struct fg_list open; /* waiting or sent, oldest first: so in the order of their deadlines */
    struct fg_list free;
    struct event *deadline_timer;
    bool is_timer_set;
    uint32_t in_flight;

    /* preparation of a new connection */
    size_t replies_missing;
    size_t scripts_loaded;
    char (*shas)[FG_REDIS_SHA_BYTES]; /* script_count of them */
    bool is_closing;
};

/*
 * connector.purpose, .env, .conf and .address, and what is the owner's above, are set; the rest is
 * zero. Starts to connect.
 */
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

/*
 * From `prepare`: one more command (hiredis' format) before the connection is ready. `on_reply`
 * gets the link as its private data and must call fg_redis_link_prepared with what it got; NULL:
 * the command must succeed, and that is all.
 */
void fg_redis_link_prepare(struct fg_redis_link *link, redisCallbackFn *on_reply,
                           const char *format, ...);

/*
 * A reply of the preparation is in. An error reply gives the connection up when `is_needed`.
 */
void fg_redis_link_prepared(struct fg_redis_link *link, redisAsyncContext *context,
                            const redisReply *reply, bool is_needed);

#endif
