/*
 * health_check.c: asks every host of the list, in its own time, whether it is well.
 * Job      an HTTP check is an exchange of our own with a GET, pinned to its host, over the same
 *          code and protocol as real requests but never on an idle connection; a check by gRPC is
 *          a call of grpc.health.v1.Health/Check in the same way; a TCP check is a
 *          connect, and a PROXY header that says "no client" where servers wait for one.
 *          policies/health turns results into a state, hosts_shared tells the loops. The
 *          same timer runs the sweep of the outlier detection.
 * Thread   the first event loop.
 * Never    retries, counts into the metrics of requests, takes our own lack of connections for the
 *          host's illness, or reads without end.
 * Memory   one object a host, with an arena while a check runs.
 *
 *    due --start--> running --answer, failure, timeout--> note --pause + jitter--> due
 */
#include "proxy/health_check.h"

#include "proxy_internal.h"

#include "base/clock.h"
#include "proxy/client_header.h"
#include "proxy/grpc_health.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICK_MOST_NS (250 * FG_MS)
#define TICK_LEAST_NS (10 * FG_MS)
#define SWEEP_PAUSE_NS FG_MS
#define ARENA_BYTES_MAX ((size_t)262144)
#define BODY_BYTES_MAX ((size_t)1 << 20) /* of an answer; the rest stays with the host */
#define ARENA_CHUNKS_MAX ((size_t)1024)
#define MESSAGE_BYTES_MAX 256u /* of an answer by gRPC; a longer one is none that we know */

enum check_state { CHECK_WAITING, CHECK_HTTP, CHECK_TCP };

struct check {
    struct fg_exchange ex; /* first */
    struct fg_list link;
    struct fg_health_checker *checker;
    struct fg_proxy_endpoint *endpoint; /* held */
    enum check_state state;
    uint64_t due_ns;      /* while waiting */
    uint64_t deadline_ns; /* while running */
    unsigned status;
    size_t body_bytes;                        /* of the answer, so far */
    bool has_call_status;                     /* its grpc-status was there, and OK */
    unsigned char message[MESSAGE_BYTES_MAX]; /* the answer's begin, by gRPC */
    struct fg_arena arena;
    struct event connected; /* of the TCP check */
    int fd;
};

struct fg_health_checker {
    struct fg_proxy_thread *thread;
    struct event *timer;
    struct event *sweep_timer; /* the next part of the judgement by answers */
    struct fg_list checks;
    struct fg_arena_pool pool;
    uint64_t sweep_due_ns;
    uint64_t tick_ns;
};

/* ---- the end of a check ---- */

static void wait_again(struct check *check)
{
    const struct fg_proxy *proxy = check->checker->thread->proxy;
    uint64_t pause_ns =
        fg_health_pause_ns(&proxy->hosts.conf.health, fg_proxy_random(check->checker->thread));
    check->state = CHECK_WAITING;
    check->due_ns = fg_clock_monotonic_ns() + pause_ns;
}

/* `fault` NULL: a good one. */
static void finish(struct check *check, const char *fault)
{
    struct fg_proxy *proxy = check->checker->thread->proxy;
    fg_hosts_note_check(&proxy->hosts, check->endpoint->host, fault, fg_clock_monotonic_ns());
    wait_again(check);
}

/* ---- an exchange of our own ---- */

static struct check *check_of(struct fg_exchange *ex)
{
    return (struct check *)ex;
}

static void on_interim(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                       size_t field_count)
{
    (void)ex;
    (void)status;
    (void)fields;
    (void)field_count;
}

static void on_head(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                    size_t field_count)
{
    (void)fields;
    (void)field_count;
    check_of(ex)->status = status;
}

static bool is_grpc(const struct check *check)
{
    return check->checker->thread->proxy->conf.check.kind == FG_CHECK_GRPC;
}

/* Past the limit nothing more is read, so that the check ends with its time, as a bad one. */
static bool on_write(struct fg_exchange *ex, const void *data, size_t len)
{
    struct check *check = check_of(ex);
    if (is_grpc(check) && check->body_bytes < MESSAGE_BYTES_MAX) {
        size_t room = MESSAGE_BYTES_MAX - check->body_bytes;
        memcpy(check->message + check->body_bytes, data, len < room ? len : room);
    }
    check->body_bytes += len;
    return check->body_bytes <= BODY_BYTES_MAX;
}

static void on_trailers(struct fg_exchange *ex, const struct fg_field *fields, size_t field_count)
{
    for (size_t i = 0; i < field_count; i++) {
        if (fg_span_equal(fields[i].name, FG_SPAN("grpc-status")))
            check_of(ex)->has_call_status = fg_span_equal(fields[i].value, FG_SPAN("0"));
    }
}

static const char *fault_of_call(const struct check *check)
{
    if (!check->has_call_status)
        return "the call did not end with grpc-status 0";
    return check->body_bytes <= MESSAGE_BYTES_MAX &&
                   fg_grpc_health_is_serving(check->message, check->body_bytes)
               ? NULL
               : "it does not say that it is SERVING";
}

static void on_end(struct fg_exchange *ex)
{
    struct check *check = check_of(ex);
    char fault[32];
    snprintf(fault, sizeof(fault), "status %u", check->status);
    if (is_grpc(check) && check->status == 200)
        finish(check, fault_of_call(check));
    else
        finish(check,
               !is_grpc(check) && check->status >= 200 && check->status < 400 ? NULL : fault);
}

static void on_head_end(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                        size_t field_count)
{
    on_head(ex, status, fields, field_count);
    on_trailers(ex, fields, field_count);
    on_end(ex);
}

static void on_refuse(struct fg_exchange *ex, const struct fg_backend_refusal *refusal)
{
    (void)refusal;
    wait_again(check_of(ex));
}

static void on_fail(struct fg_exchange *ex, enum fg_failure failure, const char *detail)
{
    struct check *check = check_of(ex);
    if (failure == FG_FAILURE_BUSY || failure == FG_FAILURE_NO_MEMORY)
        wait_again(check); /* ours, not the host's */
    else
        finish(check, detail);
}

static void on_consumed(struct fg_exchange *ex, size_t len)
{
    (void)ex;
    (void)len;
}

static void on_hop_time(struct fg_exchange *ex, const char *hop, uint64_t duration_ns)
{
    (void)ex;
    (void)hop;
    (void)duration_ns;
}

static void on_release_slot(struct fg_exchange *ex)
{
    (void)ex;
}

static const struct fg_exchange_ops check_ops = {
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

/* What the check by HTTP and that by gRPC have in common. */
static void make_exchange(struct check *check, uint64_t now_ns)
{
    struct fg_health_checker *checker = check->checker;
    const struct fg_cluster_conf *conf = &checker->thread->proxy->conf;
    const char *host = conf->check.host != NULL    ? conf->check.host
                       : conf->host_header != NULL ? conf->host_header
                                                   : check->endpoint->host->spec.server_name;
    fg_arena_fini(&check->arena); /* of the check before */
    fg_arena_init(&check->arena, &checker->pool, ARENA_BYTES_MAX);
    check->ex = (struct fg_exchange){
        .authority = fg_span_from_string(host),
        .priority = FG_PRIORITY_CRITICAL,
        .started_ns = now_ns,
        .deadline_ns = check->deadline_ns,
        .arena = &check->arena,
        .ops = &check_ops,
    };
    check->status = 0;
    check->body_bytes = 0;
    check->has_call_status = false;
    check->state = CHECK_HTTP;
}

static void start_http(struct check *check, uint64_t now_ns)
{
    static const struct fg_field fields[] = {
        {FG_SPAN_LITERAL("user-agent"), FG_SPAN_LITERAL("floodgate-health-check")}};
    struct fg_proxy_thread *thread = check->checker->thread;
    struct fg_span query = fg_span_from_string(thread->proxy->conf.check.path);
    make_exchange(check, now_ns);
    check->ex.method = FG_METHOD_GET;
    check->ex.method_text = FG_SPAN("GET");
    check->ex.path = fg_span_split(&query, '?');
    check->ex.query = query;
    check->ex.fields = fields;
    check->ex.field_count = 1;
    fg_proxy_request_start_pinned(thread, &check->ex, check->endpoint);
}

static void start_grpc(struct check *check, uint64_t now_ns)
{
    static const struct fg_field fields[] = {
        {FG_SPAN_LITERAL("user-agent"), FG_SPAN_LITERAL("floodgate-health-check")},
        {FG_SPAN_LITERAL("content-type"), FG_SPAN_LITERAL("application/grpc")},
    };
    struct fg_proxy_thread *thread = check->checker->thread;
    const char *service = thread->proxy->conf.check.service;
    unsigned char body[FG_GRPC_ASK_BYTES];
    size_t len = fg_grpc_health_ask(fg_span_from_string(service == NULL ? "" : service), body);
    make_exchange(check, now_ns);
    check->ex.method = FG_METHOD_POST;
    check->ex.method_text = FG_SPAN("POST");
    check->ex.path = FG_SPAN("/grpc.health.v1.Health/Check");
    check->ex.fields = fields;
    check->ex.field_count = 2;
    check->ex.has_body = true;
    check->ex.accepts_trailers = true;
    check->ex.content_length = (int64_t)len;
    fg_proxy_request_start_pinned(thread, &check->ex, check->endpoint);
    if (check->ex.backend_state != NULL) /* or it has ended already */
        fg_proxy_request_on_body(check->ex.backend_state, body, len, true);
}

/* ---- a connect ---- */

/*
 * A server that expects a PROXY header logs, or counts against us, who ends without one. It fits
 * into the empty buffer of a new connection whole, or the connection is no good.
 */
static bool greet(const struct check *check)
{
    static const struct fg_exchange nobody = {.started_ns = 0};
    const struct fg_cluster_conf *conf = &check->checker->thread->proxy->conf;
    char header[FG_CLIENT_HEADER_BYTES_MAX];
    if (conf->proxy_version == FG_PROXY_OFF)
        return true;
    size_t len = fg_client_header_make(&nobody, conf, FG_SPAN(""), header);
    return send(check->fd, header, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void stop_tcp(struct check *check)
{
    event_del(&check->connected);
    close(check->fd);
    check->fd = -1;
}

static void on_connected(evutil_socket_t fd, short what, void *arg)
{
    struct check *check = arg;
    int error = 0;
    socklen_t error_bytes = sizeof(error);
    (void)what;
    const char *fault = NULL;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_bytes) == -1 || error != 0)
        fault = strerror(error);
    else if (!greet(check))
        fault = "it did not take the PROXY header";
    stop_tcp(check);
    finish(check, fault);
}

static void start_tcp(struct check *check)
{
    const struct fg_address *address = &check->endpoint->host->spec.address;
    check->fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (check->fd == -1) {
        wait_again(check); /* ours, not the host's */
        return;
    }
    if (connect(check->fd, (const struct sockaddr *)&address->storage, address->len) == -1 &&
        errno != EINPROGRESS) {
        const char *fault = strerror(errno);
        close(check->fd);
        check->fd = -1;
        finish(check, fault);
        return;
    }
    check->state = CHECK_TCP;
    event_assign(&check->connected, check->checker->thread->env.base, check->fd, EV_WRITE,
                 on_connected, check);
    event_add(&check->connected, NULL);
}

/* ---- all of them ---- */

static void stop(struct check *check)
{
    if (check->state == CHECK_HTTP && check->ex.backend_state != NULL)
        fg_proxy_request_cancel(check->ex.backend_state);
    if (check->state == CHECK_TCP)
        stop_tcp(check);
    check->state = CHECK_WAITING;
}

static void start(struct check *check, uint64_t now_ns)
{
    const struct fg_check_conf *conf = &check->checker->thread->proxy->conf.check;
    check->deadline_ns = now_ns + conf->timeout_ns;
    switch (conf->kind) {
    case FG_CHECK_HTTP:
        start_http(check, now_ns);
        break;
    case FG_CHECK_TCP:
        start_tcp(check);
        break;
    case FG_CHECK_GRPC:
        start_grpc(check, now_ns);
        break;
    }
}

static void free_check(struct check *check)
{
    stop(check);
    fg_list_remove(&check->link);
    fg_arena_fini(&check->arena);
    fg_proxy_endpoint_release(check->endpoint);
    free(check);
}

static void add_missing(struct fg_health_checker *checker)
{
    struct fg_proxy_thread *thread = checker->thread;
    for (size_t i = 0; i < thread->balance.host_count; i++) {
        struct fg_proxy_endpoint *endpoint = thread->listed[i];
        if (endpoint->has_check)
            continue;
        struct check *check = calloc(1, sizeof(*check));
        if (check == NULL)
            return; /* the next tick tries again */
        check->checker = checker;
        check->endpoint = endpoint;
        check->fd = -1;
        endpoint->has_check = true;
        fg_proxy_endpoint_hold(endpoint);
        fg_list_push_back(&checker->checks, &check->link);
    }
}

static void run_checks(struct fg_health_checker *checker, uint64_t now_ns)
{
    add_missing(checker);
    FG_LIST_EACH_SAFE(it, after, &checker->checks)
    {
        struct check *check = FG_CONTAINER_OF(it, struct check, link);
        if (check->endpoint->index == FG_BALANCE_NONE) {
            free_check(check);
        } else if (check->state == CHECK_WAITING && check->due_ns <= now_ns) {
            start(check, now_ns);
        } else if (check->state != CHECK_WAITING && check->deadline_ns <= now_ns) {
            stop(check);
            finish(check, "it took longer than the time-out");
        }
    }
}

/* Others have their turns between its parts. */
static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct fg_health_checker *checker = arg;
    const struct timeval pause = {.tv_usec = SWEEP_PAUSE_NS / FG_US};
    (void)fd;
    (void)what;
    if (!fg_hosts_sweep(&checker->thread->proxy->hosts, fg_clock_monotonic_ns()))
        event_add(checker->sweep_timer, &pause);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct fg_health_checker *checker = arg;
    struct fg_proxy *proxy = checker->thread->proxy;
    (void)fd;
    (void)what;
    uint64_t now_ns = fg_clock_monotonic_ns();
    fg_proxy_endpoints_sync(checker->thread);
    if (proxy->hosts.conf.has_checks)
        run_checks(checker, now_ns);
    if (proxy->hosts.conf.has_outlier && checker->sweep_due_ns <= now_ns) {
        checker->sweep_due_ns = now_ns + proxy->conf.outlier_interval_ns;
        on_sweep(-1, 0, checker);
    }
}

static uint64_t tick_of(const struct fg_cluster_conf *conf)
{
    uint64_t shortest_ns = UINT64_MAX;
    if (conf->has_check)
        shortest_ns = conf->health.interval_ns < conf->check.timeout_ns ? conf->health.interval_ns
                                                                        : conf->check.timeout_ns;
    if (conf->has_outlier && conf->outlier_interval_ns < shortest_ns)
        shortest_ns = conf->outlier_interval_ns;
    uint64_t tick_ns = shortest_ns / 4;
    return tick_ns < TICK_LEAST_NS  ? TICK_LEAST_NS
           : tick_ns < TICK_MOST_NS ? tick_ns
                                    : TICK_MOST_NS;
}

enum fg_status fg_health_checker_open(struct fg_health_checker **out,
                                      struct fg_proxy_thread *thread)
{
    const struct fg_cluster_conf *conf = &thread->proxy->conf;
    *out = NULL;
    if (!conf->has_check && !conf->has_outlier)
        return FG_OK;
    struct fg_health_checker *checker = calloc(1, sizeof(*checker));
    if (checker == NULL)
        return FG_ERR_NO_MEMORY;
    checker->thread = thread;
    checker->timer = event_new(thread->env.base, -1, EV_PERSIST, on_tick, checker);
    checker->sweep_timer = event_new(thread->env.base, -1, 0, on_sweep, checker);
    if (checker->timer == NULL || checker->sweep_timer == NULL)
        goto no_memory;
    fg_list_init(&checker->checks);
    fg_arena_pool_init(&checker->pool, ARENA_CHUNKS_MAX);
    checker->sweep_due_ns = fg_clock_monotonic_ns() + conf->outlier_interval_ns;
    uint64_t tick_us = tick_of(conf) / FG_US;
    const struct timeval tick = {.tv_sec = (time_t)(tick_us / 1000000),
                                 .tv_usec = (suseconds_t)(tick_us % 1000000)};
    event_add(checker->timer, &tick);
    event_active(checker->timer, 0, 0);
    *out = checker;
    return FG_OK;
no_memory:
    if (checker->timer != NULL)
        event_free(checker->timer);
    free(checker);
    return FG_ERR_NO_MEMORY;
}

void fg_health_checker_close(struct fg_health_checker *checker)
{
    if (checker == NULL)
        return;
    while (!fg_list_is_empty(&checker->checks))
        free_check(FG_CONTAINER_OF(checker->checks.next, struct check, link));
    fg_arena_pool_fini(&checker->pool);
    event_free(checker->timer);
    event_free(checker->sweep_timer);
    free(checker);
}
