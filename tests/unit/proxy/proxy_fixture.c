/*
 * proxy_fixture.c: loop, servers and exchanges of the proxy's tests.
 */
#include "proxy_fixture.h"

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    *state = f;
    if (f == NULL || fg_mailbox_init(&f->mailbox) != FG_OK)
        return -1;
    f->base = event_base_new();
    f->tick = event_new(f->base, -1, EV_PERSIST, on_tick, NULL);
    const struct timeval pause = {.tv_usec = 1000};
    event_add(f->tick, &pause);
    f->server = &f->servers[0];
    f->server_read_max = SIZE_MAX;
    f->conf = (struct fg_cluster_conf){
        .endpoints = f->endpoints,
        .max_connections = 8,
        .max_idle_connections = 4,
        .connect_timeout_ns = 10 * FG_S,
        .idle_timeout_ns = 60 * FG_S,
        .response_head_timeout_ns = 60 * FG_S,
        .response_idle_timeout_ns = 60 * FG_S,
        .header_bytes_max = 4096,
        .connect_retries = 2,
        .hosts_max = 64,
        .protocol = FG_PROTOCOL_AUTO,
        .max_streams = 100,
        .h2_overhead_burst = 10000,
        .h2_overhead_per_s = 100,
        .retry_body_bytes_max = 65536,
        .retry_budget_min = 3,
        .dns_ttl_min_ns = FG_S,
        .dns_ttl_max_ns = 60 * FG_S,
    };
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < EXCHANGES_MAX; i++)
        fake_exchange_fini(&f->exchanges[i]);
    if (f->thread != NULL)
        f->backend->ops->thread_close(f->thread);
    if (f->backend != NULL)
        f->backend->ops->destroy(f->backend);
    fg_helper_pool_destroy(f->helper);
    fg_mailbox_drain(&f->mailbox);
    fg_mailbox_fini(&f->mailbox);
    for (size_t i = 0; i < SERVERS_MAX; i++)
        upstream_server_close(&f->servers[i]);
    event_free(f->tick);
    event_base_free(f->base);
    free(f);
    return 0;
}

void fixture_open(struct fixture *f)
{
    struct fg_error error;
    const struct fg_backend_env env = {
        .base = f->base,
        .mailbox = &f->mailbox,
        .helper = f->helper,
        .reads = &f->reads,
        .turn = f->turn,
        .thread_count = 1,
    };
    f->backend = fg_proxy_create("api", &f->conf, 1, &error);
    assert_non_null(f->backend);
    f->thread = f->backend->ops->thread_open(f->backend, &env, &error);
    assert_non_null(f->thread);
}

void fixture_open_plain(struct fixture *f)
{
    upstream_server_open(f->server, false);
    f->endpoints[0] = (struct fg_endpoint_conf){f->server->address, 1, 0};
    f->conf.endpoint_count = 1;
    fixture_open(f);
}

void fixture_turn(struct fixture *f)
{
    event_base_loop(f->base, EVLOOP_ONCE);
    fg_mailbox_drain(&f->mailbox);
    for (size_t i = 0; i < SERVERS_MAX; i++) {
        if (f->servers[i].listen_fd > 0)
            upstream_server_poll(&f->servers[i], f->server_read_max);
    }
}

void fixture_start(struct fixture *f, size_t index)
{
    f->backend->ops->start(f->thread, &f->exchanges[index].ex);
}

struct fake_exchange *fixture_get(struct fixture *f, size_t index, const char *path)
{
    struct fake_exchange *fake = &f->exchanges[index];
    fake_exchange_fini(fake);
    fake_exchange_init(fake, "GET", path, NULL);
    fixture_start(f, index);
    return fake;
}

void fixture_body(struct fixture *f, size_t index, const char *data, size_t len, bool is_last)
{
    f->backend->ops->on_body(&f->exchanges[index].ex, data, len, is_last);
}

uint64_t fixture_stat(struct fixture *f, const char *group, const char *name)
{
    json_t *stats = json_object();
    f->backend->ops->stats(f->backend, stats);
    json_t *from = group == NULL ? stats : json_object_get(stats, group);
    json_t *value = json_object_get(from, name);
    assert_true(json_is_integer(value));
    uint64_t number = (uint64_t)json_integer_value(value);
    json_decref(stats);
    return number;
}
