/*
 * hello_server.c: the network side with a handler that needs nothing else; for trying things out
 * and for load generators. hello_server PORT [CERTIFICATE PRIVATE_KEY] /           1024 bytes
 *      /bytes/N    N bytes, written as fast as the client takes them
 *      /echo       the request body, with back-pressure
 *      /count      the length of the request body
 * Ends with a drain on SIGINT or SIGTERM. Prints one line on stderr if it cannot start, else
 * nothing.
 */
#include "base/clock.h"
#include "net/listener.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct hello {
    uint64_t left; /* of the answer's body */
    uint64_t counted;
    bool is_echo;
    bool is_writer_blocked;
    bool has_last;
    size_t held; /* echo: not yet consumed */
};

static char pattern[16384];

static void start_head(struct fg_request *req, int64_t length)
{
    struct fg_span text = {NULL, 0};
    if (length >= 0)
        text = fg_arena_try_printf(req->ex.arena, "%lld", (long long)length);
    const struct fg_field fields[] = {
        {FG_SPAN("server"), FG_SPAN("hello")},
        {FG_SPAN("content-type"), FG_SPAN("text/plain")},
        {FG_SPAN("content-length"), text},
    };
    fg_response_head(req, 200, fields, length >= 0 ? 3 : 2, false);
}

static void pump(struct fg_request *req, struct hello *hello)
{
    while (hello->left > 0 && !hello->is_writer_blocked) {
        size_t len = hello->left < sizeof(pattern) ? (size_t)hello->left : sizeof(pattern);
        hello->left -= len;
        hello->is_writer_blocked = !fg_response_write(req, pattern, len);
    }
    if (hello->left == 0)
        fg_response_end(req);
}

static void on_request(void *handler, struct fg_request *req)
{
    (void)handler;
    struct fg_exchange *ex = &req->ex;
    struct hello *hello = fg_arena_try_zalloc(ex->arena, sizeof(*hello));
    if (hello == NULL) {
        fg_response_abort(req);
        return;
    }
    req->handler_state = hello;
    struct fg_span bytes = FG_SPAN("/bytes/");
    if (fg_span_equal(ex->path, FG_SPAN("/echo"))) {
        hello->is_echo = true;
        ex->body_bytes_max = UINT64_MAX;
        start_head(req, ex->has_body ? -1 : 0);
        if (!ex->has_body)
            fg_response_end(req);
        return;
    }
    hello->left = 1024;
    if (fg_span_starts_with(ex->path, bytes) &&
        !fg_span_parse_u64(fg_span_make(ex->path.data + bytes.len, ex->path.len - bytes.len),
                           &hello->left))
        hello->left = 0;
    if (ex->has_body)
        return; /* answered when the body has come */
    start_head(req, (int64_t)hello->left);
    pump(req, hello);
}

static void on_body(struct fg_request *req, const void *data, size_t len, bool is_last)
{
    struct hello *hello = req->handler_state;
    hello->counted += len;
    if (!hello->is_echo) {
        fg_request_consumed(req, len);
        if (is_last) {
            start_head(req, (int64_t)hello->left);
            pump(req, hello);
        }
        return;
    }
    hello->has_last = is_last;
    hello->is_writer_blocked = !fg_response_write(req, data, len);
    if (hello->is_writer_blocked)
        hello->held += len;
    else
        fg_request_consumed(req, len);
    if (is_last)
        fg_response_end(req);
}

static void on_writable(struct fg_request *req)
{
    struct hello *hello = req->handler_state;
    hello->is_writer_blocked = false;
    if (!hello->is_echo) {
        pump(req, hello);
        return;
    }
    size_t held = hello->held;
    hello->held = 0;
    fg_request_consumed(req, held);
}

static void on_gone(struct fg_request *req, enum fg_gone_reason reason)
{
    (void)req;
    (void)reason;
}

static void on_done(struct fg_request *req)
{
    (void)req;
}

static const struct fg_request_handler handler = {
    .on_request = on_request,
    .on_body = on_body,
    .on_writable = on_writable,
    .on_gone = on_gone,
    .on_done = on_done,
};

static const struct fg_limits_conf limits = {
    .connections_max = 20000,
    .connections_per_ip_max = 20000,
    .header_bytes_max = 32768,
    .header_count_max = 100,
    .uri_bytes_max = 8192,
    .body_bytes_max = 64 << 20,
    .h2_overhead_burst = 1000,
    .h2_overhead_per_s = 100,
    .streams_per_connection_max = 128,
    .request_memory_max = 262144,
    .connection_buffer_bytes = 65536,
    .handshake_timeout_ns = 10 * FG_S,
    .header_timeout_ns = 10 * FG_S,
    .body_timeout_ns = 30 * FG_S,
    .write_timeout_ns = 30 * FG_S,
    .idle_timeout_ns = 60 * FG_S,
};

static struct fg_loop *loop;
static struct fg_net *net;

static void on_drained(void *ctx)
{
    (void)ctx;
    fg_loop_stop(loop);
}

static void on_signal(evutil_socket_t signal_number, short what, void *ctx)
{
    (void)signal_number;
    (void)what;
    (void)ctx;
    fg_net_drain(net, fg_clock_monotonic_ns() + 2 * FG_S, on_drained, NULL);
}

static int serve(const struct fg_listener_conf *conf, int fd, struct fg_tls_context *tls)
{
    loop = fg_loop_create(0, 100000);
    if (loop == NULL)
        return 1;
    const struct fg_net_options options = {
        .loop = loop, .limits = &limits, .thread_count = 1, .handler = &handler};
    net = fg_net_create(&options);
    if (net == NULL || fg_net_listen(net, fd, conf, tls) != FG_OK)
        return 1;
    struct event *on_int = evsignal_new(fg_loop_base(loop), SIGINT, on_signal, NULL);
    struct event *on_term = evsignal_new(fg_loop_base(loop), SIGTERM, on_signal, NULL);
    if (on_int == NULL || on_term == NULL)
        return 1;
    event_add(on_int, NULL);
    event_add(on_term, NULL);
    fg_loop_run(loop);
    event_free(on_int);
    event_free(on_term);
    fg_net_destroy(net);
    fg_loop_destroy(loop);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 4) {
        fprintf(stderr, "usage: hello_server PORT [CERTIFICATE PRIVATE_KEY]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    memset(pattern, 'x', sizeof(pattern));
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%s", argv[1]);
    const struct fg_listener_conf conf = {
        .name = "hello",
        .address = address,
        .kind = argc == 4 ? FG_LISTENER_TLS : FG_LISTENER_PLAIN,
        .certificate = argc == 4 ? argv[2] : NULL,
        .private_key = argc == 4 ? argv[3] : NULL,
    };
    struct fg_error error = {0};
    struct fg_tls_context *tls = NULL;
    int fd = fg_listener_bind(&conf, true, &error);
    if (fd != -1 && argc == 4)
        tls = fg_tls_context_create(&conf, NULL, 3600, &error);
    if (fd == -1 || (argc == 4 && tls == NULL)) {
        fprintf(stderr, "hello_server: %s\n", error.message);
        return 1;
    }
    int result = serve(&conf, fd, tls);
    fg_tls_context_destroy(tls);
    return result;
}
