/*
 * fake_client.c: nghttp2's own client before a codec in memory.
 */
#include "fake_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

struct answer *client_answer(struct client *client, int32_t id)
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
    struct answer *answer = client_answer(user_data, frame->hd.stream_id);
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
    struct answer *answer = client_answer(user_data, id);
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
        client_answer(client, frame->hd.stream_id)->is_ended = true;
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *user_data)
{
    (void)session;
    struct answer *answer = client_answer(user_data, id);
    answer->is_closed = true;
    answer->error_code = error_code;
    return 0;
}

struct client *client_open(const struct fg_limits_conf *limits, uint32_t window)
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
    return client;
}

void client_close(struct client *client)
{
    fake_close(&client->fake);
    nghttp2_session_del(client->session);
    free(client);
}

void client_exchange(struct client *client)
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

nghttp2_nv client_nv(const char *name, const char *value)
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

int32_t client_submit(struct client *client, const nghttp2_nv *fields, size_t count, bool has_body)
{
    nghttp2_data_provider provider = {.read_callback = read_upload};
    int32_t id = nghttp2_submit_request(client->session, NULL, fields, count,
                                        has_body ? &provider : NULL, NULL);
    assert_true(id > 0);
    return id;
}

int32_t client_get(struct client *client, const char *path)
{
    const nghttp2_nv fields[] = {client_nv(":method", "GET"), client_nv(":scheme", "https"),
                                 client_nv(":authority", "h"), client_nv(":path", path)};
    return client_submit(client, fields, 4, false);
}

int32_t client_post(struct client *client, const char *path, size_t bytes)
{
    const nghttp2_nv fields[] = {client_nv(":method", "POST"), client_nv(":scheme", "https"),
                                 client_nv(":authority", "h"), client_nv(":path", path)};
    client->upload_left = bytes;
    return client_submit(client, fields, 4, true);
}
