/*
 * fuzz_proxy.c: any bytes as what a server says on a connection, to the whole proxy: HTTP/1.1 or
 * HTTP/2, several requests, kept and shared connections, retries. The first byte says how.
 * Every exchange must end, exactly once and in the order that backends/backend.h promises, and what
 * is passed on must be safe to send to a client.
 * The server's side is a unix socket in the same thread; nothing leaves the process.
 */
#include "proxy/proxy.h"

#include "base/clock.h"

#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define EXCHANGES 3u
#define CONNECTIONS_MAX 16u
#define TURNS_MAX 20000u
#define PIECE_BYTES 1500u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step { STEP_NEW, STEP_HEAD, STEP_TRAILERS, STEP_OVER };

struct exchange {
    struct fg_exchange ex; /* first */
    struct fg_arena arena;
    enum step step;
    uint64_t body_bytes;
};

struct world {
    struct event_base *base;
    struct fg_mailbox mailbox;
    struct fg_last_reads reads; /* without a bound */
    struct fg_arena_pool pool;
    struct fg_backend *backends[2]; /* HTTP/1.1, HTTP/2 */
    struct fg_backend_thread *threads[2];
    char address[128];
    int listen_fd;
    int connections[CONNECTIONS_MAX];
    size_t connection_count;
};

static struct world world;

/* ---- the client's side ---- */

static void check_fields(const struct fg_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct fg_span name = fields[i].name, value = fields[i].value;
        assert(name.len > 0);
        for (size_t j = 0; j < name.len; j++)
            assert(name.data[j] > 0x20 && name.data[j] != 0x7f && name.data[j] != ':' &&
                   !(name.data[j] >= 'A' && name.data[j] <= 'Z'));
        for (size_t j = 0; j < value.len; j++) {
            unsigned char c = (unsigned char)value.data[j];
            assert((c >= 0x20 && c != 0x7f) || c == '\t');
        }
        assert(!fg_span_equal(name, FG_SPAN("transfer-encoding")));
        assert(!fg_span_equal(name, FG_SPAN("connection")));
    }
}

static struct exchange *of(struct fg_exchange *ex)
{
    struct exchange *one = (struct exchange *)ex;
    assert(one->step != STEP_OVER);
    return one;
}

static void on_interim(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                       size_t count)
{
    assert(of(ex)->step == STEP_NEW && status > 101 && status < 200);
    check_fields(fields, count);
}

static void on_head(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                    size_t count)
{
    assert(of(ex)->step == STEP_NEW && status >= 200 && status <= 599);
    check_fields(fields, count);
    of(ex)->step = STEP_HEAD;
}

static bool on_write(struct fg_exchange *ex, const void *data, size_t len)
{
    assert(of(ex)->step == STEP_HEAD && data != NULL && len > 0);
    of(ex)->body_bytes += len;
    return true;
}

static void on_trailers(struct fg_exchange *ex, const struct fg_field *fields, size_t count)
{
    assert(of(ex)->step == STEP_HEAD);
    check_fields(fields, count);
    of(ex)->step = STEP_TRAILERS;
}

static void on_end(struct fg_exchange *ex)
{
    assert(of(ex)->step == STEP_HEAD || of(ex)->step == STEP_TRAILERS);
    of(ex)->step = STEP_OVER;
}

static void on_head_end(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                        size_t count)
{
    on_head(ex, status, fields, count);
    on_end(ex);
}

static void on_refuse(struct fg_exchange *ex, const struct fg_backend_refusal *refusal)
{
    (void)refusal;
    assert(of(ex)->step == STEP_NEW);
    of(ex)->step = STEP_OVER;
}

static void on_fail(struct fg_exchange *ex, enum fg_failure failure, const char *detail)
{
    (void)failure;
    assert(detail != NULL);
    of(ex)->step = STEP_OVER;
}

static void on_consumed(struct fg_exchange *ex, size_t len)
{
    (void)of(ex);
    (void)len;
}

static void on_hop_time(struct fg_exchange *ex, const char *hop, uint64_t duration_ns)
{
    (void)of(ex);
    (void)hop;
    (void)duration_ns;
}

static void on_release_slot(struct fg_exchange *ex)
{
    (void)of(ex);
}

static const struct fg_exchange_ops ops = {
    .interim = on_interim,
    .head = on_head,
    .head_end = on_head_end,
    .write = on_write,
    .trailers = on_trailers,
    .end = on_end,
    .refuse = on_refuse,
    .fail = on_fail,
    .consumed = on_consumed,
    .hop_time = on_hop_time,
    .release_slot = on_release_slot,
};

static void start(struct exchange *one, struct fg_backend_thread *thread, bool is_post)
{
    fg_arena_init(&one->arena, &world.pool, 1 << 20);
    one->step = STEP_NEW;
    one->ex = (struct fg_exchange){
        .request_id = FG_SPAN("r1"),
        .client_addr = FG_SPAN("192.0.2.1"),
        .method = is_post ? FG_METHOD_POST : FG_METHOD_GET,
        .method_text = is_post ? FG_SPAN("POST") : FG_SPAN("GET"),
        .scheme = FG_SPAN("https"),
        .authority = FG_SPAN("example.org"),
        .path = FG_SPAN("/"),
        .has_body = is_post,
        .content_length = is_post ? 4 : 0,
        .accepts_trailers = true,
        .deadline_ns = fg_clock_monotonic_ns() + FG_S,
        .arena = &one->arena,
        .ops = &ops,
    };
    thread->backend->ops->start(thread, &one->ex);
    if (is_post && one->step != STEP_OVER)
        thread->backend->ops->on_body(&one->ex, "body", 4, true);
}

static void remove_socket(void)
{
    unlink(world.address + sizeof("unix:") - 1);
}

/* ---- the server's side ---- */

static void listen_at(struct world *w)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/fuzz-proxy-%d.sock", (int)getpid());
    unlink(address.sun_path);
    w->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert(w->listen_fd != -1);
    assert(bind(w->listen_fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    assert(listen(w->listen_fd, 64) == 0);
    snprintf(w->address, sizeof(w->address), "unix:%s", address.sun_path);
    assert(atexit(remove_socket) == 0);
}

static void accept_all(struct world *w)
{
    int fd;
    while (w->connection_count < CONNECTIONS_MAX &&
           (fd = accept4(w->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) != -1)
        w->connections[w->connection_count++] = fd;
}

static void drain(const struct world *w)
{
    char buffer[16384];
    for (size_t i = 0; i < w->connection_count; i++) {
        while (w->connections[i] != -1 && read(w->connections[i], buffer, sizeof(buffer)) > 0)
            continue;
    }
}

static void hang_up(struct world *w, size_t index)
{
    if (w->connections[index] != -1)
        close(w->connections[index]);
    w->connections[index] = -1;
}

static void turn(struct world *w)
{
    event_base_loop(w->base, EVLOOP_NONBLOCK);
    fg_mailbox_drain(&w->mailbox);
    accept_all(w);
    drain(w);
}

/* ---- the world ---- */

static void make_world(struct world *w)
{
    static struct fg_endpoint_conf endpoint = {.weight = 1};
    struct fg_error error;
    listen_at(w);
    endpoint.address = w->address;
    w->base = event_base_new();
    assert(w->base != NULL && fg_mailbox_init(&w->mailbox) == FG_OK);
    fg_arena_pool_init(&w->pool, 4096);
    for (unsigned i = 0; i < 2; i++) {
        const struct fg_cluster_conf conf = {
            .endpoints = &endpoint,
            .endpoint_count = 1,
            .max_connections = 8,
            .max_idle_connections = 4,
            .connect_timeout_ns = 10 * FG_S,
            .idle_timeout_ns = 60 * FG_S,
            .response_head_timeout_ns = 60 * FG_S,
            .response_idle_timeout_ns = 60 * FG_S,
            .header_bytes_max = 8192,
            .connect_retries = 2,
            .hosts_max = 4,
            .protocol = i == 0 ? FG_PROTOCOL_HTTP1 : FG_PROTOCOL_H2,
            .max_streams = 100,
            .h2_overhead_burst = 10000,
            .h2_overhead_per_s = 100,
            .retries_max = 1,
            .retry_body_bytes_max = 1024,
            .retry_budget_min = 3,
            .dns_ttl_max_ns = 60 * FG_S,
        };
        const struct fg_backend_env env = {
            .base = w->base, .mailbox = &w->mailbox, .reads = &w->reads, .thread_count = 1};
        w->backends[i] = fg_proxy_create("fuzz", &conf, 1, &error);
        assert(w->backends[i] != NULL);
        w->threads[i] = w->backends[i]->ops->thread_open(w->backends[i], &env, &error);
        assert(w->threads[i] != NULL);
    }
}

static size_t open_count(const struct exchange *exchanges)
{
    size_t count = 0;
    for (size_t i = 0; i < EXCHANGES; i++)
        count += exchanges[i].step != STEP_OVER;
    return count;
}

/* All of the input to the first connection, in pieces, then an end; further ones end at once. */
static void play(struct world *w, const uint8_t *data, size_t size, size_t piece_bytes,
                 const struct exchange *exchanges)
{
    size_t said = 0;
    for (unsigned turns = 0; open_count(exchanges) > 0; turns++) {
        assert(turns < TURNS_MAX);
        turn(w);
        for (size_t i = 1; i < w->connection_count; i++)
            hang_up(w, i);
        if (w->connection_count == 0 || w->connections[0] == -1)
            continue;
        size_t len = size - said < piece_bytes ? size - said : piece_bytes;
        ssize_t sent = send(w->connections[0], data + said, len, MSG_NOSIGNAL);
        if (sent > 0)
            said += (size_t)sent;
        if (said == size || (sent == -1 && turns > 16))
            hang_up(w, 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct exchange exchanges[EXCHANGES];
    if (world.base == NULL)
        make_world(&world);
    if (size == 0)
        return 0;
    unsigned how = data[0];
    size_t piece_bytes = (how & 0x30) == 0 ? PIECE_BYTES : 1 + (how >> 4 & 3) * 7;
    memset(exchanges, 0, sizeof(exchanges));
    world.connection_count = 0;
    for (size_t i = 0; i < EXCHANGES; i++)
        start(&exchanges[i], world.threads[how & 1], (how >> (1 + i) & 1) != 0);
    play(&world, data + 1, size - 1, piece_bytes, exchanges);
    for (size_t i = 0; i < EXCHANGES; i++)
        fg_arena_fini(&exchanges[i].arena);
    for (size_t i = 0; i < world.connection_count; i++)
        hang_up(&world, i);
    for (unsigned i = 0; i < 3; i++)
        turn(&world); /* what was kept is closed with its server */
    for (size_t i = 0; i < world.connection_count; i++)
        hang_up(&world, i);
    return 0;
}
