/*
 * test_connection.c: real sockets on loopback: a server loop on a thread of its own, and clients
 * here that block. Covers what the tests in memory cannot: TLS, accepting, limits, closing,
 * draining.
 */
#include "fake_transport.h"
#include "own_certificate.h"

#include "base/clock.h"
#include "net/ticket_keys_shared.h"

#include <arpa/inet.h>
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define CROWD 90 /* within the limits */
#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

struct server {
    struct fake heard; /* what the handler writes down; read once the loop is idle or over */
    struct fg_limits_conf limits;
    struct fg_listener_conf conf;
    struct fg_tls_context *tls;
    struct fg_ticket_keys *tickets;
    struct fg_loop *loop;
    struct fg_net *net;
    struct fg_message message;
    uint64_t drain_ns;
    pthread_t thread;
    bool has_joined;
    int fd;
    uint16_t port;
};

static void on_drained(void *ctx)
{
    struct server *server = ctx;
    fg_loop_stop(server->loop);
}

static void on_message(struct fg_message *message)
{
    struct server *server = FG_CONTAINER_OF(message, struct server, message);
    fg_net_drain(server->net, fg_clock_monotonic_ns() + server->drain_ns, on_drained, server);
}

static void *run(void *arg)
{
    struct server *server = arg;
    fg_loop_run(server->loop);
    return NULL;
}

static struct server *start(enum fg_listener_kind kind, const struct fg_limits_conf *limits)
{
    struct server *server = calloc(1, sizeof(*server));
    struct fg_error error = {0};
    assert_non_null(server);
    server->limits = limits != NULL ? *limits : fake_limits();
    server->conf = (struct fg_listener_conf){
        .name = "test",
        .address = "127.0.0.1:0",
        .kind = kind,
        .certificate = own_certificate_path,
        .private_key = own_key_path,
    };
    server->fd = fg_listener_bind(&server->conf, true, &error);
    assert_int_not_equal(server->fd, -1);
    struct sockaddr_in address;
    socklen_t len = sizeof(address);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &len), 0);
    server->port = ntohs(address.sin_port);
    if (kind == FG_LISTENER_TLS) {
        static const unsigned char secret[FG_TICKET_SECRET_BYTES_MIN] = {1};
        server->tickets = fg_ticket_keys_create(3600);
        assert_non_null(server->tickets);
        fg_ticket_keys_set_secret(server->tickets, secret, sizeof(secret));
        server->tls = fg_tls_context_create(&server->conf, server->tickets, 3600, &error);
        assert_non_null(server->tls);
    }
    server->loop = fg_loop_create(0, 4096);
    assert_non_null(server->loop);
    const struct fg_net_options options = {.loop = server->loop,
                                           .limits = &server->limits,
                                           .thread_count = 1,
                                           .handler = &fake_handler,
                                           .handler_ctx = &server->heard};
    server->net = fg_net_create(&options);
    assert_non_null(server->net);
    assert_int_equal(fg_net_listen(server->net, server->fd, &server->conf, server->tls), FG_OK);
    server->drain_ns = 100 * FG_S;
    server->message.run = on_message;
    assert_int_equal(pthread_create(&server->thread, NULL, run, server), 0);
    return server;
}

static void begin_drain(struct server *server)
{
    fg_mailbox_post(fg_loop_mailbox(server->loop), &server->message);
}

/* The loop has ended: what it wrote can be read. */
static void join(struct server *server)
{
    if (!server->has_joined)
        pthread_join(server->thread, NULL);
    server->has_joined = true;
}

static void finish(struct server *server)
{
    join(server);
    assert_int_equal(server->heard.requests, server->heard.dones);
    assert_int_equal(fg_counter_get(&fg_net_stats(server->net)->open), 0);
    fg_net_destroy(server->net);
    fg_loop_destroy(server->loop);
    fg_tls_context_destroy(server->tls);
    fg_ticket_keys_destroy(server->tickets);
    close(server->fd);
    free(server);
}

static void stop(struct server *server)
{
    begin_drain(server);
    finish(server);
}

/* A client: a socket, and TLS when ssl is set. */
struct peer {
    int fd;
    SSL *ssl;
    char text[65536];
    size_t len;
};

static void peer_connect(struct peer *peer, const struct server *server)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(server->port),
                                        .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const struct timeval limit = {.tv_sec = 20}; /* a test that hangs fails instead */
    peer->ssl = NULL;
    peer->len = 0;
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_not_equal(peer->fd, -1);
    setsockopt(peer->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(peer->fd, (const struct sockaddr *)&address, sizeof(address)), 0);
}

static void peer_start_tls(struct peer *peer, SSL_CTX *ctx, SSL_SESSION *session, bool wants_h2)
{
    peer->ssl = SSL_new(ctx);
    assert_non_null(peer->ssl);
    SSL_set_fd(peer->ssl, peer->fd);
    if (session != NULL)
        SSL_set_session(peer->ssl, session);
    if (wants_h2)
        SSL_set_alpn_protos(peer->ssl, (const unsigned char *)"\x02h2\x08http/1.1", 12);
    assert_int_equal(SSL_connect(peer->ssl), 1);
}

static void peer_say(struct peer *peer, const void *data, size_t len)
{
    if (peer->ssl != NULL)
        assert_int_equal(SSL_write(peer->ssl, data, (int)len), (int)len);
    else
        assert_int_equal(send(peer->fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* One more read; false at the end of the stream. */
static bool peer_hear(struct peer *peer)
{
    size_t room = sizeof(peer->text) - 1 - peer->len;
    assert_true(room > 0);
    ssize_t got = peer->ssl != NULL ? SSL_read(peer->ssl, peer->text + peer->len, (int)room)
                                    : recv(peer->fd, peer->text + peer->len, room, 0);
    if (got < 0 && peer->ssl == NULL)
        assert_int_not_equal(errno, EAGAIN);
    if (got > 0)
        peer->len += (size_t)got;
    peer->text[peer->len] = '\0';
    return got > 0;
}

static void peer_hear_until(struct peer *peer, const char *text)
{
    while (memmem(peer->text, peer->len, text, strlen(text)) == NULL)
        assert_true(peer_hear(peer));
}

static void peer_hear_end(struct peer *peer)
{
    while (peer_hear(peer))
        ;
}

static void peer_close(struct peer *peer)
{
    if (peer->ssl != NULL) {
        SSL_shutdown(peer->ssl);
        SSL_free(peer->ssl);
    }
    close(peer->fd);
}

static SSL_CTX *client_context(int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(ctx);
    SSL_CTX_set_min_proto_version(ctx, version);
    SSL_CTX_set_max_proto_version(ctx, version);
    return ctx;
}

static void serves_http_1_over_both_tls_versions(void **state)
{
    (void)state;
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < 2; i++) {
        struct server *server = start(FG_LISTENER_TLS, NULL);
        SSL_CTX *ctx = client_context(versions[i]);
        static struct peer peer;
        peer_connect(&peer, server);
        peer_start_tls(&peer, ctx, NULL, false);
        for (unsigned n = 0; n < 3; n++) {
            peer.len = 0;
            peer_say(&peer, GET("/"), strlen(GET("/")));
            peer_hear_until(&peer, "hello");
        }
        peer.len = 0;
        peer_say(&peer, GET("/") GET("/chunks"), strlen(GET("/") GET("/chunks")));
        peer_hear_until(&peer, "world\r\n0\r\n\r\n");
        SSL_SESSION *session = SSL_get1_session(peer.ssl);
        peer_close(&peer);
        peer_connect(&peer, server);
        peer_start_tls(&peer, ctx, session, false);
        assert_int_equal(SSL_session_reused(peer.ssl), 1);
        peer_say(&peer, GET("/"), strlen(GET("/")));
        peer_hear_until(&peer, "hello");
        peer_close(&peer);
        SSL_SESSION_free(session);
        SSL_CTX_free(ctx);
        begin_drain(server);
        join(server);
        const struct fg_net_stats *stats = fg_net_stats(server->net);
        assert_int_equal(fg_counter_get(&stats->handshakes_ok), 2);
        assert_int_equal(fg_counter_get(&stats->handshakes_resumed), 1);
        assert_int_equal(server->heard.requests, 6);
        finish(server);
    }
}

/* Answers of one record each, and a socket with room for hardly one: none is torn or mixed up. */
static void goes_on_where_a_socket_was_full(void **state)
{
    (void)state;
    static const char body[] = "\r\n\r\n4\r\nwide\r\n0\r\n\r\n";
    enum { ANSWERS = 7 };
    static struct peer peer;
    const int few_bytes = 4096;
    struct server *server = start(FG_LISTENER_TLS, NULL);
    SSL_CTX *ctx = client_context(TLS1_3_VERSION);
    setsockopt(server->fd, SOL_SOCKET, SO_SNDBUF, &few_bytes, sizeof(few_bytes));
    peer_connect(&peer, server);
    setsockopt(peer.fd, SOL_SOCKET, SO_RCVBUF, &few_bytes, sizeof(few_bytes));
    peer_start_tls(&peer, ctx, NULL, false);
    for (unsigned i = 0; i < ANSWERS; i++)
        peer_say(&peer, GET("/wider"), strlen(GET("/wider")));
    const char *at = peer.text;
    for (unsigned i = 0; i < ANSWERS; i++) {
        const char *end;
        while ((end = strstr(at, body)) == NULL)
            assert_true(peer_hear(&peer));
        assert_int_equal(strncmp(at, "HTTP/1.1 200 OK\r\n", 17), 0);
        at = end + strlen(body);
    }
    assert_ptr_equal(at, peer.text + peer.len);
    peer_close(&peer);
    SSL_CTX_free(ctx);
    stop(server);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *user_data)
{
    (void)session;
    (void)id;
    assert_int_equal(error, NGHTTP2_NO_ERROR);
    ++*(unsigned *)user_data;
    return 0;
}

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), NGHTTP2_NV_FLAG_NONE};
}

/* Eight streams of 300000 bytes each over whatever the peer is. */
static void fetch_by_h2(struct peer *peer)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_session *session;
    unsigned closed = 0;
    const nghttp2_nv fields[] = {nv(":method", "GET"), nv(":scheme", "https"),
                                 nv(":authority", "h"), nv(":path", "/bytes")};
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    assert_int_equal(nghttp2_session_client_new(&session, callbacks, &closed), 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, NULL, 0);
    for (unsigned i = 0; i < 8; i++)
        assert_true(nghttp2_submit_request(session, NULL, fields, 4, NULL, NULL) > 0);
    while (closed < 8) {
        const uint8_t *data;
        ssize_t len;
        while ((len = nghttp2_session_mem_send(session, &data)) > 0)
            peer_say(peer, data, (size_t)len);
        peer->len = 0;
        assert_true(peer_hear(peer));
        len = nghttp2_session_mem_recv(session, (uint8_t *)peer->text, peer->len);
        assert_int_equal(len, (ssize_t)peer->len);
    }
    nghttp2_session_del(session);
}

static void serves_http_2_by_alpn_and_by_prior_knowledge(void **state)
{
    (void)state;
    static struct peer peer;
    struct server *server = start(FG_LISTENER_TLS, NULL);
    SSL_CTX *ctx = client_context(TLS1_3_VERSION);
    peer_connect(&peer, server);
    peer_start_tls(&peer, ctx, NULL, true);
    fetch_by_h2(&peer);
    peer_close(&peer);
    SSL_CTX_free(ctx);
    stop(server);
    server = start(FG_LISTENER_PLAIN, NULL);
    peer_connect(&peer, server);
    fetch_by_h2(&peer);
    peer_close(&peer);
    stop(server);
}

static void tells_h1_from_a_preface_byte_by_byte(void **state)
{
    (void)state;
    static struct peer peer;
    struct server *server = start(FG_LISTENER_PLAIN, NULL);
    static const char text[] = "PROPFIND /nowhere HTTP/1.1\r\nHost: h\r\n\r\n";
    peer_connect(&peer, server);
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        peer_say(&peer, text + i, 1);
    peer_hear_until(&peer, "HTTP/1.1 404 ");
    peer_close(&peer);
    stop(server);
}

static void closes_on_plain_http_at_the_tls_port(void **state)
{
    (void)state;
    static struct peer peer;
    struct server *server = start(FG_LISTENER_TLS, NULL);
    peer_connect(&peer, server);
    peer_say(&peer, GET("/"), strlen(GET("/")));
    peer_hear_end(&peer);
    peer_close(&peer);
    stop(server);
}

static void redirects_to_https(void **state)
{
    (void)state;
    static struct peer peer;
    struct server *server = start(FG_LISTENER_REDIRECT, NULL);
    static const char text[] = "POST /a/../b?c=d HTTP/1.1\r\nHost: Example.org:8080\r\n"
                               "Content-Length: 3\r\n\r\nabc";
    peer_connect(&peer, server);
    peer_say(&peer, text, sizeof(text) - 1);
    peer_hear_until(&peer, "\r\n\r\n");
    assert_non_null(strstr(peer.text, "HTTP/1.1 308 "));
    assert_non_null(strstr(peer.text, "location: https://example.org/b?c=d\r\n"));
    peer_close(&peer);
    stop(server);
}

/* They come faster than one a turn. */
static void takes_a_crowd(void **state)
{
    (void)state;
    static struct peer peer;
    int fds[CROWD];
    struct server *server = start(FG_LISTENER_PLAIN, NULL);
    for (unsigned i = 0; i < CROWD; i++) {
        peer_connect(&peer, server);
        fds[i] = peer.fd;
    }
    for (unsigned i = 0; i < CROWD; i++) {
        peer.fd = fds[i];
        peer.len = 0;
        peer_say(&peer, GET("/"), strlen(GET("/")));
        peer_hear_until(&peer, "hello");
    }
    for (unsigned i = 0; i < CROWD; i++)
        close(fds[i]);
    begin_drain(server);
    join(server);
    assert_int_equal(fg_counter_get(&fg_net_stats(server->net)->accepted), CROWD);
    finish(server);
}

static void limits_connections_by_address(void **state)
{
    (void)state;
    static struct peer peers[4];
    struct fg_limits_conf limits = fake_limits();
    limits.connections_per_ip_max = 3;
    struct server *server = start(FG_LISTENER_PLAIN, &limits);
    for (size_t i = 0; i < 3; i++) {
        peer_connect(&peers[i], server);
        peer_say(&peers[i], GET("/"), strlen(GET("/")));
        peer_hear_until(&peers[i], "hello");
    }
    peer_connect(&peers[3], server);
    peer_hear_end(&peers[3]);
    peer_close(&peers[3]);
    assert_int_equal(fg_counter_get(&fg_net_stats(server->net)->refused_limit), 1);
    for (size_t i = 0; i < 3; i++)
        peer_close(&peers[i]);
    stop(server);
}

/* The answer reaches a client that is still sending what nobody wants. */
static void lets_a_refused_client_read_the_answer(void **state)
{
    (void)state;
    static struct peer peer;
    static char junk[60000];
    struct server *server = start(FG_LISTENER_PLAIN, NULL);
    static const char text[] =
        "POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 500000000\r\n\r\n";
    peer_connect(&peer, server);
    peer_say(&peer, text, sizeof(text) - 1);
    for (unsigned i = 0; i < 10; i++)
        peer_say(&peer, junk, sizeof(junk));
    peer_hear_end(&peer);
    assert_non_null(strstr(peer.text, "HTTP/1.1 413 "));
    assert_non_null(strstr(peer.text, "body_too_large"));
    peer_close(&peer);
    stop(server);
}

static void drains_idle_after_its_last_word_and_busy_when_done(void **state)
{
    (void)state;
    static struct peer idle;
    static struct peer busy;
    struct server *server = start(FG_LISTENER_PLAIN, NULL);
    peer_connect(&idle, server);
    peer_say(&idle, GET("/"), strlen(GET("/")));
    peer_hear_until(&idle, "hello");
    peer_connect(&busy, server);
    static const char head[] = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc";
    peer_say(&busy, head, sizeof(head) - 1);
    peer_hear_until(&busy, "abc");
    begin_drain(server);
    peer_say(&idle, GET("/"), strlen(GET("/"))); /* it may have been on its way */
    const size_t len = idle.len;
    peer_hear_end(&idle);
    assert_non_null(strstr(idle.text + len, "hello"));
    peer_say(&busy, "def", 3);
    peer_hear_until(&busy, "def");
    peer_hear_end(&busy);
    assert_non_null(strstr(busy.text, "0\r\n\r\n"));
    peer_close(&idle);
    peer_close(&busy);
    finish(server);
}

static void cuts_what_outlasts_the_drain(void **state)
{
    (void)state;
    static struct peer peer;
    struct server *server = start(FG_LISTENER_PLAIN, NULL);
    peer_connect(&peer, server);
    static const char head[] = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc";
    peer_say(&peer, head, sizeof(head) - 1);
    peer_hear_until(&peer, "abc");
    server->drain_ns = 0;
    begin_drain(server);
    peer_hear_end(&peer);
    join(server);
    assert_int_equal(server->heard.gones, 1);
    assert_int_equal(server->heard.gone_reason, FG_GONE_DRAIN);
    peer_close(&peer);
    finish(server);
}

static void hears_of_clients_that_leave(void **state)
{
    (void)state;
    static struct peer peer;
    struct server *server = start(FG_LISTENER_PLAIN, NULL);
    peer_connect(&peer, server);
    peer_say(&peer, GET("/wait"), strlen(GET("/wait")));
    peer_close(&peer);
    peer_connect(&peer, server); /* by the time this is answered the other has been seen to go */
    peer_say(&peer, GET("/"), strlen(GET("/")));
    peer_hear_until(&peer, "hello");
    peer_close(&peer);
    stop(server);
}

static void says_what_is_wrong_with_a_certificate(void **state)
{
    (void)state;
    struct fg_error error = {0};
    struct fg_listener_conf conf = {.name = "public",
                                    .address = "127.0.0.1:0",
                                    .certificate = "/nonexistent.pem",
                                    .private_key = own_key_path};
    assert_null(fg_tls_context_create(&conf, NULL, 3600, &error));
    assert_non_null(strstr(error.message, "/nonexistent.pem"));
    conf.certificate = own_key_path;
    assert_null(fg_tls_context_create(&conf, NULL, 3600, &error));
    assert_non_null(strstr(error.message, "listener public: cannot use certificate"));
    conf.address = "nonsense";
    assert_int_equal(fg_listener_bind(&conf, true, &error), -1);
    assert_non_null(strstr(error.message, "nonsense"));
}

static int make_certificate(void **state)
{
    (void)state;
    return own_certificate_make() ? 0 : -1;
}

static int remove_certificate(void **state)
{
    (void)state;
    own_certificate_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_http_1_over_both_tls_versions),
        cmocka_unit_test(goes_on_where_a_socket_was_full),
        cmocka_unit_test(serves_http_2_by_alpn_and_by_prior_knowledge),
        cmocka_unit_test(tells_h1_from_a_preface_byte_by_byte),
        cmocka_unit_test(closes_on_plain_http_at_the_tls_port),
        cmocka_unit_test(redirects_to_https),
        cmocka_unit_test(takes_a_crowd),
        cmocka_unit_test(limits_connections_by_address),
        cmocka_unit_test(lets_a_refused_client_read_the_answer),
        cmocka_unit_test(drains_idle_after_its_last_word_and_busy_when_done),
        cmocka_unit_test(cuts_what_outlasts_the_drain),
        cmocka_unit_test(hears_of_clients_that_leave),
        cmocka_unit_test(says_what_is_wrong_with_a_certificate),
    };
    return cmocka_run_group_tests(tests, make_certificate, remove_certificate);
}
