/*
 * test_h2_drain.c: bodies that go on behind their answers, against nghttp2's own client in memory.
 */
#include "fake_transport.h"

#include "base/clock.h"

#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define LATE_MAX ((size_t)500000)
#define WINDOW ((size_t)65536)
#define FRAME_HEAD 9u

/* A client with one upload at a time, of which it notes the answer. */
struct client {
    struct fake fake;
    nghttp2_session *session;
    size_t left; /* of the upload */
    bool is_open_ended;
    char status[4];
    size_t body_bytes;
    bool is_ended;
    bool is_closed;
    uint32_t error_code;
};

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user_data)
{
    (void)session;
    (void)frame;
    (void)flags;
    struct client *client = user_data;
    if (name_len == 7 && memcmp(name, ":status", 7) == 0 && value_len == 3)
        memcpy(client->status, value, 3);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    (void)session;
    struct client *client = user_data;
    if (frame->hd.type == NGHTTP2_DATA)
        client->body_bytes += frame->hd.length;
    if (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS)
        client->is_ended |= (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *user_data)
{
    (void)session;
    (void)id;
    struct client *client = user_data;
    client->is_closed = true;
    client->error_code = error_code;
    return 0;
}

static ssize_t read_upload(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
                           uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
    (void)session;
    (void)id;
    (void)source;
    struct client *client = user_data;
    size_t len = client->left < length ? client->left : length;
    if (len == 0)
        return NGHTTP2_ERR_DEFERRED;
    memset(buf, 'u', len);
    client->left -= len;
    if (client->left == 0 && !client->is_open_ended)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)len;
}

static int set_up(void **state)
{
    struct client *client = calloc(1, sizeof(*client));
    struct fg_limits_conf limits = fake_limits();
    nghttp2_session_callbacks *callbacks;
    assert_non_null(client);
    limits.late_body_max = LATE_MAX;
    limits.late_body_timeout_ns = 5 * FG_S;
    limits.body_timeout_ns = limits.write_timeout_ns = 100 * FG_S;
    fake_open(&client->fake, true, &limits);
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    assert_int_equal(nghttp2_session_client_new(&client->session, callbacks, client), 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, NULL, 0);
    *state = client;
    return 0;
}

static int tear_down(void **state)
{
    struct client *client = *state;
    fake_close(&client->fake);
    nghttp2_session_del(client->session);
    free(client);
    return 0;
}

static bool speak(struct client *client)
{
    const uint8_t *data;
    ssize_t len;
    bool has_spoken = false;
    while ((len = nghttp2_session_mem_send(client->session, &data)) > 0) {
        fake_feed(&client->fake, data, (size_t)len);
        has_spoken = true;
    }
    fake_turn(&client->fake);
    return has_spoken;
}

/* All that it is told but for the last `but` bytes, which are lost. */
static bool hear(struct client *client, size_t but)
{
    size_t len = client->fake.out_len - but;
    ssize_t used = nghttp2_session_mem_recv(client->session, (uint8_t *)client->fake.out, len);
    assert_int_equal(used, len);
    fake_forget_output(&client->fake);
    return len > 0;
}

static void exchange(struct client *client)
{
    bool has_moved = true;
    while (has_moved) {
        has_moved = speak(client);
        has_moved |= hear(client, 0);
    }
}

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), NGHTTP2_NV_FLAG_NONE};
}

/* `length`: as announced, or NULL. */
static int32_t post(struct client *client, const char *path, size_t bytes, const char *length)
{
    const nghttp2_nv fields[] = {nv(":method", "POST"), nv(":scheme", "https"),
                                 nv(":authority", "h"), nv(":path", path),
                                 nv("content-length", length == NULL ? "" : length)};
    nghttp2_data_provider provider = {.read_callback = read_upload};
    client->left = bytes;
    client->body_bytes = 0;
    client->is_ended = client->is_closed = false;
    int32_t id = nghttp2_submit_request(client->session, NULL, fields, length == NULL ? 4 : 5,
                                        &provider, NULL);
    assert_true(id > 0);
    exchange(client);
    return id;
}

static void assert_answered(struct client *client, const char *status, size_t bytes)
{
    assert_string_equal(client->status, status);
    assert_int_equal(client->body_bytes, bytes);
    assert_true(client->is_ended);
}

static void assert_closed(struct client *client)
{
    assert_true(client->is_closed);
    assert_int_equal(client->error_code, NGHTTP2_NO_ERROR);
}

static void reads_a_body_behind_its_answer(void **state)
{
    struct client *client = *state;
    (void)post(client, "/hold", LATE_MAX, NULL);
    assert_int_equal(client->left, LATE_MAX - WINDOW);
    fake_answer(&client->fake);
    exchange(client);
    assert_answered(client, "200", strlen("done"));
    assert_int_equal(client->left, 0);
    assert_closed(client);
    assert_int_equal(client->fake.body_bytes, WINDOW); /* its handler has no part in that */
    assert_int_equal(client->fake.gones, 0);
    assert_int_equal(client->fake.armed, FG_TIMEOUT_IDLE);
}

/* A client may read nothing behind the answer's end: it has leave for all of it by then. */
static void gives_leave_before_the_answers_end(void **state)
{
    struct client *client = *state;
    int32_t id = post(client, "/hold", LATE_MAX, NULL);
    fake_answer(&client->fake);
    fake_turn(&client->fake);
    (void)hear(client, FRAME_HEAD + strlen("done"));
    assert_false(client->is_ended);
    int32_t left = (int32_t)(LATE_MAX - WINDOW);
    assert_true(nghttp2_session_get_stream_remote_window_size(client->session, id) >= left);
    assert_true(nghttp2_session_get_remote_window_size(client->session) >= left);
}

static void reads_so_much_behind_an_answer_and_no_more(void **state)
{
    struct client *client = *state;
    (void)post(client, "/", 2 * LATE_MAX, NULL);
    assert_answered(client, "200", strlen("hello"));
    assert_closed(client);
    assert_true(client->left >= LATE_MAX - WINDOW);
    /* And has back what it gave of the connection's window: the next one is no worse off. */
    (void)post(client, "/hold", LATE_MAX, NULL);
    fake_answer(&client->fake);
    exchange(client);
    assert_int_equal(client->left, 0);
    assert_closed(client);
}

static void reads_for_so_long_behind_an_answer(void **state)
{
    struct client *client = *state;
    client->is_open_ended = true;
    (void)post(client, "/", 10, NULL);
    assert_answered(client, "200", strlen("hello"));
    assert_int_equal(client->fake.dones, 1); /* the request is over */
    assert_false(client->is_closed);
    client->fake.is_armed = false; /* as it was from the start; now it is not idle */
    exchange(client);
    assert_false(client->fake.is_armed);
    fg_timeouts_run(&client->fake.env.timeouts, fg_clock_monotonic_ns() + 6 * FG_S);
    exchange(client);
    assert_closed(client);
    assert_true(client->fake.is_armed && client->fake.armed == FG_TIMEOUT_IDLE);
}

static void reads_nothing_where_it_is_of_no_use(void **state)
{
    struct client *client = *state;
    client->is_open_ended = true;
    (void)post(client, "/not-there", 5000, NULL); /* an answer that says no */
    assert_answered(client, "404", 0);
    assert_closed(client);
    (void)post(client, "/", 5000, "600000"); /* one that is announced as longer */
    assert_answered(client, "200", strlen("hello"));
    assert_closed(client);
}

/* By the client, or with the connection. */
static void forgets_a_body_that_ends_otherwise(void **state)
{
    struct client *client = *state;
    client->is_open_ended = true;
    int32_t id = post(client, "/", 10, NULL);
    assert_false(client->is_closed);
    client->fake.is_armed = false;
    nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    exchange(client);
    assert_true(client->fake.is_armed && client->fake.armed == FG_TIMEOUT_IDLE);
    (void)post(client, "/", 10, NULL);
    assert_int_equal(client->fake.dones, 2);
    assert_false(client->is_closed);
}

static void takes_no_flood_of_small_pieces(void **state)
{
    struct client *client = *state;
    client->is_open_ended = true;
    int32_t id = post(client, "/", 5000, NULL);
    for (unsigned i = 0; i < 2000 && !client->fake.is_closing; i++) {
        client->left = 1;
        nghttp2_session_resume_data(client->session, id);
        (void)speak(client);
    }
    assert_true(client->fake.is_closing);
    assert_int_equal(fg_counter_get(&client->fake.stats.h2_floods), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_a_body_behind_its_answer),
        TEST(gives_leave_before_the_answers_end),
        TEST(reads_so_much_behind_an_answer_and_no_more),
        TEST(reads_for_so_long_behind_an_answer),
        TEST(reads_nothing_where_it_is_of_no_use),
        TEST(forgets_a_body_that_ends_otherwise),
        TEST(takes_no_flood_of_small_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
