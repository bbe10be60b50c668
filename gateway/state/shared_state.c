/*
 * shared_state.c: one address, one set of scripts, a link and its figures for each loop.
 */
#include "shared_state.h"

#include <assert.h>
#include <stdlib.h>

struct fg_shared_state {
    const struct fg_shared_state_conf *conf;
    struct fg_redis_address address;
    struct fg_redis_script scripts[FG_SHARED_STATE_SCRIPTS_MAX];
    size_t script_count;
    struct fg_redis_metrics *metrics; /* thread_count of them */
    unsigned thread_count;
};

struct fg_shared_state *fg_shared_state_create(const struct fg_shared_state_conf *conf,
                                               unsigned thread_count, struct fg_error *error)
{
    struct fg_redis_address address;
    if (fg_redis_address(&conf->redis, &address, error) != FG_OK)
        return NULL;
    struct fg_shared_state *state = calloc(1, sizeof(*state));
    struct fg_redis_metrics *metrics = calloc(thread_count, sizeof(*metrics));
    if (state == NULL || metrics == NULL) {
        free(state);
        free(metrics);
        fg_error_set(error, "shared state: no memory");
        return NULL;
    }
    state->conf = conf;
    state->address = address;
    state->metrics = metrics;
    state->thread_count = thread_count;
    return state;
}

void fg_shared_state_destroy(struct fg_shared_state *state)
{
    if (state == NULL)
        return;
    free(state->metrics);
    free(state);
}

unsigned fg_shared_state_add_script(struct fg_shared_state *state, const char *source, size_t len)
{
    assert(state->script_count < FG_SHARED_STATE_SCRIPTS_MAX);
    assert(source[len] == '\0');
    state->scripts[state->script_count] =
        (struct fg_redis_script){.source = source, .source_len = len};
    return (unsigned)state->script_count++;
}

const char *fg_shared_state_prefix(const struct fg_shared_state *state)
{
    return state->conf->prefix;
}

struct fg_redis_link *fg_shared_state_open(struct fg_shared_state *state,
                                           const struct fg_backend_env *env)
{
    assert(env->thread_index < state->thread_count);
    struct fg_redis_link *link = calloc(1, sizeof(*link));
    if (link == NULL)
        return NULL;
    link->connector.purpose = "shared_state";
    link->connector.env = *env;
    link->connector.conf = &state->conf->redis;
    link->connector.address = state->address;
    link->scripts = state->scripts;
    link->script_count = state->script_count;
    link->metrics = &state->metrics[env->thread_index];
    if (fg_redis_link_open(link) == FG_OK)
        return link;
    free(link);
    return NULL;
}

void fg_shared_state_close(struct fg_redis_link *link)
{
    if (link == NULL)
        return;
    fg_redis_link_close(link);
    fg_counter_set(&link->metrics->is_connected, 0);
    free(link);
}

json_t *fg_shared_state_stats(const struct fg_shared_state *state)
{
    char address[300];
    json_t *json = json_object();
    struct fg_redis_metrics *sum = calloc(1, sizeof(*sum));
    if (sum == NULL)
        return json;
    for (unsigned i = 0; i < state->thread_count; i++)
        fg_redis_metrics_merge(sum, &state->metrics[i]);
    uint64_t connected = fg_counter_get(&sum->is_connected);
    json_object_set_new(json, "state",
                        json_string(connected == state->thread_count ? "connected"
                                    : connected > 0                  ? "partly_connected"
                                                                     : "disconnected"));
    json_object_set_new(
        json, "address",
        json_string(fg_redis_address_text(&state->address, address, sizeof(address))));
    fg_redis_metrics_write(sum, json);
    free(sum);
    return json;
}
