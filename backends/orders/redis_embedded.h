/*
 * redis_embedded.h: a redis-server of our own, on a unix socket, for the supervisor to run.
 * Thread   the supervisor's, at start; exec in the forked child.
 * Never    touches a Redis that is not this directory's own.
 */
#ifndef FG_ORDERS_REDIS_EMBEDDED_H
#define FG_ORDERS_REDIS_EMBEDDED_H

#include "base/status.h"
#include "orders/orders_conf.h"

/*
 * Before the fork: makes the directory, stops what an unclean end of an earlier run has left behind
 * there, and writes the server's configuration file. FG_ERR_CONFIG with `error` set: no
 * redis-server in PATH, directory not usable, or in use by another floodgate. May block for a few
 * seconds.
 */
FG_MUST_USE enum fg_status fg_redis_embedded_prepare(const struct fg_orders_conf *conf,
                                                     struct fg_error *error);

/*
 * In the child: becomes redis-server, in a session of its own (a terminal's Ctrl-C passes it by)
 * and bound to its parent's life. Returns only on failure.
 */
enum fg_status fg_redis_embedded_exec(const struct fg_orders_conf *conf, struct fg_error *error);

/* Blocks until Redis, embedded or not, answers PING; while it loads its data it is not ready. */
FG_MUST_USE enum fg_status fg_redis_wait_ready(const struct fg_orders_conf *conf,
                                               uint64_t timeout_ns, struct fg_error *error);

#endif
