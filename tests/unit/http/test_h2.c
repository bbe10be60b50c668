/*
 * test_h2.c: the HTTP/2 codec against nghttp2's own client, both in memory.
 */
#include "fake_transport.h"

#include "base/clock.h"

#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define ANSWERS_MAX 64

struct answer {
    int status;
    size_t body_bytes;
    char body[64];
    bool has_lasting; /* "x-lasting: from the arena" */
    bool is_plain;    /* "content-type: text/plain" */
    bool has_hint;    /* "link: </a>" */
    bool has_sum;     /* "x-sum: abc" */
    size_t wide;      /* bytes of x-wide, each a w */
    bool is_ended;
    bool is_closed;
    uint32_t error_code;
};

struct client {
    struct fake fake;
    nghttp2_session *session;
    struct answer answers[ANSWERS_MAX]; /* by stream id / 2 */
    size_t upload_left;                 /* of the one body being sent */
    bool is_upload_open;                /* more may follow */
    unsigned goaways;
    int32_t last_goaway_id;
};

static struct answer *answer_of(struct client *client, int32_t id)
{
    assert_true(id / 2 < ANSWERS_MAX);
    return &client->answers[id / 2];
}

static bool is_text(const uint8_t *data, size_t len, const char *text)
{
    return len == strlen(text) && memcmp(data, text, len) == 0;
}

static size_t count_letters(const uint8_t *data, size_t len, uint8_t letter)
{
    size_t count = 0;
    for (size_t i = 0; i < len; i++)
        count += data[i] == letter;
    return count;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user_data)
{
    (void)session;
    (void)flags;
    struct answer *answer = answer_of(user_data, frame->hd.stream_id);
    if (is_text(name, name_len, ":status"))
        answer->status = (int)strtol((const char *)value, NULL, 10);
    else if (is_text(name, name_len, "x-lasting"))
        answer->has_lasting = is_text(value, value_len, "from the arena");
    else if (is_text(name, name_len, "content-type"))
        answer->is_plain = is_text(value, value_len, "text/plain");
    else if (is_text(name, name_len, "link"))
        answer->has_hint = is_text(value, value_len, "</a>");
    else if (is_text(name, name_len, "x-sum"))
        answer->has_sum = is_text(value, value_len, "abc");
    else if (is_text(name, name_len, "x-wide"))
        answer->wide = count_letters(value, value_len, 'w');
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *user_data)
{
    (void)session;
    (void)flags;
    struct answer *answer = answer_of(user_data, id);
    for (size_t i = 0; i < len && answer->body_bytes + i < sizeof(answer->body) - 1; i++)
        answer->body[answer->body_bytes + i] = (char)data[i];
    answer->body_bytes += len;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    (void)session;
    struct client *client = user_data;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        client->goaways++;
        client->last_goaway_id = frame->goaway.last_stream_id;
    }
    bool is_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (is_end && (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS))
        answer_of(client, frame->hd.stream_id)->is_ended = true;
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *user_data)
{
    (void)session;
    struct answer *answer = answer_of(user_data, id);
    answer->is_closed = true;
    answer->error_code = error_code;
    return 0;
}

static int set_up_with(void **state, const struct fg_limits_conf *limits, uint32_t window)
{
    struct client *client = calloc(1, sizeof(*client));
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    assert_non_null(client);
    fake_open(&client->fake, true, limits);
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    assert_int_equal(nghttp2_option_new(&option), 0);
    nghttp2_option_set_no_http_messaging(option, 1); /* to be able to say what is wrong */
    assert_int_equal(nghttp2_session_client_new2(&client->session, callbacks, client, option), 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window}};
    nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, settings, 1);
    *state = client;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, NULL, 65535);
}

static int tear_down(void **state)
{
    struct client *client = *state;
    fake_close(&client->fake);
    nghttp2_session_del(client->session);
    free(client);
    return 0;
}

/* Bytes go both ways until neither side has any left. */
static void exchange(struct client *client)
{
    bool has_moved = true;
    while (has_moved) {
        const uint8_t *data;
        ssize_t len;
        has_moved = false;
        while ((len = nghttp2_session_mem_send(client->session, &data)) > 0) {
            fake_feed(&client->fake, data, (size_t)len);
            has_moved = true;
        }
        fake_turn(&client->fake);
        if (client->fake.out_len > 0) {
            len = nghttp2_session_mem_recv(client->session, (uint8_t *)client->fake.out,
                                           client->fake.out_len);
            assert_true(len >= 0);
            fake_forget_output(&client->fake);
            has_moved = true;
        }
    }
}

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static ssize_t read_upload(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
                           uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
    (void)session;
    (void)id;
    (void)source;
    struct client *client = user_data;
    size_t len = client->upload_left < length ? client->upload_left : length;
    memset(buf, 'u', len);
    client->upload_left -= len;
    if (client->upload_left == 0) {
        if (client->is_upload_open && len == 0)
            return NGHTTP2_ERR_DEFERRED;
        if (!client->is_upload_open)
            *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)len;
}

static int32_t submit(struct client *client, const nghttp2_nv *fields, size_t count, bool has_body)
{
    nghttp2_data_provider provider = {.read_callback = read_upload};
    int32_t id = nghttp2_submit_request(client->session, NULL, fields, count,
                                        has_body ? &provider : NULL, NULL);
    assert_true(id > 0);
    return id;
}

static int32_t get(struct client *client, const char *path)
{
    const nghttp2_nv fields[] = {nv(":method", "GET"), nv(":scheme", "https"),
                                 nv(":authority", "h"), nv(":path", path)};
    return submit(client, fields, 4, false);
}

static int32_t post(struct client *client, const char *path, size_t bytes)
{
    const nghttp2_nv fields[] = {nv(":method", "POST"), nv(":scheme", "https"),
                                 nv(":authority", "h"), nv(":path", path)};
    client->upload_left = bytes;
    return submit(client, fields, 4, true);
}

static void answers_many_streams(void **state)
{
    struct client *client = *state;
    int32_t ids[10];
    for (unsigned i = 0; i < 10; i++)
        ids[i] = get(client, i % 2 == 0 ? "/" : "/chunks");
    exchange(client);
    for (unsigned i = 0; i < 10; i++) {
        struct answer *answer = answer_of(client, ids[i]);
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
        nv(":method", "GET"),       nv(":scheme", "https"), nv(":authority", "Example.org:443"),
        nv(":path", "/a/../b?c"),   nv("cookie", "a=1"),    nv("accept", "x"),
        nv("cookie", "b=2"),        nv("te", "trailers"),   nv("host", "other.example"),
        nv("x-request-id", "id-1"),
    };
    submit(client, fields, sizeof(fields) / sizeof(fields[0]), false);
    exchange(client);
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
         {nv(":method", "GET"), nv(":scheme", "https"), nv(":authority", "h"), nv(":path", "/../x"),
          nv("a", "b"), nv("c", "d")}},
        {400,
         {nv(":method", "GET"), nv(":scheme", "https"), nv(":authority", "h"), nv(":path", "/"),
          nv("host", "u@other"), nv("c", "d")}},
        {400,
         {nv(":method", "GET"), nv(":scheme", "https"), nv(":authority", "u@h"), nv(":path", "/"),
          nv("a", "b"), nv("c", "d")}},
        {0,
         {nv(":method", "GET"), nv(":scheme", "https"), nv(":authority", "h"),
          nv(":path", "http://h/"), nv("a", "b"), nv("c", "d")}},
        {0,
         {nv(":method", "GET"), nv(":scheme", "https"), nv(":authority", "h"), nv(":path", "x"),
          nv("a", "b"), nv("c", "d")}},
        {0,
         {nv(":method", "GET"), nv(":scheme", "https"), nv(":authority", "h"), nv(":path", "/"),
          nv("connection", "close"), nv("c", "d")}},
        {0,
         {nv(":method", "GET"), nv(":scheme", "https"), nv(":authority", "h"), nv(":path", "/"),
          nv("te", "gzip"), nv("c", "d")}},
        {0,
         {nv(":method", "GET"), nv(":scheme", "https"), nv(":authority", "h"), nv(":path", "/"),
          nv("transfer-encoding", "chunked"), nv("c", "d")}},
        {0,
         {nv(":method", "GET"), nv(":scheme", "https"), nv(":authority", "h"), nv(":path", "/"),
          nv("a b", "x"), nv("c", "d")}},
        {0,
         {nv(":method", "GET"), nv(":scheme", "https"), nv(":authority", "h"), nv(":path", "/"),
          nv(":late", "x"), nv("c", "d")}},
        {0,
         {nv(":method", "GET"), nv(":method", "GET"), nv(":scheme", "https"), nv(":authority", "h"),
          nv(":path", "/"), nv("c", "d")}},
        {0,
         {nv("a", "b"), nv(":method", "GET"), nv(":scheme", "https"), nv(":authority", "h"),
          nv(":path", "/"), nv("c", "d")}},
        {0,
         {nv(":method", "GET"), nv(":scheme", "https"), nv("a", "b"), nv("c", "d"), nv("e", "f"),
          nv("g", "h")}},
        {0,
         {nv(":method", "GET"), nv(":scheme", "https"), nv(":authority", "h"), nv(":path", "/"),
          nv("content-length", "1"), nv("content-length", "2")}},
        {0,
         {nv(":method", "GET"), nv(":scheme", "https"), nv(":authority", "h"), nv(":path", "/"),
          nv("content-length", "5"), nv("c", "d")}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        print_message("case %zu\n", i);
        int32_t id = submit(client, cases[i].fields, 6, false);
        exchange(client);
        struct answer *answer = answer_of(client, id);
        assert_true(answer->is_closed);
        assert_int_equal(answer->status, cases[i].status);
        if (cases[i].status == 0)
            assert_int_not_equal(answer->error_code, NGHTTP2_NO_ERROR);
    }
    assert_int_equal(client->fake.requests, 0);
    assert_int_equal(client->fake.codec_answers, 3);
    assert_string_equal(client->fake.codec_code, "bad_host");
    int32_t id = get(client, "/"); /* the connection is as good as before */
    exchange(client);
    assert_int_equal(answer_of(client, id)->status, 200);
}

static void limits_the_size_of_a_head(void **state)
{
    struct client *client = *state;
    char large[2000];
    memset(large, 'a', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    const nghttp2_nv fields[] = {
        nv(":method", "GET"), nv(":scheme", "https"), nv(":authority", "h"), nv(":path", "/"),
        nv("a", large),       nv("b", large),         nv("c", large)};
    int32_t id = submit(client, fields, 7, false);
    exchange(client);
    assert_int_equal(answer_of(client, id)->status, 431);
    large[0] = '/';
    const nghttp2_nv long_path[] = {nv(":method", "GET"), nv(":scheme", "https"),
                                    nv(":authority", "h"), nv(":path", large)};
    id = submit(client, long_path, 4, false);
    exchange(client);
    assert_int_equal(answer_of(client, id)->status, 414);
}

static void echoes_a_large_body(void **state)
{
    struct client *client = *state;
    int32_t id = post(client, "/echo", 900000);
    exchange(client);
    struct answer *answer = answer_of(client, id);
    assert_int_equal(answer->body_bytes, 900000);
    assert_true(answer->is_ended && answer->is_closed);
    assert_int_equal(client->fake.dones, 1);
    assert_true(client->fake.held_max <= 65536);
}

static void stops_the_client_at_the_window(void **state)
{
    struct client *client = *state;
    int32_t id = post(client, "/hold", 200000);
    exchange(client);
    assert_int_equal(client->fake.body_bytes, 65536);
    assert_int_equal(client->fake.codec->unanswered, 1);
    fake_consume(&client->fake, 65536);
    exchange(client);
    assert_int_equal(client->fake.body_bytes, 2 * 65536);
    /* Answered early: the rest is not wanted, and the stream ends without an error. */
    fake_answer(&client->fake);
    assert_int_equal(client->fake.codec->unanswered, 0); /* though nothing of it is out yet */
    exchange(client);
    assert_true(answer_of(client, id)->is_ended && answer_of(client, id)->is_closed);
    assert_int_equal(answer_of(client, id)->error_code, NGHTTP2_NO_ERROR);
    assert_int_equal(client->fake.dones, 1);
    /* What was never consumed does not shrink the connection's window for ever. */
    for (unsigned i = 0; i < 8; i++) {
        id = post(client, "/read", 65536);
        exchange(client);
        assert_string_equal(answer_of(client, id)->body, "65536");
    }
}

static void waits_for_the_clients_window(void **state)
{
    struct client *client;
    set_up_with(state, NULL, 1000);
    client = *state;
    int32_t id = get(client, "/bytes");
    exchange(client);
    assert_int_equal(answer_of(client, id)->body_bytes, 300000);
    assert_int_equal(client->fake.dones, 1);
    assert_true(client->fake.writables > 3);
    tear_down(state);
}

static void gives_up_on_a_window_that_stays_shut(void **state)
{
    struct client *client;
    set_up_with(state, NULL, 0);
    client = *state;
    int32_t id = get(client, "/bytes");
    exchange(client);
    assert_int_equal(answer_of(client, id)->status, 200);
    assert_int_equal(answer_of(client, id)->body_bytes, 0);
    assert_true(client->fake.env.segments.in_use < 5);
    fg_timeouts_run(&client->fake.env.timeouts, UINT64_MAX);
    exchange(client);
    assert_int_equal(answer_of(client, id)->error_code, NGHTTP2_CANCEL);
    assert_int_equal(client->fake.gone_reason, FG_GONE_TIMEOUT);
    assert_int_equal(client->fake.dones, 1);
    tear_down(state);
}

static void gives_up_on_one_stream_alone(void **state)
{
    struct client *client;
    set_up_with(state, NULL, 0);
    client = *state;
    struct fake *fake = &client->fake;
    int32_t other = get(client, "/bytes");
    int32_t id = get(client, "/bytes");
    exchange(client);
    struct fg_request *req = fake->last;
    uint64_t since_ns = fg_response_stalled_since(req);
    assert_true(since_ns != 0 && since_ns <= fg_loop_now_ns(fake->loop));
    fg_response_give_up(req);
    exchange(client);
    assert_int_equal(answer_of(client, id)->error_code, NGHTTP2_CANCEL);
    assert_false(answer_of(client, other)->is_closed);
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
    set_up_with(state, NULL, 0);
    client = *state;
    exchange(client);
    assert_int_not_equal(waits_since(client, &is_idle), 0);
    assert_true(is_idle);
    int32_t stalled = get(client, "/bytes"); /* its window is shut */
    exchange(client);
    assert_int_not_equal(waits_since(client, &is_idle), 0);
    assert_false(is_idle);
    get(client, "/wait"); /* somebody works for it */
    exchange(client);
    assert_int_equal(waits_since(client, &is_idle), 0);
    fake_answer(&client->fake);
    exchange(client);
    assert_int_not_equal(waits_since(client, &is_idle), 0);
    assert_int_equal(
        nghttp2_submit_window_update(client->session, NGHTTP2_FLAG_NONE, stalled, 1 << 20), 0);
    fake_feed(&client->fake, "", 0);
    exchange(client);
    tear_down(state);
}

static void refuses_a_body_that_is_too_large(void **state)
{
    struct client *client = *state;
    int32_t id = post(client, "/small", 11);
    exchange(client);
    assert_int_equal(answer_of(client, id)->status, 413);
    assert_true(answer_of(client, id)->is_closed);
    assert_int_equal(client->fake.gone_reason, FG_GONE_TOO_LARGE);
    id = post(client, "/read", 1100000);
    exchange(client);
    assert_int_equal(answer_of(client, id)->status, 413);
    assert_int_equal(client->fake.dones, 2);
    id = post(client, "/echo", 1100000); /* the head is out: only a reset is honest */
    exchange(client);
    assert_int_equal(answer_of(client, id)->error_code, NGHTTP2_INTERNAL_ERROR);
    assert_int_equal(client->fake.dones, 3);
}

static void tells_the_handler_of_resets(void **state)
{
    struct client *client = *state;
    int32_t id = get(client, "/wait");
    exchange(client);
    assert_int_equal(client->fake.requests, 1);
    nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    exchange(client);
    assert_int_equal(client->fake.gones, 1);
    assert_int_equal(client->fake.gone_reason, FG_GONE_STREAM_RESET);
    assert_int_equal(client->fake.dones, 1);
}

static void sends_lasting_fields_without_a_copy(void **state)
{
    struct client *client = *state;
    for (unsigned i = 0; i < 3; i++) {
        int32_t id = get(client, "/lasting");
        exchange(client);
        assert_int_equal(answer_of(client, id)->status, 200);
        assert_true(answer_of(client, id)->has_lasting);
    }
    assert_int_equal(client->fake.dones, 3);
}

/* The head waits in the session when the stream and its arena go. */
static void forgets_lasting_fields_with_their_stream(void **state)
{
    struct client *client = *state;
    exchange(client);
    client->fake.is_stuck = true;
    int32_t id = get(client, "/lasting");
    exchange(client);
    assert_int_equal(client->fake.requests, 1);
    nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    exchange(client);
    assert_true(answer_of(client, id)->is_closed);
    client->fake.is_stuck = false;
    int32_t next = get(client, "/lasting");
    exchange(client);
    assert_false(answer_of(client, id)->has_lasting);
    assert_true(answer_of(client, next)->has_lasting);
    assert_int_equal(client->fake.dones, 2);
}

/* What is too large for a frame of ours is the session's, all others are ours. */
static void says_every_kind_of_head(void **state)
{
    static const char *const paths[] = {"/", "/behind", "/wide", "/wider", "/lasting"};
    struct client *client = *state;
    int32_t ids[30];
    for (unsigned i = 0; i < 30; i++) {
        ids[i] = get(client, paths[i % 5]);
        if (i % 7 == 0)
            exchange(client);
    }
    exchange(client);
    for (unsigned i = 0; i < 30; i++) {
        const struct answer *answer = answer_of(client, ids[i]);
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
        int32_t behind = get(client, "/behind");
        int32_t wide = get(client, "/wide");
        exchange(client);
        int32_t again = get(client, "/");
        exchange(client);
        assert_true(answer_of(client, behind)->has_hint && answer_of(client, behind)->has_sum);
        assert_int_equal(answer_of(client, wide)->wide, 1500);
        assert_true(answer_of(client, again)->is_plain && answer_of(client, again)->is_ended);
    }
}

static void never_ends_a_broken_answer_cleanly(void **state)
{
    struct client *client = *state;
    static const char *const paths[] = {"/short", "/abort-late", "/abort"};
    for (size_t i = 0; i < 3; i++) {
        int32_t id = get(client, paths[i]);
        exchange(client);
        assert_false(answer_of(client, id)->is_ended);
        assert_int_equal(answer_of(client, id)->error_code, NGHTTP2_INTERNAL_ERROR);
    }
    assert_int_equal(client->fake.dones, 3);
    assert_int_equal(client->fake.gones, 0);
}

static void answers_what_there_is_no_memory_for(void **state)
{
    struct client *client = *state;
    int32_t id = post(client, "/no-memory", 10);
    exchange(client);
    assert_int_equal(answer_of(client, id)->status, 503);
    assert_non_null(strstr(answer_of(client, id)->body, "\"type\":\"overloaded\""));
    assert_true(answer_of(client, id)->is_ended && answer_of(client, id)->is_closed);
    assert_int_equal(client->fake.dones, 1);
    assert_int_equal(client->fake.gones, 0);
}

static void swallows_the_body_of_head(void **state)
{
    struct client *client = *state;
    const nghttp2_nv fields[] = {nv(":method", "HEAD"), nv(":scheme", "https"),
                                 nv(":authority", "h"), nv(":path", "/")};
    int32_t id = submit(client, fields, 4, false);
    exchange(client);
    assert_int_equal(answer_of(client, id)->status, 200);
    assert_true(answer_of(client, id)->is_ended);
    assert_int_equal(answer_of(client, id)->body_bytes, 0);
    id = get(client, "/none");
    exchange(client);
    assert_int_equal(answer_of(client, id)->status, 204);
    assert_int_equal(client->fake.dones, 2);
}

static void refuses_more_streams_than_allowed(void **state)
{
    struct client *client = *state;
    get(client, "/");
    exchange(client);
    for (unsigned i = 0; i < 16; i++)
        get(client, "/wait");
    exchange(client);
    assert_int_equal(client->fake.requests, 17);
    int32_t id = get(client, "/"); /* the client knows the limit and keeps it back */
    exchange(client);
    assert_int_equal(answer_of(client, id)->status, 0);
    fake_answer(&client->fake);
    exchange(client);
    assert_int_equal(answer_of(client, id)->status, 200);
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
    exchange(client);
    assert_int_equal(streams_told(client), usual);
    client->fake.env.pressure = &pressure;
    codec->ops->adjust(codec); /* nothing has changed: nothing is said */
    fake_turn(&client->fake);
    assert_int_equal(client->fake.out_len, 0);

    int32_t waiting[3] = {get(client, "/wait"), get(client, "/wait"), get(client, "/wait")};
    exchange(client);
    fg_counter_set(&pressure.steps, UINT64_C(1) << FG_OVERLOAD_FEWER_STREAMS);
    codec->ops->adjust(codec);
    codec->ops->adjust(codec); /* once until it is acknowledged */
    exchange(client);
    assert_int_equal(streams_told(client), 2);
    assert_int_equal(fg_counter_get(&pressure.acted[FG_OVERLOAD_FEWER_STREAMS]), 1);
    for (size_t i = 0; i < 3; i++) /* what is open goes on */
        assert_false(answer_of(client, waiting[i])->is_closed);
    fg_counter_set(&pressure.steps, 0);
    codec->ops->adjust(codec);
    exchange(client);
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
    exchange(client);
    assert_int_equal(streams_told(client), 2);
    assert_int_equal(fg_counter_get(&pressure.acted[FG_OVERLOAD_FEWER_STREAMS]), 1);
}

static void times_a_body_out(void **state)
{
    struct fg_limits_conf limits = fake_limits();
    limits.write_timeout_ns = 100 * FG_S; /* the answer's own */
    set_up_with(state, &limits, 65535);
    struct client *client = *state;
    client->is_upload_open = true;
    int32_t id = post(client, "/read", 10);
    exchange(client);
    fg_timeouts_run(&client->fake.env.timeouts, fg_clock_monotonic_ns() + 2 * FG_S);
    exchange(client);
    assert_int_equal(answer_of(client, id)->status, 408);
    assert_int_equal(client->fake.gone_reason, FG_GONE_TIMEOUT);
    assert_int_equal(client->fake.dones, 1);
    tear_down(state);
}

/* Answered before its small body is there: what is on its way still finds the stream. */
static void waits_for_the_rest_of_a_small_body(void **state)
{
    struct client *client = *state;
    client->is_upload_open = true;
    int32_t ids[] = {post(client, "/", 10), 0, 0};
    exchange(client);
    assert_true(answer_of(client, ids[0])->is_ended && !answer_of(client, ids[0])->is_closed);
    assert_int_equal(client->fake.dones, 0);
    client->is_upload_open = false; /* it ends in time, and there is no reset */
    nghttp2_session_resume_data(client->session, ids[0]);
    exchange(client);
    assert_true(answer_of(client, ids[0])->is_closed);
    assert_int_equal(client->fake.dones, 1);
    client->is_upload_open = true; /* it does not */
    ids[1] = post(client, "/", 10);
    exchange(client);
    assert_false(answer_of(client, ids[1])->is_closed);
    fg_timeouts_run(&client->fake.env.timeouts, fg_clock_monotonic_ns() + 2 * FG_S);
    exchange(client);
    assert_true(answer_of(client, ids[1])->is_closed);
    assert_int_equal(answer_of(client, ids[1])->error_code, NGHTTP2_NO_ERROR);
    assert_int_equal(client->fake.dones, 2);
    ids[2] = post(client, "/", 10); /* it goes on: stopped at once */
    exchange(client);
    assert_false(answer_of(client, ids[2])->is_closed);
    client->upload_left = 2000;
    nghttp2_session_resume_data(client->session, ids[2]);
    exchange(client);
    assert_true(answer_of(client, ids[2])->is_closed);
    assert_int_equal(client->fake.dones, 3);
}

static void drains_in_two_steps(void **state)
{
    struct client *client = *state;
    int32_t id = get(client, "/wait");
    exchange(client);
    client->fake.codec->ops->drain(client->fake.codec);
    exchange(client);
    assert_int_equal(client->goaways, 2); /* the notice, and after the ping's echo the last word */
    assert_int_equal(client->last_goaway_id, id);
    assert_false(client->fake.is_closing);
    fake_answer(&client->fake);
    exchange(client);
    assert_string_equal(answer_of(client, id)->body, "done");
    assert_true(client->fake.is_closing);
    assert_int_equal(client->fake.dones, 1);
}

static void says_goodbye_when_idle(void **state)
{
    struct client *client = *state;
    get(client, "/");
    exchange(client);
    client->fake.codec->ops->on_timeout(client->fake.codec, FG_TIMEOUT_IDLE);
    exchange(client);
    assert_int_equal(client->goaways, 1);
    assert_true(client->fake.is_closing);
}

static void times_an_endless_head_out(void **state)
{
    struct client *client = *state;
    exchange(client);
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
