/*
 * test_proxy.c: whole exchanges: what is sent, what is passed on, when a connection is used again.
 */
#include "proxy_fixture.h"

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

/* Runs until connection `index` has sent a request head, then answers. */
static void answer(struct fixture *f, size_t index, const char *text)
{
    RUN_UNTIL(f, has_request(f, index));
    upstream_server_send(f->server, index, text);
}

static void sends_the_request_as_it_should_look(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    struct fake_exchange *fake = &f->exchanges[0];
    fake_exchange_init(fake, "GET", "/a/b%20c", "x=1&y");
    fake_exchange_add_field(fake, "accept", "text/html");
    fake_exchange_add_field(fake, "x-forwarded-for", "203.0.113.9");
    fake_exchange_add_field(fake, "x-forwarded-proto", "gopher");
    fake_exchange_add_field(fake, "x-request-id", "forged");
    fake_exchange_add_field(fake, "expect", "100-continue");
    fixture_start(f, 0);
    RUN_UNTIL(f, has_request(f, 0));
    const char *in = conn(f, 0)->in;
    assert_ptr_equal(strstr(in, "GET /a/b%20c?x=1&y HTTP/1.1\r\nhost: shop.example\r\n"), in);
    assert_non_null(strstr(in, "\r\naccept: text/html\r\n"));
    assert_non_null(strstr(in, "\r\nx-forwarded-for: 203.0.113.9, 192.0.2.7\r\n"));
    assert_non_null(strstr(in, "\r\nx-forwarded-proto: https\r\n"));
    assert_non_null(strstr(in, "\r\nx-request-id: req-1\r\n"));
    assert_non_null(strstr(in, "\r\nx-request-timeout-ms: 59"));
    assert_null(strstr(in, "gopher"));
    assert_null(strstr(in, "forged"));
    assert_null(strstr(in, "expect"));
    assert_null(strstr(in, "content-length"));
    upstream_server_send(f->server, 0, OK_HELLO);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    assert_int_equal(fake->status, 200);
    assert_string_equal(fake->body, "hello");
    assert_string_equal(fake->hops, "connect,upstream,");
}

static void sends_the_configured_host(void **state)
{
    struct fixture *f = *state;
    f->conf.host_header = "inner.example";
    fixture_open_plain(f);
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    RUN_UNTIL(f, has_request(f, 0));
    assert_non_null(strstr(conn(f, 0)->in, "\r\nhost: inner.example\r\n"));
    upstream_server_send(f->server, 0, OK_HELLO);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
}

static void passes_fields_on_but_those_of_the_hop(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    answer(f, 0,
           "HTTP/1.1 201 Created\r\nX-Thing:  a b \r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
           "Connection: keep-alive, X-Secret\r\nKeep-Alive: timeout=5\r\nX-Secret: 1\r\n"
           "Upgrade: h2c\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nok");
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    assert_int_equal(fake->status, 201);
    assert_string_equal(fake_exchange_answer(fake, "x-thing"), "a b");
    assert_int_equal(fake_exchange_answer_count(fake, "set-cookie"), 2);
    assert_string_equal(fake_exchange_answer(fake, "content-length"), "2");
    assert_string_equal(fake_exchange_answer(fake, "date"), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_int_equal(fake->field_count, 5);
    assert_int_equal(fixture_stat(f, "connections", "idle"), 1);
}

static void uses_a_kept_connection_again(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    for (unsigned i = 0; i < 5; i++) {
        struct fake_exchange *fake = fixture_get(f, 0, "/");
        answer(f, 0, OK_HELLO);
        RUN_UNTIL(f, fake->end == FAKE_ENDED);
        upstream_server_forget(f->server, 0);
    }
    assert_int_equal(f->server->count, 1);
    assert_int_equal(fixture_stat(f, "connections", "opened"), 1);
    assert_int_equal(fixture_stat(f, "connections", "reused"), 4);
    assert_int_equal(fixture_stat(f, "time_to_head", "count"), 5);
    assert_string_equal(f->exchanges[0].hops, "upstream,");
}

static void takes_the_newest_idle_connection_first(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    struct fake_exchange *first = fixture_get(f, 0, "/");
    struct fake_exchange *second = fixture_get(f, 1, "/");
    answer(f, 0, OK_HELLO);
    RUN_UNTIL(f, first->end == FAKE_ENDED || second->end == FAKE_ENDED);
    answer(f, 1, OK_HELLO);
    RUN_UNTIL(f, first->end == FAKE_ENDED && second->end == FAKE_ENDED);
    upstream_server_forget(f->server, 0);
    upstream_server_forget(f->server, 1);
    struct fake_exchange *third = fixture_get(f, 2, "/");
    answer(f, 1, OK_HELLO);
    RUN_UNTIL(f, third->end == FAKE_ENDED);
    assert_int_equal(conn(f, 0)->in_len, 0);
}

struct body_case {
    const char *text;
    const char *body;
    bool is_kept;
};

/* Each is cut at every byte, so that every state of the reader sees an end of input. */
static void reads_bodies_in_any_pieces(void **state)
{
    static const struct body_case cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n"
         "T: x\r\n\r\n",
         "abcde", true},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
         "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz",
         "z", true},
        {"HTTP/1.1 204 No Content\r\n\r\n", "", true},
        {"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", "", true},
        {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nz", "z", false},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nz", "z", true},
        {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nz", "z", false},
    };
    struct fixture *f = *state;
    fixture_open_plain(f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t len = strlen(cases[i].text);
        for (size_t cut = 1; cut < len; cut += i == 2 || i == 3 ? 1 : 7) {
            struct fake_exchange *fake = fixture_get(f, 0, "/");
            size_t index = SERVER_CONNECTIONS_MAX;
            RUN_UNTIL(f, f->server->count > 0);
            index = f->server->count - 1;
            RUN_UNTIL(f, has_request(f, index));
            upstream_server_try_send(f->server, index, cases[i].text, cut);
            fixture_turn(f);
            fixture_turn(f);
            upstream_server_try_send(f->server, index, cases[i].text + cut, len - cut);
            RUN_UNTIL(f, fake->end != FAKE_OPEN);
            assert_int_equal(fake->end, FAKE_ENDED);
            assert_string_equal(fake->body == NULL ? "" : fake->body, cases[i].body);
            assert_int_equal(fixture_stat(f, "connections", "idle"), cases[i].is_kept);
            upstream_server_forget(f->server, index);
            if (cases[i].is_kept)
                continue;
            upstream_server_close(f->server);
            fixture_teardown(state);
            fixture_setup(state);
            f = *state;
            fixture_open_plain(f);
        }
    }
}

static void an_answer_to_head_has_no_body(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    struct fake_exchange *fake = &f->exchanges[0];
    fake_exchange_init(fake, "HEAD", "/", NULL);
    fixture_start(f, 0);
    answer(f, 0, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    assert_string_equal(fake_exchange_answer(fake, "content-length"), "500");
    assert_int_equal(fixture_stat(f, "connections", "idle"), 1);
}

static void a_body_until_close_ends_with_the_connection(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    answer(f, 0, "HTTP/1.1 200 OK\r\n\r\nuntil ");
    RUN_UNTIL(f, fake->body_len == 6);
    upstream_server_send(f->server, 0, "close");
    upstream_server_hang_up(f->server, 0, false);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    assert_string_equal(fake->body, "until close");
    assert_int_equal(fixture_stat(f, "connections", "open"), 0);
}

static void a_reset_never_ends_a_body(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    answer(f, 0, "HTTP/1.1 200 OK\r\n\r\nuntil ");
    RUN_UNTIL(f, fake->body_len == 6);
    upstream_server_hang_up(f->server, 0, true);
    RUN_UNTIL(f, fake->end == FAKE_FAILED);
    assert_int_equal(fake->failure, FG_FAILURE_RESET);
}

static void bytes_behind_an_answer_close_the_connection(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    answer(f, 0, OK_HELLO "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil");
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    assert_string_equal(fake->body, "hello");
    assert_int_equal(fixture_stat(f, "connections", "open"), 0);
}

/* ---- request bodies ---- */

static void sends_a_body_of_known_length(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    struct fake_exchange *fake = &f->exchanges[0];
    fake_exchange_init(fake, "POST", "/", NULL);
    fake_exchange_has_body(fake, 6);
    fixture_start(f, 0);
    fixture_body(f, 0, "abc", 3, false);
    fixture_body(f, 0, "def", 3, true);
    RUN_UNTIL(f, has_request(f, 0) && strstr(conn(f, 0)->in, "\r\n\r\nabcdef") != NULL);
    assert_non_null(strstr(conn(f, 0)->in, "\r\ncontent-length: 6\r\n"));
    assert_int_equal(fake->consumed, 6);
    upstream_server_send(f->server, 0, OK_HELLO);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    assert_int_equal(fixture_stat(f, "connections", "idle"), 1);
}

static void sends_a_body_of_unknown_length_in_chunks(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    struct fake_exchange *fake = &f->exchanges[0];
    fake_exchange_init(fake, "POST", "/", NULL);
    fake_exchange_has_body(fake, -1);
    fixture_start(f, 0);
    fixture_body(f, 0, "abc", 3, false);
    RUN_UNTIL(f, has_request(f, 0));
    fixture_body(f, 0, "0123456789abcdef", 16, false);
    fixture_body(f, 0, NULL, 0, true);
    RUN_UNTIL(f, strstr(conn(f, 0)->in,
                        "\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n") != NULL);
    assert_non_null(strstr(conn(f, 0)->in, "\r\ntransfer-encoding: chunked\r\n"));
    assert_null(strstr(conn(f, 0)->in, "content-length"));
    upstream_server_send(f->server, 0, OK_HELLO);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
}

static void head_and_body_leave_in_one_call(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    /* On a kept connection, so that nothing waits for a connect. */
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    answer(f, 0, OK_HELLO);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    upstream_server_forget(f->server, 0);
    fake_exchange_init(&f->exchanges[1], "POST", "/", NULL);
    fake_exchange_has_body(&f->exchanges[1], 3);
    fixture_start(f, 1);
    assert_int_equal(fixture_stat(f, "connections", "reused"), 1);
    upstream_server_poll(f->server, SIZE_MAX);
    assert_int_equal(conn(f, 0)->in_len, 0);
    fixture_body(f, 1, "abc", 3, true);
    upstream_server_poll(f->server, SIZE_MAX);
    assert_non_null(strstr(conn(f, 0)->in, "\r\n\r\nabc"));
    upstream_server_send(f->server, 0, OK_HELLO);
    RUN_UNTIL(f, f->exchanges[1].end == FAKE_ENDED);
}

static void a_head_does_not_wait_for_a_slow_body(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    struct fake_exchange *fake = &f->exchanges[0];
    fake_exchange_init(fake, "POST", "/", NULL);
    fake_exchange_has_body(fake, 3);
    fixture_start(f, 0);
    RUN_UNTIL(f, has_request(f, 0));
    fixture_body(f, 0, "abc", 3, true);
    answer(f, 0, OK_HELLO);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
}

static void an_empty_post_states_its_length(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    struct fake_exchange *fake = &f->exchanges[0];
    fake_exchange_init(fake, "POST", "/", NULL);
    fixture_start(f, 0);
    RUN_UNTIL(f, has_request(f, 0));
    assert_non_null(strstr(conn(f, 0)->in, "\r\ncontent-length: 0\r\n"));
    upstream_server_send(f->server, 0, OK_HELLO);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
}

static void a_body_of_another_length_than_stated_is_a_fault(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    for (size_t i = 0; i < 2; i++) {
        struct fake_exchange *fake = &f->exchanges[i];
        fake_exchange_init(fake, "POST", "/", NULL);
        fake_exchange_has_body(fake, 4);
        fixture_start(f, i);
        fixture_body(f, i, "abcde", i == 0 ? 3 : 5, i == 0);
        assert_int_equal(fake->end, FAKE_FAILED);
        assert_int_equal(fake->failure, FG_FAILURE_INTERNAL);
    }
    assert_int_equal(fixture_stat(f, "connections", "open"), 0);
}

static void an_early_answer_is_passed_on_and_closes(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    struct fake_exchange *fake = &f->exchanges[0];
    fake_exchange_init(fake, "POST", "/", NULL);
    fake_exchange_has_body(fake, 100);
    fixture_start(f, 0);
    fixture_body(f, 0, "abc", 3, false);
    answer(f, 0, "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno");
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    assert_int_equal(fake->status, 413);
    assert_int_equal(fixture_stat(f, "connections", "open"), 0);
}

static void an_early_answer_counts_though_sending_broke(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    struct fake_exchange *fake = &f->exchanges[0];
    fake_exchange_init(fake, "POST", "/", NULL);
    fake_exchange_has_body(fake, -1);
    fixture_start(f, 0);
    fixture_body(f, 0, "abc", 3, false);
    RUN_UNTIL(f, has_request(f, 0));
    /* Answers, closes; nothing unread, so the answer stays in our socket. */
    upstream_server_send(f->server, 0, "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno");
    upstream_server_hang_up(f->server, 0, false);
    for (unsigned i = 0; i < 4 && fake->end == FAKE_OPEN; i++)
        fixture_body(f, 0, "abc", 3, false);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    assert_int_equal(fake->status, 413);
    assert_int_equal(fake->end, FAKE_ENDED);
}

/* ---- two ends at once ---- */

static void start_another(struct fake_exchange *fake)
{
    struct fixture *f = fake->on_end_arg;
    fixture_get(f, 1, "/again");
}

static void an_exchange_may_start_inside_the_end_of_another(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    struct fake_exchange *fake = fixture_get(f, 0, "/");
    fake->on_end = start_another;
    fake->on_end_arg = f;
    answer(f, 0, OK_HELLO);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    RUN_UNTIL(f, strstr(conn(f, 0)->in, "GET /again HTTP/1.1\r\n") != NULL);
    upstream_server_send(f->server, 0, OK_HELLO);
    RUN_UNTIL(f, f->exchanges[1].end == FAKE_ENDED);
    assert_int_equal(f->server->count, 1);
}

static void works_over_a_unix_socket(void **state)
{
    struct fixture *f = *state;
    upstream_server_open(f->server, true);
    f->endpoints[0] = (struct fg_endpoint_conf){f->server->address, 1, 0};
    f->conf.endpoint_count = 1;
    fixture_open(f);
    for (unsigned i = 0; i < 2; i++) {
        struct fake_exchange *fake = fixture_get(f, 0, "/");
        answer(f, 0, OK_HELLO);
        RUN_UNTIL(f, fake->end == FAKE_ENDED);
        upstream_server_forget(f->server, 0);
    }
    assert_int_equal(f->server->count, 1);
}

static void connect_is_refused(void **state)
{
    struct fixture *f = *state;
    fixture_open_plain(f);
    fake_exchange_init(&f->exchanges[0], "CONNECT", "/", NULL);
    fixture_start(f, 0);
    assert_int_equal(f->exchanges[0].end, FAKE_REFUSED);
    assert_int_equal(f->exchanges[0].status, 501);
}

static void addresses_that_cannot_be_read_are_errors(void **state)
{
    static const char *const addresses[] = {
        "",      "host",  "host:", "host:0", "host:65536",    "host:x", "a:b:1",
        "[::1]", "[]:80", ":80",   "unix:",  "unix:relative", "unix:/",
    };
    struct fixture *f = *state;
    f->conf.endpoint_count = 1;
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        struct fg_error error = {0};
        f->endpoints[0] = (struct fg_endpoint_conf){addresses[i], 1, 0};
        assert_null(fg_proxy_create("api", &f->conf, 1, &error));
        assert_true(error.message[0] != '\0');
    }
    f->endpoints[0] = (struct fg_endpoint_conf){"[::1]:80", 1, 0};
    struct fg_error error;
    struct fg_backend *backend = fg_proxy_create("api", &f->conf, 3, &error);
    assert_non_null(backend);
    backend->ops->destroy(backend);
}

#define PROXY_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROXY_TEST(sends_the_request_as_it_should_look),
        PROXY_TEST(sends_the_configured_host),
        PROXY_TEST(passes_fields_on_but_those_of_the_hop),
        PROXY_TEST(uses_a_kept_connection_again),
        PROXY_TEST(takes_the_newest_idle_connection_first),
        PROXY_TEST(reads_bodies_in_any_pieces),
        PROXY_TEST(an_answer_to_head_has_no_body),
        PROXY_TEST(a_body_until_close_ends_with_the_connection),
        PROXY_TEST(a_reset_never_ends_a_body),
        PROXY_TEST(bytes_behind_an_answer_close_the_connection),
        PROXY_TEST(sends_a_body_of_known_length),
        PROXY_TEST(sends_a_body_of_unknown_length_in_chunks),
        PROXY_TEST(head_and_body_leave_in_one_call),
        PROXY_TEST(a_head_does_not_wait_for_a_slow_body),
        PROXY_TEST(an_empty_post_states_its_length),
        PROXY_TEST(a_body_of_another_length_than_stated_is_a_fault),
        PROXY_TEST(an_early_answer_is_passed_on_and_closes),
        PROXY_TEST(an_early_answer_counts_though_sending_broke),
        PROXY_TEST(an_exchange_may_start_inside_the_end_of_another),
        PROXY_TEST(works_over_a_unix_socket),
        PROXY_TEST(connect_is_refused),
        PROXY_TEST(addresses_that_cannot_be_read_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
