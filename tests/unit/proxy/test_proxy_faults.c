/*
 * test_proxy_faults.c: servers that vanish, stall, or lie; clients that leave; limits.
 */
#include "proxy_fixture.h"

#include <unistd.h>

#define OK_HELLO "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"

static struct server_connection *conn(struct fixture *f, size_t index)
{
    return &f->server->connections[index];
}

static bool has_request(struct fixture *f, size_t index)
{
    return f->server->count > index && conn(f, index)->in_len > 4 &&
           strstr(conn(f, index)->in, "\r\n\r\n") != NULL;
}

static void answer(struct fixture *f, size_t index, const char *text)
{
    RUN_UNTIL(f, has_request(f, index));
    upstream_server_send(f->server, index, text);
}

/* Leaves one idle connection, number 0. */
static void make_idle(struct fixture *f)
{
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    answer(f, 0, OK_HELLO);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    upstream_server_forget(f->server, 0);
}

/* ---- answers that break off ---- */

static void an_answer_that_breaks_off_fails_wherever_it_does(void **state)
{
    static const char *const texts[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < 2; i++) {
        for (size_t cut = 0; cut < strlen(texts[i]); cut++) {
            if (f->backend == NULL)
                fixture_open_plain(f);
            struct fake_exchange *fake = fixture_get(f, 0, "/");
            RUN_UNTIL(f, has_request(f, 0));
            if (cut > 0)
                assert_int_equal(upstream_server_try_send(f->server, 0, texts[i], cut), cut);
            upstream_server_hang_up(f->server, 0, cut % 2 == 1);
            RUN_UNTIL(f, fake->end != FAKE_OPEN);
            assert_int_equal(fake->end, FAKE_FAILED);
            assert_int_equal(fake->failure, FG_FAILURE_RESET);
            assert_int_equal(fixture_stat(f, "connections", "open"), 0);
            fixture_teardown(state);
            fixture_setup(state);
            f = *state;
        }
    }
}

/* ---- the idle-close race ---- */

static void an_idle_connection_that_closes_is_forgotten(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    make_idle(f);
    upstream_server_hang_up(f->server, 0, false);
    RUN_UNTIL(f, fixture_stat(f, "connections", "open") == 0);
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    answer(f, 1, OK_HELLO);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    assert_int_equal(fixture_stat(f, "requests", "retries"), 0);
}

static void unasked_bytes_close_an_idle_connection(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    make_idle(f);
    upstream_server_send(f->server, 0, "HTTP/1.1 408 Timeout\r\n\r\n");
    RUN_UNTIL(f, fixture_stat(f, "connections", "open") == 0);
}

static void a_dead_kept_connection_is_replaced_once(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    make_idle(f);
    /* Closed, and asked again before our loop could see it. */
    upstream_server_hang_up(f->server, 0, true);
    struct fake_exchange *fake = fixture_get(f, 0, "/again");
    assert_int_equal(fixture_stat(f, "connections", "reused"), 1);
    answer(f, 1, OK_HELLO);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    assert_int_equal(fixture_stat(f, "requests", "reconnects"), 1);
    assert_int_equal(fixture_stat(f, "connections", "opened"), 2);
}

static void a_request_that_was_read_is_tried_again_if_idempotent(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    make_idle(f);
    struct fake_exchange *fake = fixture_get(f, 0, "/again");
    RUN_UNTIL(f, has_request(f, 0));
    upstream_server_hang_up(f->server, 0, false);
    answer(f, 1, OK_HELLO);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    assert_int_equal(fixture_stat(f, "requests", "reconnects"), 1);
}

static void a_fresh_connection_that_dies_is_not_replaced(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    RUN_UNTIL(f, has_request(f, 0));
    upstream_server_hang_up(f->server, 0, false);
    RUN_UNTIL(f, fake->end == FAKE_FAILED);
    assert_int_equal(fake->failure, FG_FAILURE_RESET);
    assert_int_equal(f->server->count, 1);
}

static void a_post_that_was_sent_is_never_sent_again(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    make_idle(f);
    struct fake_exchange *fake = &f->exchanges[1];
    fake_exchange_init(fake, "POST", "/order", NULL);
    fake_exchange_has_body(fake, 3);
    fixture_start(f, 1);
    fixture_body(f, 1, "abc", 3, true);
    RUN_UNTIL(f, has_request(f, 0));
    upstream_server_hang_up(f->server, 0, false);
    RUN_UNTIL(f, fake->end == FAKE_FAILED);
    assert_int_equal(fake->failure, FG_FAILURE_RESET);
    for (unsigned i = 0; i < 5; i++)
        fixture_turn(f);
    assert_int_equal(f->server->count, 1);
}

static void a_post_of_which_nothing_was_sent_is_tried_again(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    make_idle(f);
    struct fake_exchange *fake = &f->exchanges[1];
    fake_exchange_init(fake, "POST", "/order", NULL);
    fake_exchange_has_body(fake, 3);
    fixture_start(f, 1);
    assert_int_equal(fixture_stat(f, "connections", "reused"), 1);
    /* A reset that has arrived makes the first write fail. */
    upstream_server_hang_up(f->server, 0, true);
    fixture_body(f, 1, "abc", 3, true);
    RUN_UNTIL(f, has_request(f, 1));
    RUN_UNTIL(f, strstr(conn(f, 1)->in, "\r\n\r\nabc") != NULL);
    upstream_server_send(f->server, 1, OK_HELLO);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
}

static void a_post_is_not_tried_on_a_connection_that_is_dead(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    make_idle(f);
    struct fake_exchange *fake = &f->exchanges[1];
    fake_exchange_init(fake, "POST", "/order", NULL);
    fake_exchange_has_body(fake, 3);
    upstream_server_hang_up(f->server, 0, true); /* our loop was not told yet */
    fixture_start(f, 1);
    assert_int_equal(fixture_stat(f, "connections", "reused"), 0);
    fixture_body(f, 1, "abc", 3, true);
    answer(f, 1, OK_HELLO);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    assert_int_equal(fixture_stat(f, "requests", "reconnects"), 0);
}

static void an_answer_before_the_question_is_not_taken_for_one(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    make_idle(f);
    upstream_server_send(f->server, 0,
                         "HTTP/1.1 408 Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    struct fake_exchange *fake = &f->exchanges[1];
    fake_exchange_init(fake, "POST", "/order", NULL);
    fake_exchange_has_body(fake, 3);
    fixture_start(f, 1); /* its head waits for the end of the turn */
    RUN_UNTIL(f, fake->end != FAKE_OPEN || has_request(f, 1));
    if (fake->end == FAKE_OPEN) {
        fixture_body(f, 1, "abc", 3, true);
        answer(f, 1, OK_HELLO);
        RUN_UNTIL(f, fake->end == FAKE_ENDED);
        assert_int_equal(fake->status, 200);
    }
}

/* ---- connecting ---- */

static void a_dead_endpoint_is_passed_over(void **state)
{
    struct fixture *f = *state;
    struct upstream_server *dead = &f->servers[1];
    upstream_server_open(f->server, false);
    upstream_server_open(dead, false);
    f->endpoints[0] = (struct fg_endpoint_conf){dead->address, 1000, 0};
    f->endpoints[1] = (struct fg_endpoint_conf){f->server->address, 1, 0};
    f->conf.endpoint_count = 2;
    fixture_open(f);
    close(dead->listen_fd);
    dead->listen_fd = -1;
    for (unsigned i = 0; i < 2; i++) {
        struct fake_exchange *fake = fixture_get(f, 0, "/");
        answer(f, 0, OK_HELLO);
        RUN_UNTIL(f, fake->end == FAKE_ENDED);
        upstream_server_forget(f->server, 0);
    }
    assert_true(fixture_stat(f, "connections", "errors") >= 1);
    const char *why;
    assert_true(f->backend->ops->is_ready(f->backend, &why));
}

static void no_endpoint_is_a_connect_failure(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    close(f->server->listen_fd);
    f->server->listen_fd = -1;
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    RUN_UNTIL(f, fake->end == FAKE_FAILED);
    assert_int_equal(fake->failure, FG_FAILURE_CONNECT);
    assert_int_equal(fixture_stat(f, "connections", "errors"), 3);
    const char *why;
    assert_false(f->backend->ops->is_ready(f->backend, &why));
}

static void a_missing_unix_socket_is_a_connect_failure(void **state)
{
    struct fixture *f = *state;
    f->endpoints[0] = (struct fg_endpoint_conf){"unix:/nowhere/at/all.sock", 1, 0};
    f->conf.endpoint_count = 1;
    fixture_open(f);
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    assert_int_equal(fake->end, FAKE_FAILED);
    assert_int_equal(fake->failure, FG_FAILURE_CONNECT);
}

static void a_name_that_is_unknown_is_asked_for_again(void **state)
{
    struct fixture *f = *state;
    f->helper = fg_helper_pool_create(1, 4);
    f->endpoints[0] = (struct fg_endpoint_conf){"no-such-name.invalid:80", 1, 0};
    f->conf.endpoint_count = 1;
    fixture_open(f);
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    assert_int_equal(fake->end, FAKE_FAILED);
    assert_int_equal(fake->failure, FG_FAILURE_CONNECT);
    assert_int_equal(fixture_stat(f, "connections", "resolves"), 1);
    /* The loop may close while the helper still looks. */
}

static void weights_are_kept(void **state)
{
    struct fixture *f = *state;
    upstream_server_open(&f->servers[0], false);
    upstream_server_open(&f->servers[1], false);
    f->endpoints[0] = (struct fg_endpoint_conf){f->servers[0].address, 3, 0};
    f->endpoints[1] = (struct fg_endpoint_conf){f->servers[1].address, 1, 0};
    f->conf.endpoint_count = 2;
    fixture_open(f);
    for (size_t i = 0; i < EXCHANGES_MAX; i++)
        (void)fixture_get(f, i, "/");
    RUN_UNTIL(f, f->servers[0].count == 6 && f->servers[1].count == 2);
    for (size_t i = 0; i < EXCHANGES_MAX; i++) {
        f->backend->ops->cancel(&f->exchanges[i].ex);
        f->exchanges[i].end = FAKE_CANCELLED;
    }
}

/* ---- limits and timeouts ---- */

static void one_connection_too_many_is_busy(void **state)
{
    struct fixture *f = *state;
    f->conf.max_connections = 2;
    fixture_open_plain(f);
    (void)fixture_get(f, 0, "/");
    (void)fixture_get(f, 1, "/");
    struct fake_exchange *third = fixture_get(f, 2, "/");
    assert_int_equal(third->end, FAKE_REFUSED);
    assert_int_equal(third->status, 503);
    assert_string_equal(third->code, "cluster_pending");
    answer(f, 0, OK_HELLO);
    answer(f, 1, OK_HELLO);
    RUN_UNTIL(f, f->exchanges[0].end == FAKE_ENDED && f->exchanges[1].end == FAKE_ENDED);
    assert_int_equal(fixture_stat(f, "connections", "idle"), 2);
}

static void idle_connections_are_limited(void **state)
{
    struct fixture *f = *state;
    f->conf.max_idle_connections = 1;
    fixture_open_plain(f);
    for (size_t i = 0; i < 3; i++)
        (void)fixture_get(f, i, "/");
    for (size_t i = 0; i < 3; i++)
        answer(f, i, OK_HELLO);
    RUN_UNTIL(f, f->exchanges[0].end == FAKE_ENDED && f->exchanges[1].end == FAKE_ENDED &&
                     f->exchanges[2].end == FAKE_ENDED);
    assert_int_equal(fixture_stat(f, "connections", "open"), 1);
}

static void a_silent_server_times_out(void **state)
{
    struct fixture *f = *state;
    f->conf.response_head_timeout_ns = 5 * FG_MS;
    fixture_open_plain(f);
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    RUN_UNTIL(f, fake->end == FAKE_FAILED);
    assert_int_equal(fake->failure, FG_FAILURE_TIMEOUT);
    assert_int_equal(fixture_stat(f, "requests", "timeouts"), 1);
    assert_int_equal(fixture_stat(f, "connections", "open"), 0);
}

static void a_trickled_head_times_out(void **state)
{
    struct fixture *f = *state;
    f->conf.response_head_timeout_ns = 20 * FG_MS;
    f->conf.header_bytes_max = 1 << 20;
    fixture_open_plain(f);
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    answer(f, 0, "HTTP/1.1 200 OK\r\n");
    while (fake->end == FAKE_OPEN) {
        (void)upstream_server_try_send(f->server, 0, "a: b\r\n", 6);
        fixture_turn(f);
    }
    assert_int_equal(fake->failure, FG_FAILURE_TIMEOUT);
}

static void a_stalled_body_times_out(void **state)
{
    struct fixture *f = *state;
    f->conf.response_idle_timeout_ns = 5 * FG_MS;
    fixture_open_plain(f);
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    answer(f, 0, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc");
    RUN_UNTIL(f, fake->end == FAKE_FAILED);
    assert_int_equal(fake->status, 200);
    assert_int_equal(fake->failure, FG_FAILURE_TIMEOUT);
}

static void an_old_idle_connection_is_closed(void **state)
{
    struct fixture *f = *state;
    f->conf.idle_timeout_ns = 5 * FG_MS;
    fixture_open_plain(f);
    make_idle(f);
    RUN_UNTIL(f, fixture_stat(f, "connections", "open") == 0);
    RUN_UNTIL(f, conn(f, 0)->has_eof);
}

static void a_large_head_is_refused(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    char text[5000];
    memset(text, 'x', sizeof(text));
    memcpy(text, "HTTP/1.1 200 OK\r\na: ", 20);
    text[sizeof(text) - 1] = '\0';
    answer(f, 0, text);
    RUN_UNTIL(f, fake->end == FAKE_FAILED);
    assert_int_equal(fake->failure, FG_FAILURE_RESET);
    assert_int_equal(fixture_stat(f, "requests", "malformed"), 1);
}

static void cancelling_closes_the_connection_at_once(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    for (unsigned stage = 0; stage < 3; stage++) {
        struct fake_exchange *fake = fixture_get(f, 0, "/");
        if (stage > 0)
            RUN_UNTIL(f, has_request(f, stage));
        if (stage > 1) {
            upstream_server_send(f->server, stage, "HTTP/1.1 200 OK\r\n\r\nabc");
            RUN_UNTIL(f, fake->body_len == 3);
        }
        f->backend->ops->cancel(&fake->ex);
        fake->end = FAKE_CANCELLED;
        assert_null(fake->ex.backend_state);
        assert_int_equal(fixture_stat(f, "connections", "open"), 0);
        RUN_UNTIL(f, f->server->count == stage + 1 && conn(f, stage)->has_eof);
    }
    assert_int_equal(fixture_stat(f, "requests", "cancelled"), 3);
}

/* ---- back-pressure ---- */

#define LARGE_BYTES ((size_t)10 << 20)
#define WINDOW ((size_t)65536)

static char pattern(size_t at)
{
    return (char)('a' + (at * 31 + at / 4096) % 26);
}

static void a_slow_client_stops_the_server(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    char *body = malloc(LARGE_BYTES);
    for (size_t i = 0; i < LARGE_BYTES; i++)
        body[i] = pattern(i);
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    fake->window = WINDOW;
    answer(f, 0, "HTTP/1.1 200 OK\r\ncontent-length: 10485760\r\n\r\n");
    size_t sent = 0;
    while (fake->end == FAKE_OPEN) {
        if (sent < LARGE_BYTES)
            sent += upstream_server_try_send(f->server, 0, body + sent, LARGE_BYTES - sent);
        fixture_turn(f);
        /* No more than the window and one read beyond it. */
        assert_true(fake->unread < WINDOW + 65536 + 1);
        if (fake->end == FAKE_OPEN && fake->unread >= WINDOW) {
            fake->unread = 0;
            f->backend->ops->on_writable(&fake->ex);
        }
    }
    assert_int_equal(fake->end, FAKE_ENDED);
    assert_int_equal(fake->body_len, LARGE_BYTES);
    assert_memory_equal(fake->body, body, LARGE_BYTES);
    free(body);
}

static void a_slow_server_stops_the_client(void **state)
{
    struct fixture *f = *state;
    f->server_read_max = 30000;
    fixture_open_plain(f);
    struct fake_exchange *fake = &f->exchanges[0];
    fake_exchange_init(fake, "PUT", "/", NULL);
    fake_exchange_has_body(fake, (int64_t)LARGE_BYTES);
    char *body = malloc(LARGE_BYTES);
    for (size_t i = 0; i < LARGE_BYTES; i++)
        body[i] = pattern(i);
    fixture_start(f, 0);
    size_t given = 0;
    while (given < LARGE_BYTES) {
        /* What the gateway's window allows. */
        size_t room = WINDOW - (given - fake->consumed);
        size_t part = room < LARGE_BYTES - given ? room : LARGE_BYTES - given;
        if (part > 0) {
            given += part;
            fixture_body(f, 0, body + given - part, part, given == LARGE_BYTES);
        }
        fixture_turn(f);
        if (f->server_read_max < SIZE_MAX && given > LARGE_BYTES / 8)
            f->server_read_max = SIZE_MAX;
    }
    RUN_UNTIL(f, has_request(f, 0));
    const char *end = strstr(conn(f, 0)->in, "\r\n\r\n");
    size_t head_len = (size_t)(end - conn(f, 0)->in) + 4;
    RUN_UNTIL(f, conn(f, 0)->in_len == head_len + LARGE_BYTES);
    assert_memory_equal(conn(f, 0)->in + head_len, body, LARGE_BYTES);
    upstream_server_send(f->server, 0, OK_HELLO);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    assert_true(fixture_stat(f, NULL, "upload_buffered_bytes_most") <= 8 * 16384);
    assert_int_equal(fixture_stat(f, NULL, "upload_buffered_bytes"), 0);
    assert_int_equal(fake->consumed, LARGE_BYTES);
    free(body);
}

#define PROXY_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROXY_TEST(an_answer_that_breaks_off_fails_wherever_it_does),
        PROXY_TEST(an_idle_connection_that_closes_is_forgotten),
        PROXY_TEST(unasked_bytes_close_an_idle_connection),
        PROXY_TEST(a_dead_kept_connection_is_replaced_once),
        PROXY_TEST(a_request_that_was_read_is_tried_again_if_idempotent),
        PROXY_TEST(a_fresh_connection_that_dies_is_not_replaced),
        PROXY_TEST(a_post_that_was_sent_is_never_sent_again),
        PROXY_TEST(a_post_of_which_nothing_was_sent_is_tried_again),
        PROXY_TEST(a_post_is_not_tried_on_a_connection_that_is_dead),
        PROXY_TEST(an_answer_before_the_question_is_not_taken_for_one),
        PROXY_TEST(a_dead_endpoint_is_passed_over),
        PROXY_TEST(no_endpoint_is_a_connect_failure),
        PROXY_TEST(a_missing_unix_socket_is_a_connect_failure),
        PROXY_TEST(a_name_that_is_unknown_is_asked_for_again),
        PROXY_TEST(weights_are_kept),
        PROXY_TEST(one_connection_too_many_is_busy),
        PROXY_TEST(idle_connections_are_limited),
        PROXY_TEST(a_silent_server_times_out),
        PROXY_TEST(a_trickled_head_times_out),
        PROXY_TEST(a_stalled_body_times_out),
        PROXY_TEST(an_old_idle_connection_is_closed),
        PROXY_TEST(a_large_head_is_refused),
        PROXY_TEST(cancelling_closes_the_connection_at_once),
        PROXY_TEST(a_slow_client_stops_the_server),
        PROXY_TEST(a_slow_server_stops_the_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
