/*
 * proxy.c: the backend's outside: create, open on a loop, hand calls to the request.
 * Thread   start-up for create and destroy; the event loops for the rest, each with its own state.
 * Never    blocks on a loop.
 * Memory   connections up to max_connections over all loops, 128 KiB of upload buffers a connection
 *          at most; one read buffer a loop.
 */
#include "proxy/proxy.h"

#include "proxy_internal.h"

#include "base/clock.h"

#include <assert.h>
#include <stdlib.h>

#define SEGMENTS_KEPT ((size_t)64) /* for reuse; an upload holds what UPLOAD_MARK allows */
#define BLOCK_BYTES_KEPT ((size_t)1 << 20)

/* A loop's part of what is configured for all; at least 1 of what is not 0. */
static size_t share(uint32_t amount, unsigned thread_count)
{
    size_t part = amount / thread_count;
    return part == 0 && amount > 0 ? 1 : part;
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    fg_attempt_flush_unsent(arg);
    fg_h2_flush_dirty(arg);
}

static void free_thread(struct fg_proxy_thread *thread)
{
    free(thread->read_buffer);
    free(thread->write_buffer);
    free(thread);
}

static void thread_close(struct fg_backend_thread *base)
{
    struct fg_proxy_thread *thread = (struct fg_proxy_thread *)base;
    assert(fg_list_is_empty(&thread->unsent));
    fg_resolver_close(thread->resolver);
    fg_endpoint_file_close(thread->file);
    fg_health_checker_close(thread->checker);
    fg_h2_flush_dirty(thread); /* connections whose last stream has only just been ended are idle */
    event_del(&thread->flush_event);
    fg_pending_fini(thread);
    fg_upstreams_fini(thread);
    fg_proxy_endpoints_fini(thread);
    fg_segment_pool_fini(&thread->segments);
    fg_block_pool_fini(&thread->small_blocks);
    free_thread(thread);
}

static struct fg_backend_thread *
thread_open(struct fg_backend *backend, const struct fg_backend_env *env, struct fg_error *error)
{
    struct fg_proxy *proxy = (struct fg_proxy *)backend;
    assert(env->thread_index < proxy->thread_count);
    struct fg_proxy_thread *thread = calloc(1, sizeof(*thread));
    if (thread == NULL)
        goto no_memory;
    thread->base.backend = backend;
    thread->proxy = proxy;
    thread->env = *env;
    thread->clock.turn = env->turn;
    thread->metrics = &proxy->metrics[env->thread_index];
    thread->idle_max = share(proxy->conf.max_idle_connections, proxy->thread_count);
    thread->read_buffer = malloc(FG_READ_BYTES);
    thread->write_buffer = malloc(FG_WRITE_BYTES);
    if (thread->read_buffer == NULL || thread->write_buffer == NULL)
        goto free_parts;
    if (!fg_upstreams_init(thread))
        goto free_parts;
    fg_proxy_endpoints_init(thread);
    fg_list_init(&thread->unsent);
    fg_list_init(&thread->dirty);
    fg_pending_init(thread);
    event_assign(&thread->flush_event, env->base, -1, 0, on_flush, thread);
    fg_segment_pool_init(&thread->segments, SEGMENTS_KEPT);
    fg_block_pool_init(&thread->small_blocks, BLOCK_BYTES_KEPT);
    if (env->thread_index == 0 && (fg_resolver_open(&thread->resolver, thread) != FG_OK ||
                                   fg_endpoint_file_open(&thread->file, thread) != FG_OK ||
                                   fg_health_checker_open(&thread->checker, thread) != FG_OK))
        goto close_thread;
    return &thread->base;
close_thread:
    thread_close(&thread->base);
    goto no_memory;
free_parts:
    free_thread(thread);
no_memory:
    (void)fg_error_set(error, "no memory for cluster %s", backend->name);
    return NULL;
}

static void start(struct fg_backend_thread *base, struct fg_exchange *ex)
{
    if (ex->method == FG_METHOD_CONNECT) {
        fg_exchange_refuse(ex, &(struct fg_backend_refusal){
                                   .status = 501,
                                   .type = "invalid_request",
                                   .code = "not_implemented",
                                   .message = "CONNECT is not supported here",
                               });
        return;
    }
    fg_proxy_request_start((struct fg_proxy_thread *)base, ex);
}

/* Every way that an exchange can end clears backend_state; a late call finds nothing. */
static void on_body(struct fg_exchange *ex, const void *data, size_t len, bool is_last)
{
    if (ex->backend_state != NULL)
        fg_proxy_request_on_body(ex->backend_state, data, len, is_last);
}

static void on_writable(struct fg_exchange *ex)
{
    if (ex->backend_state != NULL)
        fg_proxy_request_on_client_writable(ex->backend_state);
}

static void set_aside(struct fg_exchange *ex)
{
    if (ex->backend_state != NULL)
        fg_proxy_request_set_aside(ex->backend_state);
}

static void cancel(struct fg_exchange *ex)
{
    if (ex->backend_state != NULL)
        fg_proxy_request_cancel(ex->backend_state);
}

static void destroy(struct fg_backend *backend)
{
    struct fg_proxy *proxy = (struct fg_proxy *)backend;
    if (proxy == NULL)
        return;
    free(proxy->targets);
    free(proxy->metrics);
    fg_cluster_limits_fini(&proxy->limits);
    fg_hosts_fini(&proxy->hosts);
    fg_tls_slot_fini(&proxy->tls);
    free(proxy);
}

static const struct fg_backend_ops proxy_ops = {
    .kind = "proxy",
    .thread_open = thread_open,
    .thread_close = thread_close,
    .start = start,
    .on_body = on_body,
    .on_writable = on_writable,
    .set_aside = set_aside,
    .cancel = cancel,
    .is_ready = fg_proxy_is_ready,
    .stats = fg_proxy_stats,
    .destroy = destroy,
};

/* Names are looked up once by the system here, so that the first requests find a host. */
static bool add_endpoints(struct fg_proxy *proxy, struct fg_error *error)
{
    const struct fg_cluster_conf *conf = &proxy->conf;
    if (conf->hash_key != NULL && !fg_affinity_parse(&proxy->affinity, conf->hash_key)) {
        (void)fg_error_set(error, "cluster %s: hash_key \"%s\" is no key", proxy->base.name,
                           conf->hash_key);
        return false;
    }
    for (size_t i = 0; i < conf->endpoint_count; i++) {
        struct fg_endpoint_target *target = &proxy->targets[i];
        struct fg_address addresses[FG_ADDRESSES_MAX];
        struct fg_host_spec specs[FG_ADDRESSES_MAX];
        size_t count = 1;
        if (!fg_endpoint_target_init(target, &conf->endpoints[i], error))
            return false;
        if (!target->is_name)
            addresses[0] = target->address;
        else
            count = conf->dns_server_count > 0 ? 0 : fg_endpoint_lookup(target, addresses);
        for (size_t j = 0; j < count; j++)
            fg_endpoint_spec(target, &addresses[j], &specs[j]);
        enum fg_status status = fg_hosts_replace(&proxy->hosts, (unsigned)i, specs, count, 0);
        if (status != FG_OK) {
            (void)fg_error_set(error, "cluster %s: endpoint %s: %s", proxy->base.name, target->text,
                               status == FG_ERR_LIMIT ? "more addresses than endpoints_max"
                                                      : "no memory");
            return false;
        }
    }
    return true;
}

struct fg_backend *fg_proxy_create(const char *name, const struct fg_cluster_conf *conf,
                                   unsigned thread_count, struct fg_error *error)
{
    assert(thread_count > 0);
    bool has_endpoints = conf->endpoint_count > 0 || conf->endpoints_file != NULL;
    if (!has_endpoints || conf->max_connections == 0) {
        (void)fg_error_set(error, "cluster %s has no %s; expected at least one", name,
                           has_endpoints ? "connections" : "endpoints");
        return NULL;
    }
    struct fg_proxy *proxy = calloc(1, sizeof(*proxy));
    if (proxy == NULL)
        goto no_memory;
    proxy->base = (struct fg_backend){.ops = &proxy_ops, .name = name};
    proxy->conf = *conf;
    proxy->thread_count = thread_count;
    proxy->targets = calloc(conf->endpoint_count + 1, sizeof(*proxy->targets));
    proxy->metrics = calloc(thread_count, sizeof(*proxy->metrics));
    const struct fg_hosts_conf hosts = {
        .cluster = name,
        .thread_count = thread_count,
        .hosts_max = conf->hosts_max,
        .has_checks = conf->has_check,
        .has_outlier = conf->has_outlier,
        .has_breaker = conf->has_breaker,
        .is_breaker_shadow = conf->is_breaker_shadow,
        .breaker = conf->breaker,
        .health = conf->health,
        .outlier = conf->outlier,
    };
    if (proxy->targets == NULL || proxy->metrics == NULL || !fg_hosts_init(&proxy->hosts, &hosts) ||
        !fg_cluster_limits_init(&proxy->limits, conf, thread_count) ||
        !fg_tls_slot_init(&proxy->tls))
        goto no_memory;
    fg_retry_budget_init(&proxy->budget, conf->retry_budget_permille, conf->retry_budget_min);
    if (!fg_cluster_tls_load(proxy, error) || !add_endpoints(proxy, error)) {
        destroy(&proxy->base);
        return NULL;
    }
    if (conf->endpoints_file != NULL)
        fg_endpoint_file_load(proxy);
    return &proxy->base;
no_memory:
    (void)fg_error_set(error, "no memory for cluster %s", name);
    if (proxy != NULL)
        destroy(&proxy->base);
    return NULL;
}

/* ---- the operator ---- */

static unsigned operator_source(const struct fg_proxy *proxy)
{
    return (unsigned)proxy->conf.endpoint_count + 1; /* behind the file */
}

static enum fg_status spec_of(const char *address, uint32_t weight, uint32_t priority,
                              struct fg_host_spec *spec)
{
    struct fg_endpoint_target target;
    const struct fg_endpoint_conf conf = {address, weight, priority};
    if (!fg_endpoint_target_init(&target, &conf, NULL) || target.is_name)
        return FG_ERR_INVALID; /* a name would have to be looked up, and again and again */
    fg_endpoint_spec(&target, &target.address, spec);
    return FG_OK;
}

bool fg_proxy_is_configured(struct fg_backend *backend, const char *address)
{
    struct fg_proxy *proxy = (struct fg_proxy *)backend;
    struct fg_host_spec spec;
    return spec_of(address, 1, 0, &spec) == FG_OK &&
           fg_hosts_list_elsewhere(&proxy->hosts, operator_source(proxy), &spec);
}

bool fg_proxy_has_endpoint(struct fg_backend *backend, struct fg_span name)
{
    struct fg_proxy *proxy = (struct fg_proxy *)backend;
    return fg_hosts_count_named(&proxy->hosts, name) > 0;
}

/* `own` and `specs` have room for all. */
static enum fg_status obey(struct fg_proxy *proxy, const struct fg_endpoint_changes *all,
                           struct fg_endpoint_changes *own, struct fg_host_spec *specs)
{
    uint64_t now_ns = fg_clock_monotonic_ns();
    size_t spec_count = 0;
    for (size_t i = 0; i < all->count; i++) {
        const struct fg_endpoint_change *change = &all->list[i];
        if (strcmp(change->cluster, proxy->base.name) != 0)
            continue;
        own->list[own->count++] = *change;
        if (change->kind != FG_ENDPOINT_ADD)
            continue;
        struct fg_host_spec *spec = &specs[spec_count];
        enum fg_status status = spec_of(change->address, change->weight, change->priority, spec);
        if (status != FG_OK)
            return status;
        spec_count += !fg_hosts_list_elsewhere(&proxy->hosts, operator_source(proxy), spec);
    }
    enum fg_status status =
        fg_hosts_replace(&proxy->hosts, operator_source(proxy), specs, spec_count, now_ns);
    if (status == FG_OK && !fg_hosts_obey(&proxy->hosts, own, now_ns))
        return FG_ERR_NO_MEMORY;
    return status;
}

enum fg_status fg_proxy_obey(struct fg_backend *backend, const struct fg_endpoint_changes *changes)
{
    struct fg_endpoint_changes own = {.list = calloc(changes->count + 1, sizeof(*own.list))};
    struct fg_host_spec *specs = calloc(changes->count + 1, sizeof(*specs));
    enum fg_status status = own.list == NULL || specs == NULL
                                ? FG_ERR_NO_MEMORY
                                : obey((struct fg_proxy *)backend, changes, &own, specs);
    free(own.list);
    free(specs);
    return status;
}
