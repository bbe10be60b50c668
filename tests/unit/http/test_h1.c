/*
 * test_h1.c: the HTTP/1 codec over a connection made of memory.
 */
#include "fake_transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define POST(path, fields) "POST " path " HTTP/1.1\r\nHost: h\r\n" fields "\r\n"

static int set_up(void **state)
{
    static struct fake fake;
    fake_open(&fake, false, NULL);
    *state = &fake;
    return 0;
}

static int tear_down(void **state)
{
    fake_close(*state);
    return 0;
}

static void answers_and_stays_open(void **state)
{
    struct fake *fake = *state;
    for (unsigned i = 1; i <= 3; i++) {
        fake_forget_output(fake);
        fake_feed_text(fake, GET("/"));
        assert_string_equal(fake->out, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
                                       "content-length: 5\r\n\r\nhello");
        assert_int_equal(fake->dones, i);
        assert_false(fake->is_closing);
        assert_true(fake->is_armed);
        assert_int_equal(fake->armed, FG_TIMEOUT_IDLE);
    }
    assert_int_equal(fg_counter_get(&fake->stats.requests_h1), 3);
}

static void gives_the_handler_a_clean_head(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, "\r\nPATCH http://Example.ORG:80/a/./b//c?Q=%20 HTTP/1.1\r\n"
                         "HOST: EXAMPLE.org:80\r\n"
                         "Accept:  text/html \t\r\n"
                         "Connection: close, X-Hop, content-length\r\n"
                         "X-Hop: gone\r\n"
                         "Keep-Alive: 3\r\n"
                         "TE: trailers\r\n"
                         "Upgrade: h2c\r\n"
                         "Cookie: a=1\r\n"
                         "Empty:\r\n"
                         "Cookie: b=2\r\n"
                         "X-Request-Id: my.ID_7-x\r\n"
                         "Content-Length: 0\r\n\r\n");
    assert_string_equal(fake->heard, "PATCH example.org:80 /a/b/c ?Q=%20\n"
                                     "accept: text/html\n"
                                     "cookie: a=1; b=2\n"
                                     "empty: \n"
                                     "content-length: 0\n");
    assert_true(fake->is_closing);
}

static void ask_for(struct fake *fake, const char *host, const char *heard_as)
{
    char text[160], heard[160];
    snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host);
    snprintf(heard, sizeof(heard), "GET %s /\n", heard_as);
    fake_feed_text(fake, text);
    assert_string_equal(fake->heard, heard);
}

/* The loop remembers the one that was asked for last. */
static void takes_each_authority_for_itself(void **state)
{
    struct fake *fake = *state;
    static const char *const hosts[][2] = {
        {"EXAMPLE.org:", "example.org"},     {"EXAMPLE.org:", "example.org"},
        {"EXAMPLE.org", "example.org"},      {"EXAMPLE.org:8", "example.org:8"},
        {"example.orG:8", "example.org:8"},  {"example.org:8", "example.org:8"},
        {"example.org:80", "example.org:80"}};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
        ask_for(fake, hosts[i][0], hosts[i][1]);
    for (size_t len = 60; len <= 70; len++) {
        char longest[80] = {0};
        memset(longest, 'a', len);
        ask_for(fake, longest, longest);
        ask_for(fake, longest, longest);
    }
    fake_forget_output(fake);
    fake_feed_text(fake, "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n");
    assert_non_null(strstr(fake->out, "HTTP/1.1 400"));
}

static void keeps_a_good_request_id_and_replaces_a_bad_one(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, "GET /wait HTTP/1.1\r\nHost: h\r\nX-Request-Id: abc\r\n\r\n");
    assert_true(fg_span_equal(fake->last->ex.request_id, FG_SPAN("abc")));
    assert_true(fg_span_equal(fake->last->ex.client_addr, FG_SPAN("192.0.2.1")));
    fake_answer(fake);
    fake_feed_text(fake, "GET /wait HTTP/1.1\r\nHost: h\r\nX-Request-Id: a b\r\n\r\n");
    assert_int_equal(fake->last->ex.request_id.len, 32);
    fake_answer(fake);
}

static void parses_the_same_however_it_is_cut(void **state)
{
    (void)state;
    static const char text[] =
        GET("/") POST("/read", "Content-Length: 5\r\n") "abcde" GET("/chunks")
            POST("/read", "Transfer-Encoding: chunked\r\n") "3;x=y\r\nfoo\r\n2\r\nba\r\n0\r\nT: "
                                                            "v\r\n\r\n" GET("/none");
    char *whole = NULL;
    for (size_t step = sizeof(text) - 1; step >= 1; step = step > 40 ? step / 2 : step - 1) {
        struct fake fake;
        fake_open(&fake, false, NULL);
        for (size_t at = 0; at < sizeof(text) - 1; at += step)
            fake_feed(&fake, text + at,
                      sizeof(text) - 1 - at < step ? sizeof(text) - 1 - at : step);
        assert_int_equal(fake.requests, 5);
        assert_int_equal(fake.dones, 5);
        assert_int_equal(fake.lasts, 2);
        if (whole == NULL) {
            whole = strdup(fake.out);
            assert_non_null(strstr(whole, "6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n"));
            assert_non_null(strstr(whole, "HTTP/1.1 204 No Content\r\n"));
        }
        assert_string_equal(fake.out, whole);
        fake_close(&fake);
    }
    free(whole);
}

static void answers_pipelined_requests_in_order(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, GET("/wait") GET("/") GET("/chunks"));
    assert_int_equal(fake->requests, 1);
    assert_int_equal(fake->out_len, 0);
    assert_true(fake->held_len > 0);
    fake_answer(fake);
    assert_int_equal(fake->requests, 3);
    assert_int_equal(fake->dones, 3);
    assert_int_equal(fake->held_len, 0);
    const char *done = strstr(fake->out, "done");
    assert_non_null(done);
    assert_non_null(strstr(done, "hello"));
}

static void stops_parsing_while_answers_pile_up(void **state)
{
    struct fake *fake = *state;
    fake->is_stuck = true;
    for (unsigned i = 0; i < 2000; i++)
        fake_feed_text(fake, GET("/"));
    assert_true(fake->requests < 600); /* connection_buffer_bytes over the size of one answer */
    assert_true(fake->held_len > 0);
    fake->is_stuck = false;
    fake_turn(fake);
    assert_int_equal(fake->requests, 2000);
    assert_int_equal(fake->dones, 2000);
}

static void speaks_http_1_0(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *answer;
        bool is_closing;
    } cases[] = {
        {"GET / HTTP/1.0\r\n\r\n", "content-length: 5\r\nconnection: close\r\n\r\nhello", true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
         "content-length: 5\r\nconnection: keep-alive\r\n\r\nhello", false},
        {"GET /chunks HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
         "text/plain\r\nconnection: close\r\n\r\nhello world", true},
        {"GET / HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n",
         "content-length: 5\r\nconnection: close\r\n\r\nhello", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake fake;
        fake_open(&fake, false, NULL);
        fake_feed_text(&fake, cases[i].text);
        assert_true(fake_said(&fake, cases[i].answer));
        assert_int_equal(fake.is_closing, cases[i].is_closing);
        fake_close(&fake);
    }
}

static void swallows_bodies_that_must_not_be(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(fake_said(fake, "content-length: 5\r\n\r\n"));
    assert_false(fake_said(fake, "hello"));
    fake_feed_text(fake, "HEAD /chunks HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_false(fake_said(fake, "world"));
    assert_false(fake_said(fake, "chunked"));
    fake_forget_output(fake);
    fake_feed_text(fake, GET("/none"));
    assert_string_equal(fake->out, "HTTP/1.1 204 No Content\r\n\r\n");
    fake_forget_output(fake);
    fake_feed_text(fake, GET("/nowhere"));
    assert_true(fake_said(fake, "HTTP/1.1 404 Not Found\r\n"));
    assert_true(fake_said(fake, "content-length: 0\r\n\r\n"));
    assert_int_equal(fake->dones, 4);
}

static void streams_a_body_with_back_pressure_out(void **state)
{
    struct fake *fake = *state;
    fake->is_stuck = true;
    fake_feed_text(fake, GET("/bytes"));
    assert_int_equal(fake->dones, 0);
    size_t buffered = fake->env.segments.in_use * FG_SEGMENT_BYTES;
    assert_true(buffered <= 32768 + 3 * 16384); /* limit, one write, ends of segments */
    fake->is_stuck = false;
    fake_turn(fake);
    assert_int_equal(fake->dones, 1);
    assert_true(fake->writables > 3);
    assert_true(fake->out_len > 300000);
}

static void holds_the_client_back_until_the_body_is_consumed(void **state)
{
    struct fake *fake = *state;
    char piece[1000];
    memset(piece, 'b', sizeof(piece));
    fake_feed_text(fake, POST("/hold", "Content-Length: 100000\r\n"));
    for (unsigned i = 0; i < 100; i++)
        fake_feed(fake, piece, sizeof(piece));
    assert_int_equal(fake->body_bytes, 65536);
    assert_int_equal(fake->held_len, 100000 - 65536);
    assert_int_equal(fake->last->ex.content_length, 100000);
    fake_consume(fake, 10000);
    assert_int_equal(fake->body_bytes, 75536);
    assert_int_equal(fake->lasts, 0);
    fake_consume(fake, 65536);
    assert_int_equal(fake->body_bytes, 100000);
    assert_int_equal(fake->lasts, 1);
    fake_answer(fake);
    assert_int_equal(fake->dones, 1);
    assert_false(fake->is_closing);
}

/* Answered while its body waits for the handler: what has come is thrown away, the next request
 * read. */
static void reads_on_when_a_body_that_was_held_back_is_answered(void **state)
{
    struct fake *fake = *state;
    char piece[1000];
    memset(piece, 'b', sizeof(piece));
    fake_feed_text(fake, POST("/hold", "Content-Length: 100000\r\n"));
    for (unsigned i = 0; i < 90; i++)
        fake_feed(fake, piece, sizeof(piece));
    assert_int_equal(fake->body_bytes, 65536);
    fake_answer(fake);
    assert_int_equal(fake->held_len, 0);
    for (unsigned i = 0; i < 10; i++)
        fake_feed(fake, piece, sizeof(piece));
    assert_int_equal(fake->body_bytes, 65536);
    fake_feed_text(fake, GET("/"));
    assert_int_equal(fake->dones, 2);
    assert_false(fake->is_closing);
}

static void echoes_a_large_chunked_body_within_its_bounds(void **state)
{
    struct fake *fake = *state;
    char chunk[4096 + 8];
    int at = snprintf(chunk, sizeof(chunk), "1000\r\n");
    memset(chunk + at, 'e', 4096);
    memcpy(chunk + at + 4096, "\r\n", 2);
    fake_feed_text(fake, POST("/echo", "Transfer-Encoding: chunked\r\n"));
    for (unsigned i = 0; i < 250; i++) {
        fake->is_stuck = i % 37 != 0; /* a client that reads now and then */
        fake_feed(fake, chunk, (size_t)at + 4096 + 2);
        assert_true(fake->env.segments.in_use < 16);
    }
    fake->is_stuck = false;
    fake_feed_text(fake, "0\r\n\r\n");
    assert_int_equal(fake->dones, 1);
    assert_true(fake->held_max <= 65536);
    assert_true(fake->out_len > (size_t)250 * 4096);
}

static void asks_for_the_body_that_was_announced(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, POST("/read", "Expect: 100-continue\r\nContent-Length: 3\r\n"));
    assert_string_equal(fake->out, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_false(fake_heard(fake, "expect"));
    fake_feed_text(fake, "abc");
    assert_true(fake_said(fake, "\r\n\r\n3"));
    assert_false(fake->is_closing);
    /* Refused at once: no 100, and the body may never come. */
    fake_forget_output(fake);
    fake_feed_text(fake, POST("/nowhere", "Expect: 100-continue\r\nContent-Length: 3\r\n"));
    assert_true(fake_said(fake, "404"));
    assert_false(fake_said(fake, "100 Continue"));
    assert_true(fake->is_closing);
    assert_int_equal(fake->close_mode, FG_CLOSE_LINGER);
}

static void drains_a_small_rest_and_gives_up_on_a_large_one(void **state)
{
    (void)state;
    struct fake fake;
    fake_open(&fake, false, NULL);
    fake_feed_text(&fake, POST("/nowhere", "Content-Length: 10\r\n") "12345");
    assert_int_equal(fake.dones, 1);
    fake_feed_text(&fake, "67890" GET("/"));
    assert_true(fake_said(&fake, "hello"));
    fake_close(&fake);
    fake_open(&fake, false, NULL);
    fake_feed_text(&fake, POST("/nowhere", "Content-Length: 100000\r\n"));
    assert_true(fake.is_closing);
    assert_int_equal(fake.close_mode, FG_CLOSE_LINGER);
    fake_close(&fake);
    fake_open(&fake, false, NULL);
    fake_feed_text(&fake, POST("/nowhere", "Transfer-Encoding: chunked\r\n") "fffff\r\n");
    char piece[30000];
    memset(piece, 'r', sizeof(piece));
    fake_feed(&fake, piece, sizeof(piece));
    assert_false(fake.is_closing);
    fake_feed(&fake, piece, sizeof(piece));
    fake_feed(&fake, piece, sizeof(piece));
    assert_true(fake.is_closing);
    fake_close(&fake);
}

static void refuses_a_body_that_grows_too_large(void **state)
{
    (void)state;
    struct fake fake;
    fake_open(&fake, false, NULL);
    fake_feed_text(&fake, POST("/small", "Transfer-Encoding: chunked\r\n") "a\r\n0123456789\r\n");
    assert_int_equal(fake.gones, 0);
    fake_feed_text(&fake, "1\r\nx\r\n");
    assert_int_equal(fake_status(&fake), 413);
    assert_true(fake_said(&fake, "\"code\":\"body_too_large\""));
    assert_true(fake_said(&fake, "\"request_id\":\""));
    assert_int_equal(fake.gones, 1);
    assert_int_equal(fake.gone_reason, FG_GONE_TOO_LARGE);
    assert_int_equal(fake.dones, 1);
    assert_int_equal(fake.close_mode, FG_CLOSE_LINGER);
    fake_close(&fake);
}

static void tells_a_grpc_call_in_its_own_terms(void **state)
{
    (void)state;
    struct fake fake;
    fake_open(&fake, false, NULL);
    fake_feed_text(&fake, POST("/small", "Content-Type: application/grpc+proto\r\n"
                                         "Transfer-Encoding: chunked\r\n") "b\r\n0123456789x\r\n");
    assert_int_equal(fake_status(&fake), 200);
    assert_int_equal(fake.codec_status, 413);
    assert_true(fake_said(&fake, "\r\ngrpc-status: 8\r\n"));
    assert_true(fake_said(&fake, "\r\ngrpc-message: The request body is too large.\r\n"));
    assert_true(fake_said(&fake, "\r\ncontent-length: 0\r\n"));
    assert_false(fake_said(&fake, "{"));
    assert_int_equal(fake.gone_reason, FG_GONE_TOO_LARGE);
    assert_int_equal(fake.dones, 1);
    fake_close(&fake);
}

static void tells_the_handler_what_it_answers_by_itself(void **state)
{
    (void)state;
    static const struct {
        const char *text, *code, *path;
        unsigned status, requests;
    } cases[] = {
        {"GET /a HTTP/1.1\r\n\r\n", "bad_host", "/a", 400, 0},
        {"\1\2\3\r\n\r\n", "malformed_request", "", 400, 0},
        {"PUT /a HTTP/3.0\r\nHost: h\r\n\r\n", "unsupported_version", "", 505, 0},
        {POST("/hold", "Transfer-Encoding: chunked\r\n") "x\r\n", "bad_chunk", "/hold", 400, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake fake;
        fake_open(&fake, false, NULL);
        fake_feed_text(&fake, cases[i].text);
        assert_int_equal(fake.codec_answers, 1);
        assert_int_equal(fake.codec_status, cases[i].status);
        assert_string_equal(fake.codec_code, cases[i].code);
        assert_string_equal(fake.codec_path, cases[i].path);
        assert_int_equal(fake.codec_id_len, 32);
        assert_int_equal(fake_status(&fake), cases[i].status);
        assert_int_equal(fake.requests, cases[i].requests);
        assert_int_equal(fake.dones, cases[i].requests);
        assert_int_equal(fg_counter_get(&fake.stats.protocol_errors), 1);
        fake_close(&fake);
    }
}

static void answers_what_there_is_no_memory_for(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, POST("/no-memory", "Content-Length: 5\r\n") "hello" GET("/"));
    assert_int_equal(fake_status(fake), 503);
    assert_true(fake_said(fake, "\r\nretry-after: 1\r\n"));
    assert_true(fake_said(fake, "\"code\":\"no_memory\""));
    assert_true(fake_said(fake, "hello")); /* the next request is answered */
    assert_false(fake->is_closing);
    assert_int_equal(fake->dones, 2);
    assert_int_equal(fake->gones, 0);
}

#define WISH                                                                                       \
    "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n"

static void opens_a_tunnel(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, WISH "abc");
    assert_true(fake_said(fake, "HTTP/1.1 101 Switching Protocols\r\nlink: </a>\r\n"
                                "connection: upgrade\r\nupgrade: websocket\r\n\r\nhello "));
    fake_feed_text(fake, "GET / HTTP/1.1\r\n");
    assert_true(fake_said(fake, "\r\n\r\nhello abcGET / HTTP/1.1\r\n"));
    assert_int_equal(fake->requests, 1);
    assert_false(fake->is_closing);
    fake_eof(fake, true);
    assert_int_equal(fake->lasts, 1);
    assert_int_equal(fake->gones, 0);
    assert_true(fake->is_closing);
    assert_int_equal(fake->close_mode, FG_CLOSE_FLUSH); /* it says no more */
}

/* Its last words must arrive, whatever the client is saying meanwhile (RFC 9110 section 9.3.6). */
static void a_server_may_end_a_tunnel_first(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, WISH);
    fg_response_end(fake->last);
    fake_turn(fake);
    assert_true(fake->is_closing);
    assert_int_equal(fake->close_mode, FG_CLOSE_LINGER);
}

static void goes_on_where_a_tunnel_is_not_to_be_had(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\n"
                         "Upgrade: websocket\r\n\r\n" GET("/none"));
    assert_int_equal(fake_status(fake), 200);
    assert_true(fake_said(fake, "HTTP/1.1 204 "));
    assert_int_equal(fake->requests, 2);
    assert_false(fake->is_closing);
}

static void sends_what_comes_before_and_behind(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, "GET /behind HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n"
                         "Connection: te\r\n\r\n");
    assert_true(
        fake_said(fake, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"));
    assert_true(fake_said(fake, "5\r\nhello\r\n0\r\nx-sum: abc\r\n\r\n"));
    fake_forget_output(fake);
    fake_feed_text(fake, GET("/behind"));
    assert_true(fake_said(fake, "5\r\nhello\r\n0\r\n\r\n"));
    fake_forget_output(fake);
    fake_feed_text(fake, "GET /behind HTTP/1.0\r\n\r\n");
    assert_int_equal(fake_status(fake), 200); /* no 103 before it */
    assert_false(fake_said(fake, "x-sum"));
}

static void gives_the_handler_trailers(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(
        fake,
        POST("/echo",
             "TE: trailers\r\nTransfer-Encoding: chunked\r\n") "3\r\nabc\r\n0\r\nX-A: 1\r\nHost: "
                                                               "y\r\nTransfer-Encoding: x\r\n\r\n");
    assert_true(fake_said(fake, "3\r\nabc\r\n0\r\nx-a: 1\r\n\r\n"));
    assert_false(fake->is_closing);
}

static void gathers_small_chunks(void **state)
{
    struct fake *fake = *state;
    static char text[6 * 3000 + 6];
    size_t len = 0;
    for (; len < sizeof(text) - 6; len += 6)
        memcpy(text + len, "1\r\na\r\n", 6);
    memcpy(text + len, "0\r\n\r\n", 6);
    fake_feed_text(fake, POST("/read", "Transfer-Encoding: chunked\r\n"));
    fake_feed(fake, text, len + 5);
    assert_true(fake_said(fake, "\r\n\r\n3000"));
    assert_int_equal(fake->pieces, 1);
    fake_forget_output(fake);
    fake_feed_text(fake, POST("/echo", "Transfer-Encoding: chunked\r\n") "1\r\na\r\n2\r\nb");
    assert_true(fake_said(fake, "2\r\nab\r\n")); /* nothing waits for more input */
    fake_feed_text(fake, "c\r\n0\r\n\r\n");
    assert_true(fake_said(fake, "1\r\nc\r\n0\r\n\r\n"));
}

static void answers_503_when_a_request_outgrows_its_memory(void **state)
{
    (void)state;
    struct fg_limits_conf limits = fake_limits();
    limits.request_memory_max = 512;
    struct fake fake;
    fake_open(&fake, false, &limits);
    fake_feed_text(&fake, GET("/"));
    assert_int_equal(fake_status(&fake), 503);
    assert_int_equal(fake.requests, 0);
    fake_close(&fake);
}

static void does_not_pass_on_what_would_split_an_answer(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, GET("/wait"));
    const struct fg_field fields[] = {
        {FG_SPAN("x-bad"), FG_SPAN("a\r\nx-evil: b")},
        {FG_SPAN("transfer-encoding"), FG_SPAN("gzip")},
        {FG_SPAN("connection"), FG_SPAN("upgrade")},
        {FG_SPAN("content-length"), FG_SPAN("2")},
        {FG_SPAN("content-length"), FG_SPAN("3")},
        {FG_SPAN("x-good"), FG_SPAN("c")},
    };
    fg_response_head(fake->last, 200, fields, 6, false);
    fg_response_write(fake->last, "abcdef", 6);
    fg_response_end(fake->last);
    fake_turn(fake);
    assert_string_equal(fake->out, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-good: c\r\n\r\nab");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answers_and_stays_open),
        TEST(gives_the_handler_a_clean_head),
        TEST(takes_each_authority_for_itself),
        TEST(keeps_a_good_request_id_and_replaces_a_bad_one),
        cmocka_unit_test(parses_the_same_however_it_is_cut),
        TEST(answers_pipelined_requests_in_order),
        TEST(stops_parsing_while_answers_pile_up),
        cmocka_unit_test(speaks_http_1_0),
        TEST(swallows_bodies_that_must_not_be),
        TEST(streams_a_body_with_back_pressure_out),
        TEST(holds_the_client_back_until_the_body_is_consumed),
        TEST(reads_on_when_a_body_that_was_held_back_is_answered),
        TEST(echoes_a_large_chunked_body_within_its_bounds),
        TEST(asks_for_the_body_that_was_announced),
        cmocka_unit_test(drains_a_small_rest_and_gives_up_on_a_large_one),
        cmocka_unit_test(refuses_a_body_that_grows_too_large),
        cmocka_unit_test(tells_a_grpc_call_in_its_own_terms),
        cmocka_unit_test(tells_the_handler_what_it_answers_by_itself),
        TEST(answers_what_there_is_no_memory_for),
        TEST(opens_a_tunnel),
        TEST(a_server_may_end_a_tunnel_first),
        TEST(goes_on_where_a_tunnel_is_not_to_be_had),
        TEST(sends_what_comes_before_and_behind),
        TEST(gives_the_handler_trailers),
        TEST(gathers_small_chunks),
        cmocka_unit_test(answers_503_when_a_request_outgrows_its_memory),
        TEST(does_not_pass_on_what_would_split_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
