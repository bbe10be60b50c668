/*
 * redis_sync.c: hiredis' blocking calls, with timeouts on everything.
 */
#include "redis_sync.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

#define SCRIPT_ARGS_MAX 256

static struct timeval timeval_of(uint64_t ns)
{
    return (struct timeval){.tv_sec = (time_t)(ns / FG_S),
                            .tv_usec = (suseconds_t)(ns % FG_S / FG_US)};
}

static redisContext *fail(redisContext *context, const struct fg_redis_address *address,
                          const char *why, struct fg_error *error)
{
    char text[300];
    fg_error_set(error, "no connection to Redis at %s: %s",
                 fg_redis_address_text(address, text, sizeof(text)), why);
    if (context != NULL)
        redisFree(context);
    return NULL;
}

redisContext *fg_redis_sync_connect(const struct fg_redis_conf *conf, struct fg_error *error)
{
    struct fg_redis_address address;
    if (fg_redis_address(conf, &address, error) != FG_OK)
        return NULL;
    struct timeval connect_timeout = timeval_of(conf->connect_timeout_ns);
    redisContext *context =
        address.is_unix ? redisConnectUnixWithTimeout(address.path, connect_timeout)
                        : redisConnectWithTimeout(address.host, address.port, connect_timeout);
    if (context == NULL)
        return fail(NULL, &address, "no memory", error);
    if (context->err != 0)
        return fail(context, &address, context->errstr, error);
    if (redisSetTimeout(context, timeval_of(conf->command_timeout_ns)) != REDIS_OK)
        return fail(context, &address, "its timeout cannot be set", error);
    if (conf->embedded || conf->password == NULL)
        return context;
    redisReply *reply = conf->username == NULL
                            ? redisCommand(context, "AUTH %s", conf->password)
                            : redisCommand(context, "AUTH %s %s", conf->username, conf->password);
    bool is_good = reply != NULL && reply->type != REDIS_REPLY_ERROR;
    freeReplyObject(reply);
    return is_good ? context : fail(context, &address, "user or password are wrong", error);
}

/* The SHA is asked for by loading: it is not computed here. */
static bool load(redisContext *context, enum fg_orders_script script, char sha[FG_REDIS_SHA_BYTES])
{
    size_t len;
    char *source = fg_orders_script_source(script, &len);
    if (source == NULL)
        return false;
    redisReply *reply = redisCommand(context, "SCRIPT LOAD %b", source, len);
    free(source);
    bool is_good =
        reply != NULL && reply->type == REDIS_REPLY_STRING && reply->len == FG_REDIS_SHA_BYTES - 1;
    if (is_good)
        memcpy(sha, reply->str, FG_REDIS_SHA_BYTES);
    freeReplyObject(reply);
    return is_good;
}

redisReply *fg_redis_sync_script(redisContext *context, enum fg_orders_script script, int argc,
                                 const char **argv, const size_t *lens)
{
    static _Thread_local char shas[FG_SCRIPT_COUNT][FG_REDIS_SHA_BYTES];
    const char *all[SCRIPT_ARGS_MAX];
    size_t all_lens[SCRIPT_ARGS_MAX];
    if (argc > SCRIPT_ARGS_MAX - 3)
        return NULL;
    for (unsigned attempt = 0; attempt < 2; attempt++) {
        if (shas[script][0] == '\0' && !load(context, script, shas[script]))
            return NULL;
        all[0] = "EVALSHA";
        all[1] = shas[script];
        all[2] = "1";
        for (int i = 0; i < 3; i++)
            all_lens[i] = strlen(all[i]);
        memcpy(all + 3, argv, (size_t)argc * sizeof(*argv));
        memcpy(all_lens + 3, lens, (size_t)argc * sizeof(*lens));
        redisReply *reply = redisCommandArgv(context, argc + 3, all, all_lens);
        if (reply == NULL || attempt == 1 || reply->type != REDIS_REPLY_ERROR ||
            strncmp(reply->str, "NOSCRIPT", 8) != 0)
            return reply;
        freeReplyObject(reply);
        shas[script][0] = '\0';
    }
    return NULL;
}
