/*
 * orders_backend.c: the order path as a backend: finds the endpoint, and lets order_requests.c and
 * order_answers.c do the rest.
 * Thread   one fg_orders_thread an event loop; only the metrics are shared.
 * Never    keeps an order outside Redis, or repeats a command that is not safe to repeat.
 */
#include "orders_internal.h"

#include "base/clock.h"

#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define USER_LEN_MAX 256
#define NAME_LEN_MAX 64
#define SAMPLE_NS FG_S

/* ---- the campaign's figures, for /stats ---- */

static void on_sample(void *owner, enum fg_redis_outcome outcome, const redisReply *reply)
{
    struct fg_orders_thread *thread = owner;
    /* Written by loop 0 alone; the rest of the backend is constant here. */
    struct fg_orders_backend *orders = (struct fg_orders_backend *)thread->base.backend;
    struct fg_orders_figures *figures = &orders->shared.figures;
    thread->sample_command = NULL;
    if (outcome != FG_REDIS_REPLY || reply->type != REDIS_REPLY_ARRAY ||
        reply->elements != FG_FIGURE_COUNT + thread->conf->sku_count)
        return;
    for (size_t i = 0; i < FG_FIGURE_COUNT; i++)
        fg_counter_set(&figures->values[i], fg_orders_number_at(reply, i));
    for (size_t i = 0; i < thread->conf->sku_count; i++)
        fg_counter_set(&figures->stock[i], fg_orders_number_at(reply, FG_FIGURE_COUNT + i));
    fg_counter_set(&figures->is_sampled, 1);
}

static void on_sampler(evutil_socket_t fd, short what, void *object)
{
    struct fg_orders_thread *thread = object;
    (void)fd;
    (void)what;
    if (thread->sample_command != NULL || !fg_redis_link_is_ready(&thread->link))
        return;
    struct fg_redis_request request = {
        .is_script = true,
        .script = FG_SCRIPT_STATS,
        .key_count = 1,
        .args = thread->sample_args,
        .arg_count = 1 + thread->conf->sku_count,
        .is_repeatable = true,
        .on_reply = on_sample,
        .owner = thread,
    };
    if (fg_redis_link_submit(&thread->link, &request, &thread->sample_command) != FG_OK)
        thread->sample_command = NULL;
}

static void set_timer(struct event *timer, uint64_t period_ns)
{
    struct timeval period = {.tv_sec = (time_t)(period_ns / FG_S),
                             .tv_usec = (suseconds_t)(period_ns % FG_S / FG_US)};
    event_add(timer, &period);
}

static uint64_t tick_period_ns(const struct fg_orders_thread *thread)
{
    uint64_t timeout_ns = thread->conf->redis.command_timeout_ns;
    return timeout_ns < FG_S ? timeout_ns : FG_S;
}

static void on_ticker(evutil_socket_t fd, short what, void *object)
{
    struct fg_orders_thread *thread = object;
    (void)fd;
    (void)what;
    bool is_over = fg_order_stream_tick(thread);
    set_timer(thread->ticker, is_over ? tick_period_ns(thread) : FG_MS);
}

/* ---- a thread ---- */

static struct event *start_timer(struct fg_orders_thread *thread, event_callback_fn run,
                                 uint64_t period_ns)
{
    struct event *timer = event_new(thread->env.base, -1, EV_PERSIST, run, thread);
    if (timer != NULL)
        set_timer(timer, period_ns);
    return timer;
}

static bool start_timers(struct fg_orders_thread *thread)
{
    thread->ticker = start_timer(thread, on_ticker, tick_period_ns(thread));
    if (thread->ticker == NULL)
        return false;
    if (thread->env.thread_index != 0)
        return true;
    size_t sku_count = thread->conf->sku_count;
    thread->sample_args = calloc(1 + sku_count, sizeof(*thread->sample_args));
    if (thread->sample_args == NULL)
        return false;
    thread->sample_args[0] = fg_span_from_string(thread->orders->prefix);
    for (size_t i = 0; i < sku_count; i++)
        thread->sample_args[1 + i] = fg_span_from_string(thread->conf->skus[i].sku);
    thread->sampler = start_timer(thread, on_sampler, SAMPLE_NS);
    return thread->sampler != NULL;
}

static void free_timers(struct fg_orders_thread *thread)
{
    if (thread->ticker != NULL)
        event_free(thread->ticker);
    if (thread->sampler != NULL)
        event_free(thread->sampler);
    free(thread->sample_args);
}

static void set_connector(const struct fg_orders_thread *thread,
                          struct fg_redis_connector *connector)
{
    connector->env = thread->env;
    connector->conf = &thread->conf->redis;
    connector->address = thread->orders->address;
}

static struct fg_backend_thread *
thread_open(struct fg_backend *backend, const struct fg_backend_env *env, struct fg_error *error)
{
    struct fg_orders_backend *orders = (struct fg_orders_backend *)backend;
    struct fg_orders_thread *thread = NULL;
    if (env->thread_index >= FG_ORDERS_THREADS_MAX) {
        fg_error_set(error, "orders: too many threads; expected at most %d", FG_ORDERS_THREADS_MAX);
        return NULL;
    }
    thread = calloc(1, sizeof(*thread));
    struct fg_orders_metrics *metrics =
        thread == NULL ? NULL : fg_orders_shared_open(&orders->shared, env->thread_index);
    if (metrics == NULL)
        goto fail;
    thread->base.backend = backend;
    thread->env = *env;
    thread->orders = orders;
    thread->conf = orders->conf;
    thread->metrics = metrics;
    fg_list_init(&thread->streams);
    thread->stream_share = fg_address_share_make(thread->conf->redis.commands_in_flight_max,
                                                 thread->conf->event_streams_permille, 1, 0);
    if (getrandom(&thread->owner_key, sizeof(thread->owner_key), 0) != sizeof(thread->owner_key))
        goto fail;
    set_connector(thread, &thread->link.connector);
    thread->link.connector.purpose = "commands";
    thread->link.scripts = orders->scripts;
    thread->link.script_count = FG_SCRIPT_COUNT;
    thread->link.metrics = &metrics->redis;
    thread->link.prepare = fg_orders_prepare_link;
    set_connector(thread, &thread->events.connector);
    thread->events.prefix = orders->prefix;
    if (!start_timers(thread) || fg_redis_link_open(&thread->link) != FG_OK)
        goto fail;
    if (fg_order_events_open(&thread->events) != FG_OK)
        goto close_link;
    return &thread->base;
close_link:
    fg_redis_link_close(&thread->link);
fail:
    if (thread != NULL)
        free_timers(thread);
    free(thread);
    fg_error_set(error, "orders: no memory");
    return NULL;
}

static void thread_close(struct fg_backend_thread *base)
{
    struct fg_orders_thread *thread = (struct fg_orders_thread *)base;
    assert(fg_list_is_empty(&thread->streams));
    if (thread->sample_command != NULL)
        fg_redis_command_detach(thread->sample_command);
    free_timers(thread);
    fg_order_events_close(&thread->events);
    fg_redis_link_close(&thread->link);
    fg_counter_set(&thread->metrics->redis.is_connected, 0);
    free(thread);
}

/* ---- an exchange ---- */

static bool matches(const struct fg_orders_endpoint *endpoint, struct fg_span path,
                    struct fg_span *parameter)
{
    struct fg_span before = fg_span_from_string(endpoint->before);
    struct fg_span after = fg_span_from_string(endpoint->after);
    if (endpoint->after == NULL)
        return fg_span_equal(path, before);
    if (!fg_span_starts_with(path, before) || path.len <= before.len + after.len)
        return false;
    *parameter = fg_span_make(path.data + before.len, path.len - before.len - after.len);
    return memchr(parameter->data, '/', parameter->len) == NULL &&
           fg_span_equal(fg_span_make(parameter->data + parameter->len, after.len), after);
}

/* The endpoint of the path and the method; *other is one of the path with another method. */
static const struct fg_orders_endpoint *find_endpoint(const struct fg_exchange *ex,
                                                      struct fg_span *parameter,
                                                      const struct fg_orders_endpoint **other)
{
    enum fg_method method = ex->method == FG_METHOD_HEAD ? FG_METHOD_GET : ex->method;
    *other = NULL;
    for (size_t i = 0; i < fg_orders_endpoint_count; i++) {
        const struct fg_orders_endpoint *endpoint = &fg_orders_endpoints[i];
        if (!matches(endpoint, ex->path, parameter))
            continue;
        if (endpoint->method == method)
            return endpoint;
        *other = endpoint;
    }
    return NULL;
}

static void refuse_path(struct fg_orders_call *call, const struct fg_orders_endpoint *other)
{
    if (other == NULL) {
        fg_orders_refuse(call, 404, "not_found", "there is no such endpoint");
        return;
    }
    bool is_post = other->method == FG_METHOD_POST;
    struct fg_field allow = {FG_SPAN("allow"), fg_span_from_string(is_post ? "POST" : "GET, HEAD")};
    fg_orders_refuse_with(call, 405, "method_not_allowed",
                          is_post ? "this endpoint takes POST" : "this endpoint takes GET", NULL,
                          &allow);
}

/* A body means nothing with GET (RFC 9110 section 9.3.1): nobody waits for it. */
static bool takes_body(const struct fg_orders_endpoint *endpoint)
{
    return endpoint->method != FG_METHOD_GET;
}

static bool wants_body(const struct fg_backend_thread *base, const struct fg_exchange *ex,
                       uint64_t *bytes_max)
{
    const struct fg_orders_endpoint *other;
    struct fg_span parameter;
    const struct fg_orders_endpoint *endpoint = find_endpoint(ex, &parameter, &other);
    *bytes_max = ((const struct fg_orders_thread *)base)->conf->body_bytes_max;
    return endpoint != NULL && takes_body(endpoint) && (ex->user_id.len > 0 || endpoint->is_public);
}

static void start(struct fg_backend_thread *base, struct fg_exchange *ex)
{
    struct fg_orders_call *call = fg_arena_try_zalloc(ex->arena, sizeof(*call));
    const struct fg_orders_endpoint *other;
    if (call == NULL) {
        fg_exchange_fail(ex, FG_FAILURE_NO_MEMORY, "request arena used up");
        return;
    }
    call->ex = ex;
    call->thread = (struct fg_orders_thread *)base;
    call->endpoint = find_endpoint(ex, &call->parameter, &other);
    ex->backend_state = call;
    if (call->endpoint == NULL)
        refuse_path(call, other);
    else if (ex->user_id.len == 0 && !call->endpoint->is_public)
        fg_orders_refuse(call, 401, "unauthenticated",
                         "this endpoint needs a token in the authorization field, as POST "
                         "/api/session gives it");
    else if (ex->user_id.len > USER_LEN_MAX)
        fg_orders_refuse(call, 400, "user_id_too_long",
                         "the user id of the token is too long; expected at most 256 bytes");
    else if (call->endpoint->check != NULL && !call->endpoint->check(call))
        return;
    else if (!ex->has_body || !takes_body(call->endpoint))
        call->endpoint->begin(call);
}

static void on_body(struct fg_exchange *ex, const void *data, size_t len, bool is_last)
{
    struct fg_orders_call *call = ex->backend_state;
    if (!takes_body(call->endpoint)) {
        fg_exchange_consumed(ex, len);
        return;
    }
    assert(is_last); /* wants_body says so */
    call->body = fg_span_make(data, len);
    call->endpoint->begin(call);
}

static void on_writable(struct fg_exchange *ex)
{
    fg_order_stream_writable(ex->backend_state);
}

static void cancel(struct fg_exchange *ex)
{
    struct fg_orders_call *call = ex->backend_state;
    fg_order_stream_leave(call);
    if (call->command != NULL)
        fg_redis_command_detach(call->command);
    call->command = NULL;
    ex->backend_state = NULL;
}

/* ---- the backend ---- */

static bool is_ready(struct fg_backend *backend, const char **why)
{
    const struct fg_orders_backend *orders = (const struct fg_orders_backend *)backend;
    bool is_connected = fg_orders_shared_is_connected(&orders->shared);
    *why = is_connected ? "ready" : "no connection to Redis";
    return is_connected;
}

static void sample(struct fg_backend *backend, uint64_t now_ns, struct fg_overload_sample *into)
{
    struct fg_orders_backend *orders = (struct fg_orders_backend *)backend;
    into->of[FG_OVERLOAD_REDIS_LATENCY].used =
        fg_orders_shared_latency(&orders->shared, now_ns, &orders->sampled);
}

static void stats(struct fg_backend *backend, json_t *into)
{
    const struct fg_orders_backend *orders = (const struct fg_orders_backend *)backend;
    fg_orders_shared_write(&orders->shared, orders->conf, into);
}

static void destroy(struct fg_backend *backend)
{
    struct fg_orders_backend *orders = (struct fg_orders_backend *)backend;
    if (orders == NULL)
        return;
    fg_orders_scripts_free(orders->scripts);
    fg_orders_shared_fini(&orders->shared);
    free(orders);
}

const struct fg_backend_ops fg_orders_backend_ops = {
    .kind = "orders",
    .thread_open = thread_open,
    .thread_close = thread_close,
    .wants_body = wants_body,
    .start = start,
    .on_body = on_body,
    .on_writable = on_writable,
    .cancel = cancel,
    .is_ready = is_ready,
    .stats = stats,
    .sample = sample,
    .destroy = destroy,
};

/* They become parts of keys and of a cluster's hash tag. */
static bool is_name(const char *name)
{
    size_t len = name == NULL ? 0 : strlen(name);
    return len > 0 && len <= NAME_LEN_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == len;
}

static bool check_conf(const struct fg_orders_conf *conf, struct fg_error *error)
{
    if (!is_name(conf->campaign)) {
        fg_error_set(error,
                     "orders: the campaign's name is malformed; expected 1 to %d letters, "
                     "digits, '-', '_' or '.'",
                     NAME_LEN_MAX);
        return false;
    }
    for (size_t i = 0; i < conf->sku_count; i++) {
        if (!is_name(conf->skus[i].sku)) {
            fg_error_set(error,
                         "orders: the name of article %zu is malformed; expected 1 to %d "
                         "letters, digits, '-', '_' or '.'",
                         i + 1, NAME_LEN_MAX);
            return false;
        }
    }
    if (conf->sku_count > FG_ORDERS_SKUS_MAX) {
        fg_error_set(error, "orders: %zu articles; expected at most %d", conf->sku_count,
                     FG_ORDERS_SKUS_MAX);
        return false;
    }
    return true;
}

struct fg_backend *fg_orders_create(const char *name, const struct fg_orders_conf *conf,
                                    struct fg_error *error)
{
    struct fg_redis_address address;
    if (!check_conf(conf, error) || fg_redis_address(&conf->redis, &address, error) != FG_OK)
        return NULL;
    struct fg_orders_backend *orders = calloc(1, sizeof(*orders));
    if (orders == NULL || fg_orders_shared_init(&orders->shared, conf->sku_count) != FG_OK ||
        !fg_orders_scripts_make(orders->scripts)) {
        if (orders != NULL)
            destroy(&orders->base);
        fg_error_set(error, "orders: no memory");
        return NULL;
    }
    orders->base = (struct fg_backend){.ops = &fg_orders_backend_ops, .name = name};
    orders->conf = conf;
    orders->address = address;
    fg_orders_prefix(conf, orders->prefix);
    return &orders->base;
}
