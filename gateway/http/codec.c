/*
 * codec.c: what the codecs of one loop share: free streams, segments, random numbers.
 */
#include "http/codec.h"

#include "base/log.h"
#include "base/text.h"
#include "http/h1_internal.h"
#include "net/listener.h"

#include <stdlib.h>
#include <sys/random.h>

#define SEGMENTS_KEPT ((size_t)256)        /* 4 MiB a loop */
#define BLOCK_BYTES_KEPT ((size_t)1 << 20) /* a loop */
#define LINES_PER_S 10

enum fg_status fg_codec_env_init(struct fg_codec_env *env, struct fg_loop *loop,
                                 const struct fg_limits_conf *limits, struct fg_net_stats *stats)
{
    *env = (struct fg_codec_env){.loop = loop, .limits = limits, .stats = stats};
    if (getrandom(env->random, sizeof(env->random), 0) != (ssize_t)sizeof(env->random))
        return FG_ERR_SYSTEM;
    env->h1_start = fg_h1_start_create();
    if (env->h1_start == NULL)
        return FG_ERR_NO_MEMORY;
    fg_segment_pool_init(&env->segments, SEGMENTS_KEPT);
    fg_block_pool_init(&env->blocks, BLOCK_BYTES_KEPT);
    enum fg_status status = fg_timeouts_init(&env->timeouts, loop, limits);
    if (status != FG_OK)
        fg_h1_start_destroy(env->h1_start);
    return status;
}

void fg_codec_env_fini(struct fg_codec_env *env)
{
    while (env->free_streams != NULL) {
        struct fg_stream *stream = env->free_streams;
        env->free_streams = stream->next_free;
        free(stream);
    }
    env->free_stream_count = 0;
    fg_h1_start_destroy(env->h1_start);
    fg_segment_pool_fini(&env->segments);
    fg_block_pool_fini(&env->blocks);
    fg_timeouts_fini(&env->timeouts);
}

bool fg_codec_must_close(struct fg_transport *transport)
{
    struct fg_pressure *pressure = transport->env->pressure;
    if (!fg_pressure_asks(pressure, FG_OVERLOAD_STOP_KEEP_ALIVE) ||
        transport->ops->is_spared(transport))
        return false;
    fg_pressure_acted(pressure, FG_OVERLOAD_STOP_KEEP_ALIVE);
    return true;
}

void fg_codec_note_error(struct fg_transport *transport, const char *version, const char *reason)
{
    static struct fg_log_limit limit;
    fg_counter_add_owned(&transport->env->stats->protocol_errors, 1);
    fg_log_limited(&limit, LINES_PER_S, FG_LOG_INFO, "protocol_error",
                   "client=%.*s version=%s reason=\"%s\"", FG_SPAN_ARGS(transport->client_addr),
                   version, reason);
}

/* splitmix64 (Steele, Lea, Flood 2014): a counter through a mixer. */
static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    uint64_t mixed = *state;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

void fg_codec_make_request_id(struct fg_codec_env *env, char id[32])
{
    for (size_t half = 0; half < 2; half++)
        fg_text_put_hex(id + half * 16, next_random(&env->random[half]));
}
