/*
 * test_h2.c: the HTTP/2 codec against nghttp2's own client, both in memory.
 */
#include "fake_client.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static int set_up(void **state)
{
    *state = client_open(NULL, 65535);
    return 0;
}

static int tear_down(void **state)
{
    client_close(*state);
    return 0;
}

static void answers_many_streams(void **state)
{
    struct client *client = *state;
    int32_t ids[10];
    for (unsigned i = 0; i < 10; i++)
        ids[i] = client_get(client, i % 2 == 0 ? "/" : "/chunks");
    client_exchange(client);
    for (unsigned i = 0; i < 10; i++) {
        struct answer *answer = client_answer(client, ids[i]);
        assert_int_equal(answer->status, 200);
        assert_string_equal(answer->body, i % 2 == 0 ? "hello" : "hello world");
        assert_true(answer->is_ended && answer->is_closed);
    }
    assert_int_equal(client->fake.dones, 10);
    assert_int_equal(fg_counter_get(&client->fake.stats.requests_h2), 10);
    assert_int_equal(client->fake.armed, FG_TIMEOUT_IDLE);
}

static void gives_the_handler_a_clean_head(void **state)
{
    struct client *client = *state;
    const nghttp2_nv fields[] = {
        client_nv(":method", "GET"),
        client_nv(":scheme", "https"),
        client_nv(":authority", "Example.org:443"),
        client_nv(":path", "/a/../b?c"),
        client_nv("cookie", "a=1"),
        client_nv("accept", "x"),
        client_nv("cookie", "b=2"),
        client_nv("te", "trailers"),
        client_nv("host", "other.example"),
        client_nv("x-request-id", "id-1"),
    };
    client_submit(client, fields, sizeof(fields) / sizeof(fields[0]), false);
    client_exchange(client);
    assert_string_equal(client->fake.heard, "GET example.org:443 /b ?c\ncookie: a=1; b=2\n"
                                            "accept: x\n");
}

static void refuses_bad_heads_by_stream(void **state)
{
    struct client *client = *state;
    const struct {
        int status; /* 0: the stream is reset */
        nghttp2_nv fields[6];
    } cases[] = {
        {400,
         {client_nv(":method", "GET"), client_nv(":scheme", "https"), client_nv(":authority", "h"),
          client_nv(":path", "/../x"), client_nv("a", "b"), client_nv("c", "d")}},
        {400,
         {client_nv(":method", "GET"), client_nv(":scheme", "https"), client_nv(":authority", "h"),
          client_nv(":path", "/"), client_nv("host", "u@other"), client_nv("c", "d")}},
        {400,
         {client_nv(":method", "GET"), client_nv(":scheme", "https"),
          client_nv(":authority", "u@h"), client_nv(":path", "/"), client_nv("a", "b"),
          client_nv("c", "d")}},
        {0,
         {client_nv(":method", "GET"), client_nv(":scheme", "https"), client_nv(":authority", "h"),
          client_nv(":path", "http://h/"), client_nv("a", "b"), client_nv("c", "d")}},
        {0,
         {client_nv(":method", "GET"), client_nv(":scheme", "https"), client_nv(":authority", "h"),
          client_nv(":path", "x"), client_nv("a", "b"), client_nv("c", "d")}},
        {0,
         {client_nv(":method", "GET"), client_nv(":scheme", "https"), client_nv(":authority", "h"),
          client_nv(":path", "/"), client_nv("connection", "close"), client_nv("c", "d")}},
        {0,
         {client_nv(":method", "GET"), client_nv(":scheme", "https"), client_nv(":authority", "h"),
          client_nv(":path", "/"), client_nv("te", "gzip"), client_nv("c", "d")}},
        {0,
         {client_nv(":method", "GET"), client_nv(":scheme", "https"), client_nv(":authority", "h"),
          client_nv(":path", "/"), client_nv("transfer-encoding", "chunked"), client_nv("c", "d")}},
        {0,
         {client_nv(":method", "GET"), client_nv(":scheme", "https"), client_nv(":authority", "h"),
          client_nv(":path", "/"), client_nv("a b", "x"), client_nv("c", "d")}},
        {0,
         {client_nv(":method", "GET"), client_nv(":scheme", "https"), client_nv(":authority", "h"),
          client_nv(":path", "/"), client_nv(":late", "x"), client_nv("c", "d")}},
        {0,
         {client_nv(":method", "GET"), client_nv(":method", "GET"), client_nv(":scheme", "https"),
          client_nv(":authority", "h"), client_nv(":path", "/"), client_nv("c", "d")}},
        {0,
         {client_nv("a", "b"), client_nv(":method", "GET"), client_nv(":scheme", "https"),
          client_nv(":authority", "h"), client_nv(":path", "/"), client_nv("c", "d")}},
        {0,
         {client_nv(":method", "GET"), client_nv(":scheme", "https"), client_nv("a", "b"),
          client_nv("c", "d"), client_nv("e", "f"), client_nv("g", "h")}},
        {0,
         {client_nv(":method", "GET"), client_nv(":scheme", "https"), client_nv(":authority", "h"),
          client_nv(":path", "/"), client_nv("content-length", "1"),
          client_nv("content-length", "2")}},
        {0,
         {client_nv(":method", "GET"), client_nv(":scheme", "https"), client_nv(":authority", "h"),
          client_nv(":path", "/"), client_nv("content-length", "5"), client_nv("c", "d")}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        print_message("case %zu\n", i);
        int32_t id = client_submit(client, cases[i].fields, 6, false);
        client_exchange(client);
        struct answer *answer = client_answer(client, id);
        assert_true(answer->is_closed);
        assert_int_equal(answer->status, cases[i].status);
        if (cases[i].status == 0)
            assert_int_not_equal(answer->error_code, NGHTTP2_NO_ERROR);
    }
    assert_int_equal(client->fake.requests, 0);
    assert_int_equal(client->fake.codec_answers, 3);
    assert_string_equal(client->fake.codec_code, "bad_host");
    int32_t id = client_get(client, "/"); /* the connection is as good as before */
    client_exchange(client);
    assert_int_equal(client_answer(client, id)->status, 200);
}

static void limits_the_size_of_a_head(void **state)
{
    struct client *client = *state;
    char large[2000];
    memset(large, 'a', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    const nghttp2_nv fields[] = {client_nv(":method", "GET"),  client_nv(":scheme", "https"),
                                 client_nv(":authority", "h"), client_nv(":path", "/"),
                                 client_nv("a", large),        client_nv("b", large),
                                 client_nv("c", large)};
    int32_t id = client_submit(client, fields, 7, false);
    client_exchange(client);
    assert_int_equal(client_answer(client, id)->status, 431);
    large[0] = '/';
    const nghttp2_nv long_path[] = {client_nv(":method", "GET"), client_nv(":scheme", "https"),
                                    client_nv(":authority", "h"), client_nv(":path", large)};
    id = client_submit(client, long_path, 4, false);
    client_exchange(client);
    assert_int_equal(client_answer(client, id)->status, 414);
}

static void echoes_a_large_body(void **state)
{
    struct client *client = *state;
    int32_t id = client_post(client, "/echo", 900000);
    client_exchange(client);
    struct answer *answer = client_answer(client, id);
    assert_int_equal(answer->body_bytes, 900000);
    assert_true(answer->is_ended && answer->is_closed);
    assert_int_equal(client->fake.dones, 1);
    assert_true(client->fake.held_max <= 65536);
}

static void stops_the_client_at_the_window(void **state)
{
    struct client *client = *state;
    int32_t id = client_post(client, "/hold", 200000);
    client_exchange(client);
    assert_int_equal(client->fake.body_bytes, 65536);
    assert_int_equal(client->fake.codec->unanswered, 1);
    fake_consume(&client->fake, 65536);
    client_exchange(client);
    assert_int_equal(client->fake.body_bytes, 2 * 65536);
    /* Answered early: the rest is not wanted, and the stream ends without an error. */
    fake_answer(&client->fake);
    assert_int_equal(client->fake.codec->unanswered, 0); /* though nothing of it is out yet */
    client_exchange(client);
    assert_true(client_answer(client, id)->is_ended && client_answer(client, id)->is_closed);
    assert_int_equal(client_answer(client, id)->error_code, NGHTTP2_NO_ERROR);
    assert_int_equal(client->fake.dones, 1);
    /* What was never consumed does not shrink the connection's window for ever. */
    for (unsigned i = 0; i < 8; i++) {
        id = client_post(client, "/read", 65536);
        client_exchange(client);
        assert_string_equal(client_answer(client, id)->body, "65536");
    }
}

static void waits_for_the_clients_window(void **state)
{
    struct client *client;
    *state = client_open(NULL, 1000);
    client = *state;
    int32_t id = client_get(client, "/bytes");
    client_exchange(client);
    assert_int_equal(client_answer(client, id)->body_bytes, 300000);
    assert_int_equal(client->fake.dones, 1);
    assert_true(client->fake.writables > 3);
    tear_down(state);
}

static void gives_up_on_a_window_that_stays_shut(void **state)
{
    struct client *client;
    *state = client_open(NULL, 0);
    client = *state;
    int32_t id = client_get(client, "/bytes");
    client_exchange(client);
    assert_int_equal(client_answer(client, id)->status, 200);
    assert_int_equal(client_answer(client, id)->body_bytes, 0);
    assert_true(client->fake.env.segments.in_use < 5);
    fg_timeouts_run(&client->fake.env.timeouts, UINT64_MAX);
    client_exchange(client);
    assert_int_equal(client_answer(client, id)->error_code, NGHTTP2_CANCEL);
    assert_int_equal(client->fake.gone_reason, FG_GONE_TIMEOUT);
    assert_int_equal(client->fake.dones, 1);
    tear_down(state);
}

static void gives_up_on_one_stream_alone(void **state)
{
    struct client *client;
    *state = client_open(NULL, 0);
    client = *state;
    struct fake *fake = &client->fake;
    int32_t other = client_get(client, "/bytes");
    int32_t id = client_get(client, "/bytes");
    client_exchange(client);
    struct fg_request *req = fake->last;
    uint64_t since_ns = fg_response_stalled_since(req);
    assert_true(since_ns != 0 && since_ns <= fg_loop_now_ns(fake->loop));
    fg_response_give_up(req);
    client_exchange(client);
    assert_int_equal(client_answer(client, id)->error_code, NGHTTP2_CANCEL);
    assert_false(client_answer(client, other)->is_closed);
    assert_int_equal(fake->dones, 1);
    tear_down(state);
}

/* What overload asks before it closes a connection of somebody who holds too many. */
static uint64_t waits_since(struct client *client, bool *is_idle)
{
    struct fg_codec *codec = client->fake.codec;
    *is_idle = false;
    return codec->ops->waits_since(codec, is_idle);
}

static void knows_when_it_waits_for_the_client_alone(void **state)
{
    struct client *client;
    bool is_idle;
    *state = client_open(NULL, 0);
    client = *state;
    client_exchange(client);
    assert_int_not_equal(waits_since(client, &is_idle), 0);
    assert_true(is_idle);
    int32_t stalled = client_get(client, "/bytes"); /* its window is shut */
    client_exchange(client);
    assert_int_not_equal(waits_since(client, &is_idle), 0);
    assert_false(is_idle);
    client_get(client, "/wait"); /* somebody works for it */
    client_exchange(client);
    assert_int_equal(waits_since(client, &is_idle), 0);
    fake_answer(&client->fake);
    client_exchange(client);
    assert_int_not_equal(waits_since(client, &is_idle), 0);
    assert_int_equal(
        nghttp2_submit_window_update(client->session, NGHTTP2_FLAG_NONE, stalled, 1 << 20), 0);
    fake_feed(&client->fake, "", 0);
    client_exchange(client);
    tear_down(state);
}

static void refuses_a_body_that_is_too_large(void **state)
{
    struct client *client = *state;
    int32_t id = client_post(client, "/small", 11);
    client_exchange(client);
    assert_int_equal(client_answer(client, id)->status, 413);
    assert_true(client_answer(client, id)->is_closed);
    assert_int_equal(client->fake.gone_reason, FG_GONE_TOO_LARGE);
    id = client_post(client, "/read", 1100000);
    client_exchange(client);
    assert_int_equal(client_answer(client, id)->status, 413);
    assert_int_equal(client->fake.dones, 2);
    id = client_post(client, "/echo", 1100000); /* the head is out: only a reset is honest */
    client_exchange(client);
    assert_int_equal(client_answer(client, id)->error_code, NGHTTP2_INTERNAL_ERROR);
    assert_int_equal(client->fake.dones, 3);
}

static void tells_the_handler_of_resets(void **state)
{
    struct client *client = *state;
    int32_t id = client_get(client, "/wait");
    client_exchange(client);
    assert_int_equal(client->fake.requests, 1);
    nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    client_exchange(client);
    assert_int_equal(client->fake.gones, 1);
    assert_int_equal(client->fake.gone_reason, FG_GONE_STREAM_RESET);
    assert_int_equal(client->fake.dones, 1);
}

static void sends_lasting_fields_without_a_copy(void **state)
{
    struct client *client = *state;
    for (unsigned i = 0; i < 3; i++) {
        int32_t id = client_get(client, "/lasting");
        client_exchange(client);
        assert_int_equal(client_answer(client, id)->status, 200);
        assert_true(client_answer(client, id)->has_lasting);
    }
    assert_int_equal(client->fake.dones, 3);
}

/* The head waits in the session when the stream and its arena go. */
static void forgets_lasting_fields_with_their_stream(void **state)
{
    struct client *client = *state;
    client_exchange(client);
    client->fake.is_stuck = true;
    int32_t id = client_get(client, "/lasting");
    client_exchange(client);
    assert_int_equal(client->fake.requests, 1);
    nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    client_exchange(client);
    assert_true(client_answer(client, id)->is_closed);
    client->fake.is_stuck = false;
    int32_t next = client_get(client, "/lasting");
    client_exchange(client);
    assert_false(client_answer(client, id)->has_lasting);
    assert_true(client_answer(client, next)->has_lasting);
    assert_int_equal(client->fake.dones, 2);
}

/* What is too large for a frame of ours is the session's, all others are ours. */
static void says_every_kind_of_head(void **state)
{
    static const char *const paths[] = {"/", "/behind", "/wide", "/wider", "/lasting"};
    struct client *client = *state;
    int32_t ids[30];
    for (unsigned i = 0; i < 30; i++) {
        ids[i] = client_get(client, paths[i % 5]);
        if (i % 7 == 0)
            client_exchange(client);
    }
    client_exchange(client);
    for (unsigned i = 0; i < 30; i++) {
        const struct answer *answer = client_answer(client, ids[i]);
        const char *path = paths[i % 5];
        bool is_behind = strcmp(path, "/behind") == 0;
        assert_int_equal(answer->status, 200);
        assert_true(answer->is_ended && answer->is_closed);
        assert_int_equal(answer->is_plain, strcmp(path, "/lasting") != 0);
        assert_int_equal(answer->has_lasting, strcmp(path, "/lasting") == 0);
        assert_true(answer->has_hint == is_behind && answer->has_sum == is_behind);
        assert_int_equal(answer->wide, strcmp(path, "/wide") == 0    ? 1500
                                       : strcmp(path, "/wider") == 0 ? 8192
                                                                     : 0);
    }
}

static void keeps_to_the_clients_table(void **state)
{
    static const uint32_t sizes[] = {0, 100, 65536, 0, 4096, 40};
    struct client *client = *state;
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const nghttp2_settings_entry smaller = {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, sizes[i] / 2};
        const nghttp2_settings_entry entry = {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, sizes[i]};
        nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, &smaller, 1);
        nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, &entry, 1);
        int32_t behind = client_get(client, "/behind");
        int32_t wide = client_get(client, "/wide");
        client_exchange(client);
        int32_t again = client_get(client, "/");
        client_exchange(client);
        assert_true(client_answer(client, behind)->has_hint &&
                    client_answer(client, behind)->has_sum);
        assert_int_equal(client_answer(client, wide)->wide, 1500);
        assert_true(client_answer(client, again)->is_plain &&
                    client_answer(client, again)->is_ended);
    }
}

static void never_ends_a_broken_answer_cleanly(void **state)
{
    struct client *client = *state;
    static const char *const paths[] = {"/short", "/abort-late", "/abort"};
    for (size_t i = 0; i < 3; i++) {
        int32_t id = client_get(client, paths[i]);
        client_exchange(client);
        assert_false(client_answer(client, id)->is_ended);
        assert_int_equal(client_answer(client, id)->error_code, NGHTTP2_INTERNAL_ERROR);
    }
    assert_int_equal(client->fake.dones, 3);
    assert_int_equal(client->fake.gones, 0);
}

static void answers_what_there_is_no_memory_for(void **state)
{
    struct client *client = *state;
    int32_t id = client_post(client, "/no-memory", 10);
    client_exchange(client);
    assert_int_equal(client_answer(client, id)->status, 503);
    assert_non_null(strstr(client_answer(client, id)->body, "\"type\":\"overloaded\""));
    assert_true(client_answer(client, id)->is_ended && client_answer(client, id)->is_closed);
    assert_int_equal(client->fake.dones, 1);
    assert_int_equal(client->fake.gones, 0);
}

static void swallows_the_body_of_head(void **state)
{
    struct client *client = *state;
    const nghttp2_nv fields[] = {client_nv(":method", "HEAD"), client_nv(":scheme", "https"),
                                 client_nv(":authority", "h"), client_nv(":path", "/")};
    int32_t id = client_submit(client, fields, 4, false);
    client_exchange(client);
    assert_int_equal(client_answer(client, id)->status, 200);
    assert_true(client_answer(client, id)->is_ended);
    assert_int_equal(client_answer(client, id)->body_bytes, 0);
    id = client_get(client, "/none");
    client_exchange(client);
    assert_int_equal(client_answer(client, id)->status, 204);
    assert_int_equal(client->fake.dones, 2);
}

static void refuses_more_streams_than_allowed(void **state)
{
    struct client *client = *state;
    client_get(client, "/");
    client_exchange(client);
    for (unsigned i = 0; i < 16; i++)
        client_get(client, "/wait");
    client_exchange(client);
    assert_int_equal(client->fake.requests, 17);
    int32_t id = client_get(client, "/"); /* the client knows the limit and keeps it back */
    client_exchange(client);
    assert_int_equal(client_answer(client, id)->status, 0);
    fake_answer(&client->fake);
    client_exchange(client);
    assert_int_equal(client_answer(client, id)->status, 200);
}

static uint32_t streams_told(struct client *client)
{
    return nghttp2_session_get_remote_settings(client->session,
                                               NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

static void tells_of_fewer_streams_and_of_more_again(void **state)
{
    struct client *client = *state;
    struct fg_codec *codec = client->fake.codec;
    struct fg_pressure pressure = {.streams_max = 2};
    uint32_t usual = client->fake.limits.streams_per_connection_max;
    client_exchange(client);
    assert_int_equal(streams_told(client), usual);
    client->fake.env.pressure = &pressure;
    codec->ops->adjust(codec); /* nothing has changed: nothing is said */
    fake_turn(&client->fake);
    assert_int_equal(client->fake.out_len, 0);

    int32_t waiting[3] = {client_get(client, "/wait"), client_get(client, "/wait"),
                          client_get(client, "/wait")};
    client_exchange(client);
    fg_counter_set(&pressure.steps, UINT64_C(1) << FG_OVERLOAD_FEWER_STREAMS);
    codec->ops->adjust(codec);
    codec->ops->adjust(codec); /* once until it is acknowledged */
    client_exchange(client);
    assert_int_equal(streams_told(client), 2);
    assert_int_equal(fg_counter_get(&pressure.acted[FG_OVERLOAD_FEWER_STREAMS]), 1);
    for (size_t i = 0; i < 3; i++) /* what is open goes on */
        assert_false(client_answer(client, waiting[i])->is_closed);
    fg_counter_set(&pressure.steps, 0);
    codec->ops->adjust(codec);
    client_exchange(client);
    assert_int_equal(streams_told(client), usual);
    assert_int_equal(fg_counter_get(&pressure.acted[FG_OVERLOAD_FEWER_STREAMS]), 1);
    assert_int_equal(client->goaways, 0);
}

/* It hears of a change only once it has acknowledged the last one, and then of what holds by then.
 */
static void does_not_heap_up_settings(void **state)
{
    struct client *client = *state;
    struct fg_codec *codec = client->fake.codec;
    struct fg_pressure pressure = {.streams_max = 2};
    client->fake.env.pressure = &pressure;
    for (unsigned i = 0; i < 1001; i++) { /* the client has said nothing yet */
        fg_counter_set(&pressure.steps, (uint64_t)(i % 2 == 0) << FG_OVERLOAD_FEWER_STREAMS);
        codec->ops->adjust(codec);
    }
    fake_turn(&client->fake);
    assert_true(client->fake.out_len < 200);
    client_exchange(client);
    assert_int_equal(streams_told(client), 2);
    assert_int_equal(fg_counter_get(&pressure.acted[FG_OVERLOAD_FEWER_STREAMS]), 1);
}

static void times_a_body_out(void **state)
{
    struct fg_limits_conf limits = fake_limits();
    limits.write_timeout_ns = 100 * FG_S; /* the answer's own */
    *state = client_open(&limits, 65535);
    struct client *client = *state;
    client->is_upload_open = true;
    int32_t id = client_post(client, "/read", 10);
    client_exchange(client);
    fg_timeouts_run(&client->fake.env.timeouts, fg_clock_monotonic_ns() + 2 * FG_S);
    client_exchange(client);
    assert_int_equal(client_answer(client, id)->status, 408);
    assert_int_equal(client->fake.gone_reason, FG_GONE_TIMEOUT);
    assert_int_equal(client->fake.dones, 1);
    tear_down(state);
}

/* Answered before its small body is there: what is on its way still finds the stream. */
static void waits_for_the_rest_of_a_small_body(void **state)
{
    struct client *client = *state;
    client->is_upload_open = true;
    int32_t ids[] = {client_post(client, "/", 10), 0, 0};
    client_exchange(client);
    assert_true(client_answer(client, ids[0])->is_ended &&
                !client_answer(client, ids[0])->is_closed);
    assert_int_equal(client->fake.dones, 0);
    client->is_upload_open = false; /* it ends in time, and there is no reset */
    nghttp2_session_resume_data(client->session, ids[0]);
    client_exchange(client);
    assert_true(client_answer(client, ids[0])->is_closed);
    assert_int_equal(client->fake.dones, 1);
    client->is_upload_open = true; /* it does not */
    ids[1] = client_post(client, "/", 10);
    client_exchange(client);
    assert_false(client_answer(client, ids[1])->is_closed);
    fg_timeouts_run(&client->fake.env.timeouts, fg_clock_monotonic_ns() + 2 * FG_S);
    client_exchange(client);
    assert_true(client_answer(client, ids[1])->is_closed);
    assert_int_equal(client_answer(client, ids[1])->error_code, NGHTTP2_NO_ERROR);
    assert_int_equal(client->fake.dones, 2);
    ids[2] = client_post(client, "/", 10); /* it goes on: stopped at once */
    client_exchange(client);
    assert_false(client_answer(client, ids[2])->is_closed);
    client->upload_left = 2000;
    nghttp2_session_resume_data(client->session, ids[2]);
    client_exchange(client);
    assert_true(client_answer(client, ids[2])->is_closed);
    assert_int_equal(client->fake.dones, 3);
}

static void drains_in_two_steps(void **state)
{
    struct client *client = *state;
    int32_t id = client_get(client, "/wait");
    client_exchange(client);
    client->fake.codec->ops->drain(client->fake.codec);
    client_exchange(client);
    assert_int_equal(client->goaways, 2); /* the notice, and after the ping's echo the last word */
    assert_int_equal(client->last_goaway_id, id);
    assert_false(client->fake.is_closing);
    fake_answer(&client->fake);
    client_exchange(client);
    assert_string_equal(client_answer(client, id)->body, "done");
    assert_true(client->fake.is_closing);
    assert_int_equal(client->fake.close_mode, FG_CLOSE_LINGER); /* it opens windows as it reads */
    assert_int_equal(client->fake.dones, 1);
}

static void says_goodbye_when_idle(void **state)
{
    struct client *client = *state;
    client_get(client, "/");
    client_exchange(client);
    client->fake.codec->ops->on_timeout(client->fake.codec, FG_TIMEOUT_IDLE);
    client_exchange(client);
    assert_int_equal(client->goaways, 1);
    assert_true(client->fake.is_closing);
}

static void times_an_endless_head_out(void **state)
{
    struct client *client = *state;
    client_exchange(client);
    /* HEADERS, stream 1, no END_HEADERS: a block that never ends. */
    fake_feed(&client->fake, "\0\0\1\1\0\0\0\0\1\x82", 10);
    assert_int_equal(client->fake.armed, FG_TIMEOUT_HEADER);
    client->fake.codec->ops->on_timeout(client->fake.codec, FG_TIMEOUT_HEADER);
    fake_turn(&client->fake);
    assert_true(client->fake.is_closing);
    assert_int_equal(client->fake.requests, 0);
}

static void closes_on_what_is_not_http_2(void **state)
{
    struct client *client = *state;
    fake_feed_text(&client->fake, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(client->fake.is_closing);
    assert_int_equal(fg_counter_get(&client->fake.stats.protocol_errors), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answers_many_streams),
        TEST(gives_the_handler_a_clean_head),
        TEST(refuses_bad_heads_by_stream),
        TEST(limits_the_size_of_a_head),
        TEST(echoes_a_large_body),
        TEST(stops_the_client_at_the_window),
        cmocka_unit_test(waits_for_the_clients_window),
        cmocka_unit_test(gives_up_on_a_window_that_stays_shut),
        cmocka_unit_test(gives_up_on_one_stream_alone),
        cmocka_unit_test(knows_when_it_waits_for_the_client_alone),
        TEST(refuses_a_body_that_is_too_large),
        TEST(tells_the_handler_of_resets),
        TEST(sends_lasting_fields_without_a_copy),
        TEST(forgets_lasting_fields_with_their_stream),
        TEST(says_every_kind_of_head),
        TEST(keeps_to_the_clients_table),
        TEST(never_ends_a_broken_answer_cleanly),
        TEST(answers_what_there_is_no_memory_for),
        TEST(swallows_the_body_of_head),
        TEST(refuses_more_streams_than_allowed),
        TEST(tells_of_fewer_streams_and_of_more_again),
        TEST(does_not_heap_up_settings),
        cmocka_unit_test(times_a_body_out),
        TEST(waits_for_the_rest_of_a_small_body),
        TEST(drains_in_two_steps),
        TEST(says_goodbye_when_idle),
        TEST(times_an_endless_head_out),
        TEST(closes_on_what_is_not_http_2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
