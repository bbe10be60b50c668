/*
 * orders_scripts.c: the table of embedded sources; scripts/embed.py makes the arrays.
 */
#include "orders_scripts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EACH_SCRIPT(X)                                                                             \
    X(FG_SCRIPT_CLAIM, claim)                                                                      \
    X(FG_SCRIPT_INVITE_CREATE, invite_create)                                                      \
    X(FG_SCRIPT_INVITE_ACCEPT, invite_accept)                                                      \
    X(FG_SCRIPT_ORDER, order)                                                                      \
    X(FG_SCRIPT_ME, me)                                                                            \
    X(FG_SCRIPT_FULFIL_TAKE, fulfil_take)                                                          \
    X(FG_SCRIPT_FULFIL_STEP, fulfil_step)                                                          \
    X(FG_SCRIPT_STATS, stats)

extern const unsigned char fg_embedded_lua_prelude[];
extern const size_t fg_embedded_lua_prelude_len;
#define DECLARE(id, name)                                                                          \
    extern const unsigned char fg_embedded_lua_##name[];                                           \
    extern const size_t fg_embedded_lua_##name##_len;
EACH_SCRIPT(DECLARE)

static const struct {
    const char *name;
    const unsigned char *source;
    const size_t *len;
} scripts[FG_SCRIPT_COUNT] = {
#define ENTRY(id, name) [id] = {#name, fg_embedded_lua_##name, &fg_embedded_lua_##name##_len},
    EACH_SCRIPT(ENTRY)};

void fg_orders_prefix(const struct fg_orders_conf *conf, char prefix[FG_ORDERS_PREFIX_BYTES])
{
    snprintf(prefix, FG_ORDERS_PREFIX_BYTES, "{fg:%s}:", conf->campaign);
}

const char *fg_orders_script_name(enum fg_orders_script script)
{
    assert(script < FG_SCRIPT_COUNT);
    return scripts[script].name;
}

char *fg_orders_script_source(enum fg_orders_script script, size_t *len)
{
    assert(script < FG_SCRIPT_COUNT);
    size_t prelude_len = fg_embedded_lua_prelude_len;
    *len = prelude_len + *scripts[script].len;
    char *source = malloc(*len + 1);
    if (source == NULL)
        return NULL;
    memcpy(source, fg_embedded_lua_prelude, prelude_len);
    memcpy(source + prelude_len, scripts[script].source, *scripts[script].len);
    source[*len] = '\0';
    return source;
}

bool fg_orders_scripts_make(struct fg_redis_script made[FG_SCRIPT_COUNT])
{
    for (size_t i = 0; i < FG_SCRIPT_COUNT; i++) {
        made[i].source = fg_orders_script_source((enum fg_orders_script)i, &made[i].source_len);
        if (made[i].source == NULL)
            return false;
    }
    return true;
}

void fg_orders_scripts_free(struct fg_redis_script made[FG_SCRIPT_COUNT])
{
    for (size_t i = 0; i < FG_SCRIPT_COUNT; i++) {
        free((char *)(uintptr_t)made[i].source);
        made[i].source = NULL;
    }
}
