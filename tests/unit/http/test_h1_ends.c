/*
 * test_h1_ends.c: how HTTP/1 connections and their requests end, and who is waited for till then.
 */
#include "fake_transport.h"

#include "backends/pressure_shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
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

static void never_ends_a_broken_answer_cleanly(void **state)
{
    (void)state;
    static const char *const paths[] = {"/short", "/abort-late", "/abort"};
    for (size_t i = 0; i < 3; i++) {
        struct fake fake;
        char text[64];
        fake_open(&fake, false, NULL);
        snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: h\r\n\r\n" GET("/"), paths[i]);
        fake_feed_text(&fake, text);
        assert_true(fake.is_closing);
        assert_int_equal(fake.requests, 1);
        assert_int_equal(fake.dones, 1);
        assert_int_equal(fake.gones, 0);
        fake_close(&fake);
    }
}

/* RFC 9112 section 9.6: a reset for what it says would lose it the answers that it has not read. */
static void listens_for_a_while_to_whom_it_ends_with(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum fg_close_mode mode;
    } rows[] = {
        {GET("/wait"), FG_CLOSE_LINGER},
        {"GET /wait HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", FG_CLOSE_LINGER},
        {GET("/abort-late"), FG_CLOSE_LINGER},
        {"GET /wait HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", FG_CLOSE_FLUSH},
        {"GET /abort-late HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", FG_CLOSE_FLUSH},
        {"GET /wait HTTP/1.0\r\n\r\n", FG_CLOSE_FLUSH},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fake fake;
        fake_open(&fake, false, NULL);
        fake_feed_text(&fake, rows[i].text);
        if (fake.last != NULL) {
            fake.codec->ops->drain(fake.codec);
            fake_answer(&fake);
        }
        assert_true(fake.is_closing);
        if (fake.close_mode != rows[i].mode)
            fail_msg("%s: %d", rows[i].text, (int)fake.close_mode);
        fake_close(&fake);
    }
}

static void tells_the_handler_that_the_client_left(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, GET("/wait"));
    fake_eof(fake, false);
    assert_int_equal(fake->gones, 1);
    assert_int_equal(fake->gone_reason, FG_GONE_CLIENT_CLOSED);
    assert_int_equal(fake->dones, 1);
}

static void answers_who_says_no_more(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, GET("/wait"));
    fake_eof(fake, true);
    assert_int_equal(fake->gones, 0);
    assert_false(fake->is_closing);
    fake_answer(fake);
    assert_true(fake_said(fake, "\r\nconnection: close\r\n\r\ndone"));
    assert_true(fake->is_closing);
    assert_int_equal(fake->close_mode, FG_CLOSE_FLUSH);
    assert_int_equal(fake->dones, 1);
}

static void asks_who_says_no_more_whether_it_listens(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, GET("/wait"));
    fake_eof(fake, true);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(fake->is_armed && fake->armed == FG_TIMEOUT_PROBE);
        fake->is_armed = false;
        fake->codec->ops->on_timeout(fake->codec, FG_TIMEOUT_PROBE);
    }
    assert_false(fake->is_armed); /* whoever has left is known by then */
    fake_answer(fake);
    assert_true(fake_said(
        fake, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
    fake->codec->ops->on_timeout(fake->codec, FG_TIMEOUT_PROBE); /* it was on its way */
    assert_int_equal(fake->close_mode, FG_CLOSE_FLUSH);
}

static void does_not_ask_who_would_not_understand(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, "GET /wait HTTP/1.0\r\nHost: h\r\n\r\n");
    fake_eof(fake, true);
    fake->codec->ops->on_timeout(fake->codec, FG_TIMEOUT_PROBE);
    assert_int_equal(fake->out_len, 0);
}

/* The same request: first its client's side ends, then the rest of it as well. */
static void tells_that_who_said_no_more_has_left(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, GET("/wait"));
    fake_eof(fake, true);
    assert_int_equal(fake->gones, 0);
    fake_eof(fake, false);
    assert_int_equal(fake->gones, 1);
    assert_int_equal(fake->dones, 1);
    assert_int_equal(fake->out_len, 0);
}

static void takes_the_end_for_leaving_where_the_handler_says_so(void **state)
{
    struct fake *fake = *state;
    fake_feed_text(fake, GET("/wait"));
    fake->last->ends_with_input = true;
    fake_eof(fake, true);
    assert_int_equal(fake->gones, 1);
    assert_int_equal(fake->close_mode, FG_CLOSE_RESET);
}

static void takes_no_part_of_a_request_for_a_whole_one(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhell",
        "POST /read HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "POST /wait HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"};
    for (size_t i = 0; i < 3; i++) {
        struct fake fake;
        fake_open(&fake, false, NULL);
        fake_feed_text(&fake, texts[i]);
        fake_eof(&fake, true);
        assert_int_equal(fake.gones, 1);
        assert_int_equal(fake.lasts, 0);
        assert_int_equal(fake.dones, 1);
        assert_int_equal(fake_status(&fake), 400);
        assert_true(fake_said(&fake, "\"code\":\"incomplete_body\""));
        assert_true(fake.is_closing);
        assert_int_equal(fake.close_mode, FG_CLOSE_FLUSH);
        fake_close(&fake);
    }
}

/* Behind the head of an answer, or where the end means that the client has left. */
static void tells_nobody_of_half_a_request_who_cannot_hear_it(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct fake fake;
        fake_open(&fake, false, NULL);
        fake_feed_text(&fake, "POST /wait HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhell");
        if (i == 0)
            fg_response_head(fake.last, 200, NULL, 0, false);
        fake.last->ends_with_input = i == 1;
        fake_eof(&fake, i != 2);
        assert_int_equal(fake.gones, 1);
        assert_int_equal(fake.gone_reason, FG_GONE_CLIENT_CLOSED);
        assert_int_equal(fake.close_mode, FG_CLOSE_RESET);
        assert_false(fake_said(&fake, " 400 "));
        fake_close(&fake);
    }
}

static void times_out_heads_bodies_and_silence(void **state)
{
    (void)state;
    struct fake fake;
    fake_open(&fake, false, NULL);
    fake_feed_text(&fake, "GET / HT");
    assert_int_equal(fake.armed, FG_TIMEOUT_HEADER);
    fake.codec->ops->on_timeout(fake.codec, FG_TIMEOUT_HEADER);
    fake_turn(&fake);
    assert_int_equal(fake_status(&fake), 408);
    assert_true(fake.is_closing);
    fake_close(&fake);

    fake_open(&fake, false, NULL);
    fake_feed_text(&fake, POST("/read", "Content-Length: 10\r\n") "123");
    fg_timeouts_run(&fake.env.timeouts, UINT64_MAX);
    fake_turn(&fake);
    assert_int_equal(fake_status(&fake), 408);
    assert_int_equal(fake.gone_reason, FG_GONE_TIMEOUT);
    assert_int_equal(fake.dones, 1);
    fake_close(&fake);

    fake_open(&fake, false, NULL);
    fake_feed_text(&fake, GET("/"));
    fake_forget_output(&fake);
    fake.codec->ops->on_timeout(fake.codec, FG_TIMEOUT_IDLE);
    fake_turn(&fake);
    assert_true(fake.is_closing);
    assert_int_equal(fake.out_len, 0);
    fake_close(&fake);

    /* Idle was armed before this request; it must not end it. */
    fake_open(&fake, false, NULL);
    fake_feed_text(&fake, GET("/wait"));
    fake.codec->ops->on_timeout(fake.codec, FG_TIMEOUT_IDLE);
    fake_turn(&fake);
    assert_false(fake.is_closing);
    fake_answer(&fake);
    assert_true(fake_said(&fake, "done"));
    fake_close(&fake);
}

static void drains(void **state)
{
    (void)state;
    struct fake fake;
    fake_open(&fake, false, NULL);
    fake_feed_text(&fake, GET("/wait"));
    fake.codec->ops->drain(fake.codec);
    fake_turn(&fake);
    assert_false(fake.is_closing);
    fake_answer(&fake);
    assert_true(fake_said(&fake, "connection: close\r\n"));
    assert_true(fake.is_closing);
    fake_close(&fake);
}

static void waits_for_one_more_request_while_it_drains(void **state)
{
    (void)state;
    struct fake fake;
    for (unsigned i = 0; i < 4; i++) {
        const bool is_asked = i % 2 == 1, is_first = i < 2;
        fake_open(&fake, false, NULL);
        if (!is_first)
            fake_feed_text(&fake, GET("/"));
        fake.out_len = 0;
        fake.codec->ops->drain(fake.codec);
        fake_turn(&fake);
        assert_false(fake.is_closing);
        assert_true(fake.is_armed);
        assert_int_equal(fake.armed, FG_TIMEOUT_LINGER);
        if (is_asked) {
            fake_feed_text(&fake, GET("/"));
            assert_true(fake_said(&fake, "connection: close\r\n"));
        } else {
            fake.codec->ops->on_timeout(fake.codec, FG_TIMEOUT_LINGER);
            fake_turn(&fake);
            assert_int_equal(fake.out_len, 0);
        }
        assert_true(fake.is_closing);
        fake_close(&fake);
    }
}

static void closes_after_its_share_of_requests(void **state)
{
    (void)state;
    struct fg_limits_conf limits = fake_limits();
    limits.requests_per_connection_max = 2;
    struct fake fake;
    fake_open(&fake, false, &limits);
    fake_feed_text(&fake, GET("/") GET("/") GET("/"));
    assert_int_equal(fake.requests, 2);
    assert_true(fake.is_closing);
    fake_close(&fake);
}

static void gives_up_by_a_reset(void **state)
{
    struct fake *fake = *state;
    fake->is_stuck = true;
    fake_feed_text(fake, GET("/bytes"));
    assert_int_equal(fg_response_stalled_since(fake->last), 0);
    fake->stalled_since_ns = 7; /* so the connection says of its socket */
    assert_int_equal(fg_response_stalled_since(fake->last), 7);
    fg_response_give_up(fake->last);
    assert_true(fake->is_closing);
    assert_int_equal(fake->close_mode, FG_CLOSE_RESET);
}

/* What overload asks before it closes a connection of somebody who holds too many. */
static uint64_t waits_since(struct fake *fake, bool *is_idle)
{
    *is_idle = false;
    return fake->codec->ops->waits_since(fake->codec, is_idle);
}

static void knows_when_it_waits_for_the_client_alone(void **state)
{
    struct fake *fake = *state;
    bool is_idle;
    assert_int_not_equal(waits_since(fake, &is_idle), 0);
    assert_true(is_idle);
    fake_feed_text(fake, "GET / HTTP/1.1\r\nhost"); /* a head that does not get on */
    assert_int_not_equal(waits_since(fake, &is_idle), 0);
    assert_false(is_idle);
    fake_feed_text(fake, ": h\r\n\r\n");
    assert_int_not_equal(waits_since(fake, &is_idle), 0);
    assert_true(is_idle);
    fake_feed_text(fake, "POST /hold HTTP/1.1\r\nhost: h\r\ncontent-length: 65536\r\n\r\nx");
    uint64_t begun_ns = waits_since(fake, &is_idle);
    assert_int_not_equal(begun_ns, 0);
    assert_false(is_idle);
    fg_loop_refresh_now(fake->loop);
    fake_feed_text(fake, "y"); /* no progress */
    assert_int_equal(waits_since(fake, &is_idle), begun_ns);
    static char piece[FG_WRITE_PROGRESS_BYTES];
    fake_feed(fake, piece, sizeof(piece));
    assert_true(waits_since(fake, &is_idle) > begun_ns);
    for (size_t sent = 2 + sizeof(piece); sent < 65536;) {
        size_t len = 65536 - sent < sizeof(piece) ? 65536 - sent : sizeof(piece);
        fake_feed(fake, piece, len);
        sent += len;
    }
    assert_int_equal(waits_since(fake, &is_idle), 0); /* for the handler, which has it all */
    fake_answer(fake);
}

static void is_kept_under_pressure_while_others_are_to_blame(void **state)
{
    struct fake *fake = *state;
    struct fg_pressure pressure = {0};
    fake->env.pressure = &pressure;
    fg_counter_set(&pressure.steps, UINT64_C(1) << FG_OVERLOAD_STOP_KEEP_ALIVE);
    fake->is_spared = true;
    fake_feed_text(fake, GET("/"));
    assert_false(fake_said(fake, "connection: close"));
    assert_int_equal(fg_counter_get(&pressure.acted[FG_OVERLOAD_STOP_KEEP_ALIVE]), 0);
    fake->is_spared = false;
    fake_feed_text(fake, GET("/"));
    assert_true(fake_said(fake, "connection: close"));
    assert_int_equal(fg_counter_get(&pressure.acted[FG_OVERLOAD_STOP_KEEP_ALIVE]), 1);
}

/* Takes one answer and no more, as a socket does that is nearly full. */
static void take_an_answer(struct fake *fake)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
                                 "content-length: 5\r\n\r\nhello";
    char room[sizeof(answer) - 1];
    size_t len = fake->codec->ops->produce(fake->codec, room, sizeof(room));
    assert_int_equal(len, sizeof(room));
    assert_memory_equal(room, answer, len);
    fake->codec->ops->flushed(fake->codec);
}

static void is_done_with_each_answer_that_has_left(void **state)
{
    struct fake *fake = *state;
    fake->is_stuck = true;
    for (unsigned i = 0; i < 3; i++)
        fake_feed_text(fake, GET("/"));
    assert_int_equal(fake->requests, 3);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(fake->dones, i - 1);
        take_an_answer(fake);
        assert_int_equal(fake->dones, i);
    }
    assert_int_equal(fake->armed, FG_TIMEOUT_IDLE);
}

static void lets_no_more_answers_wait_than_streams(void **state)
{
    struct fake *fake = *state;
    fake->is_stuck = true;
    for (unsigned i = 0; i < 40; i++)
        fake_feed_text(fake, GET("/"));
    assert_int_equal(fake->requests, fake->limits.streams_per_connection_max);
    take_an_answer(fake);
    fake_turn(fake);
    assert_int_equal(fake->requests, fake->limits.streams_per_connection_max + 1);
    fake->is_stuck = false;
    fake_turn(fake);
    assert_int_equal(fake->dones, 40);
}

static void what_has_not_left_at_the_end_was_aborted(void **state)
{
    struct fake *fake = *state;
    fake->is_stuck = true;
    fake_feed_text(fake, GET("/"));
    fake_feed_text(fake, GET("/"));
    take_an_answer(fake);
    assert_int_equal(fake->aborted, 0);
    fake->codec->ops->on_cut(fake->codec, FG_GONE_CLIENT_CLOSED);
    fake->is_cut = true;
    assert_int_equal(fake->dones, 2);
    assert_int_equal(fake->aborted, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gives_up_by_a_reset),
        TEST(knows_when_it_waits_for_the_client_alone),
        TEST(is_kept_under_pressure_while_others_are_to_blame),
        TEST(is_done_with_each_answer_that_has_left),
        TEST(lets_no_more_answers_wait_than_streams),
        TEST(what_has_not_left_at_the_end_was_aborted),
        cmocka_unit_test(never_ends_a_broken_answer_cleanly),
        cmocka_unit_test(listens_for_a_while_to_whom_it_ends_with),
        TEST(tells_the_handler_that_the_client_left),
        TEST(answers_who_says_no_more),
        TEST(asks_who_says_no_more_whether_it_listens),
        TEST(does_not_ask_who_would_not_understand),
        TEST(tells_that_who_said_no_more_has_left),
        TEST(takes_the_end_for_leaving_where_the_handler_says_so),
        cmocka_unit_test(takes_no_part_of_a_request_for_a_whole_one),
        cmocka_unit_test(tells_nobody_of_half_a_request_who_cannot_hear_it),
        cmocka_unit_test(times_out_heads_bodies_and_silence),
        cmocka_unit_test(drains),
        cmocka_unit_test(waits_for_one_more_request_while_it_drains),
        cmocka_unit_test(closes_after_its_share_of_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
