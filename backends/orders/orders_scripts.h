/*
 * orders_scripts.h: the Lua scripts of the order path, each with the prelude before it.
 * Thread   any; sources are constants of the program, joined once by whoever needs them.
 */
#ifndef FG_ORDERS_SCRIPTS_H
#define FG_ORDERS_SCRIPTS_H

#include "orders/orders_conf.h"
#include "redis/redis_script.h"

#include <stddef.h>

enum fg_orders_script {
    FG_SCRIPT_CLAIM,
    FG_SCRIPT_INVITE_CREATE,
    FG_SCRIPT_INVITE_ACCEPT,
    FG_SCRIPT_ORDER,
    FG_SCRIPT_ME,
    FG_SCRIPT_FULFIL_TAKE,
    FG_SCRIPT_FULFIL_STEP,
    FG_SCRIPT_STATS,
    FG_SCRIPT_COUNT,
};

#define FG_ORDERS_PREFIX_BYTES 128

/* "{fg:CAMPAIGN}:", with which every key starts. */
void fg_orders_prefix(const struct fg_orders_conf *conf, char prefix[FG_ORDERS_PREFIX_BYTES]);

/* Its file name without ".lua". */
const char *fg_orders_script_name(enum fg_orders_script script);

/* Prelude and script as Redis gets them, NUL-terminated; the caller frees. NULL: no memory. */
char *fg_orders_script_source(enum fg_orders_script script, size_t *len);

/* All of them, for a link; free them with the second, also after a failure. False: no memory. */
bool fg_orders_scripts_make(struct fg_redis_script made[FG_SCRIPT_COUNT]);
void fg_orders_scripts_free(struct fg_redis_script made[FG_SCRIPT_COUNT]);

#endif
