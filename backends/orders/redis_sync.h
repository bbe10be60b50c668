/*
 * redis_sync.h: a blocking connection to Redis, for processes and moments that have no event loop.
 * Thread   one at a time. Every call ends within the configured timeouts.
 */
#ifndef FG_ORDERS_REDIS_SYNC_H
#define FG_ORDERS_REDIS_SYNC_H

#include "orders/orders_scripts.h"
#include "redis/redis_address.h"
#include "redis/redis_script.h"

#include <hiredis/hiredis.h>

/*
 * Connected and authenticated, with command_timeout set; the caller frees it with redisFree. NULL
 * with `error` set.
 */
redisContext *fg_redis_sync_connect(const struct fg_redis_conf *conf, struct fg_error *error);

/*
 * EVAL by its SHA, loading the script when Redis does not know it. argv holds the prefix (the one
 * key) and the arguments. NULL: the connection is unusable. An error reply is the caller's to see;
 * so is freeing the reply.
 */
redisReply *fg_redis_sync_script(redisContext *context, enum fg_orders_script script, int argc,
                                 const char **argv, const size_t *lens);

#endif
