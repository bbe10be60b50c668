/*
 * h2_answer.c: what an HTTP/2 server says, told to the attempts whose streams it is about.
 * Job      take heads apart within their limits, pass bodies on, tell an end from an abort.
 * Thread   the owning event loop, below the session: streams are ended here, connections never.
 * Never    ends an answer without END_STREAM as if it were whole.
 * Source   RFC 9113 sections 8.1 (early and interim answers), 8.7 (what was not processed may go
 *          again); RFC 8441 (tunnels).
 */
#include "h2_internal.h"

#include "backends/hpack_settings.h"
#include "base/field_text.h"
#include "proxy/gather.h"
#include "proxy/request_head.h"

#include <assert.h>
#include <string.h>

#define FIELDS_FIRST ((size_t)16)
#define FIELDS_MAX ((size_t)256)
#define FIELD_OVERHEAD ((size_t)32) /* RFC 9113 section 6.5.2 */
#define INTERIM_MAX 16u

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct fg_proxy_attempt *attempt = fg_h2_attempt_of(session, frame->hd.stream_id);
    (void)user_data;
    if (attempt == NULL)
        return 0;
    attempt->has_response_bytes = true;
    if (attempt->head_ns == 0) {
        attempt->response.status = 0;
        attempt->response.field_count = 0;
    }
    return 0;
}

static bool add_field(struct fg_upstream_response *response, struct fg_span name,
                      struct fg_span value)
{
    if (response->field_count % FIELDS_FIRST == 0) {
        struct fg_field *fields = fg_arena_try_alloc(
            response->arena, (response->field_count + FIELDS_FIRST) * sizeof(*fields));
        if (fields == NULL)
            return false;
        if (response->field_count > 0)
            memcpy(fields, response->fields, response->field_count * sizeof(*fields));
        response->fields = fields;
    }
    struct fg_span name_copy = fg_arena_try_copy(response->arena, name);
    struct fg_span value_copy = fg_arena_try_copy(response->arena, value);
    if (name_copy.data == NULL || value_copy.data == NULL)
        return false;
    response->fields[response->field_count++] = (struct fg_field){name_copy, value_copy};
    return true;
}

/* Names and values are checked by the session (RFC 9113 section 8.2); limits are ours. */
static const char *take_field(struct fg_upstream_response *response, struct fg_span name,
                              struct fg_span value, bool is_trailer)
{
    response->head_bytes += name.len + value.len + FIELD_OVERHEAD;
    if (response->head_bytes > response->head_bytes_max)
        return "the head is larger than the limit";
    if (is_trailer) {
        enum fg_status status = fg_trailers_add(&response->trailers, response->arena, name, value);
        return status == FG_OK ? NULL : "a malformed or too large trailer section";
    }
    if (fg_span_equal(name, FG_SPAN(":status"))) {
        uint64_t status = 0;
        if (!fg_span_parse_u64(value, &status) || status < 100 || status > 599)
            return "a status outside 100 to 599";
        response->status = (unsigned)status;
        return NULL;
    }
    if (fg_upstream_response_is_dropped(name))
        return NULL;
    if (response->field_count == FIELDS_MAX)
        return "too many fields in the head";
    if (fg_span_equal(name, FG_SPAN("content-length")) &&
        !fg_field_parse_length(value, &response->content_length))
        return "a malformed content-length";
    return add_field(response, name, value) ? NULL : "no memory for the head of the answer";
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user_data)
{
    struct fg_h2 *h2 = user_data;
    struct fg_proxy_attempt *attempt = fg_h2_attempt_of(session, frame->hd.stream_id);
    if (attempt == NULL)
        return 0;
    struct fg_upstream_response *response = &attempt->response;
    struct fg_span field_name = fg_span_make((const char *)name, name_len);
    const char *problem = take_field(
        response, field_name, fg_span_make((const char *)value, value_len), attempt->head_ns > 0);
    if (problem == NULL && (flags & NGHTTP2_NV_FLAG_NO_INDEX) != 0 &&
        !fg_never_indexed_add(&response->never_indexed, response->arena, field_name))
        problem = "no memory for the head of the answer";
    if (problem == NULL)
        return 0;
    fg_counter_add_owned(&attempt->request->metrics->malformed, 1);
    fg_h2_lose(h2, attempt, FG_RETRY_RESET, problem);
    return 0;
}

/* The answer is complete; what of the request was not sent has no reader (an early answer). */
static void end_stream(struct fg_h2 *h2, struct fg_proxy_attempt *attempt)
{
    int32_t stream_id = attempt->stream_id;
    fg_h2_forget(h2, attempt);
    if (nghttp2_session_get_stream_local_close(h2->session, stream_id) == 0)
        fg_h2_reset_stream(h2, stream_id, NGHTTP2_CANCEL);
}

/*
 * The server has opened the tunnel (RFC 8441 section 5), which is 101 to the rest of us. A length
 * of it means nothing, and whoever asked in HTTP/1.1 is told the proof that the server was not
 * asked for.
 */
static bool open_tunnel(struct fg_proxy_attempt *attempt)
{
    struct fg_upstream_response *response = &attempt->response;
    struct fg_span accept = fg_request_websocket_accept(attempt->request->ex);
    size_t kept = 0;
    for (size_t i = 0; i < response->field_count; i++) {
        if (!fg_span_equal(response->fields[i].name, FG_SPAN("content-length")) &&
            !fg_span_equal(response->fields[i].name, FG_SPAN("sec-websocket-accept")))
            response->fields[kept++] = response->fields[i];
    }
    response->field_count = kept;
    response->content_length = -1;
    response->status = 101;
    return accept.data != NULL &&
           (accept.len == 0 || add_field(response, FG_SPAN("sec-websocket-accept"), accept));
}

/* False: the attempt is over. */
static bool take_head(struct fg_h2 *h2, struct fg_proxy_attempt *attempt, bool is_end)
{
    struct fg_upstream_response *response = &attempt->response;
    if (attempt->head_ns > 0)
        return true; /* trailers */
    if (response->status == 101 || response->status == 0) {
        fg_counter_add_owned(&attempt->request->metrics->malformed, 1);
        fg_h2_lose(h2, attempt, FG_RETRY_RESET, "no status, or one that HTTP/2 does not have");
        return false;
    }
    if (response->status >= 200 && is_end) {
        end_stream(h2, attempt);
        (void)fg_proxy_request_on_head(attempt, true);
        return false;
    }
    if (response->status / 100 == 2 && attempt->request->is_upgrade && !open_tunnel(attempt)) {
        fg_h2_lose(h2, attempt, FG_RETRY_RESET, "no memory for the head of the answer");
        return false;
    }
    if (response->status >= 200 || response->status == 101)
        return fg_proxy_request_on_head(attempt, false);
    if (++response->interim_count > INTERIM_MAX) {
        fg_h2_lose(h2, attempt, FG_RETRY_RESET, "too many interim answers");
        return false;
    }
    if (response->status != 100)
        fg_proxy_request_on_interim(attempt);
    return true;
}

static void hand_on(struct fg_h2 *h2, int32_t stream_id, struct fg_span data)
{
    struct fg_proxy_attempt *attempt = fg_h2_attempt_of(h2->session, stream_id);
    if (attempt != NULL)
        fg_proxy_request_on_data(attempt, data);
    if (attempt != NULL && attempt->request->is_paused)
        attempt->unconsumed += data.len;
    else
        nghttp2_session_consume_stream(h2->session, stream_id, data.len);
}

void fg_h2_hand_on_gathered(struct fg_h2 *h2)
{
    if (h2->gather->len > 0)
        hand_on(h2, h2->gather_id, fg_gather_take(h2->gather));
}

static void take_settings(struct fg_h2 *h2, const nghttp2_settings *settings)
{
    h2->has_settings = true;
    h2->upstream->endpoint->takes_no_tunnels = fg_h2_tunnels(h2) == FG_H2_TUNNELS_REFUSED;
    fg_hpack_take_settings(&h2->hpack, settings);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct fg_h2 *h2 = user_data;
    bool is_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type != NGHTTP2_DATA || is_end)
        fg_h2_hand_on_gathered(h2);
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        h2->is_draining = true;
        return 0;
    }
    if (frame->hd.type == NGHTTP2_SETTINGS && (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
        take_settings(h2, &frame->settings);
        return 0;
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct fg_proxy_attempt *attempt = fg_h2_attempt_of(session, frame->hd.stream_id);
    if (attempt == NULL)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && !take_head(h2, attempt, is_end))
        return 0;
    if (!is_end) {
        fg_attempt_set_timeout(attempt);
        return 0;
    }
    end_stream(h2, attempt);
    fg_proxy_request_on_end(attempt, true);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                   size_t len, void *user_data)
{
    struct fg_h2 *h2 = user_data;
    struct fg_span piece = fg_span_make((const char *)data, len);
    (void)flags;
    nghttp2_session_consume_connection(session, len);
    if (fg_h2_attempt_of(session, stream_id) == NULL || len == 0) {
        nghttp2_session_consume_stream(session, stream_id, len);
        return 0;
    }
    fg_counter_add_owned(&h2->upstream->thread->metrics->received_bytes, len);
    if (h2->gather_id != stream_id || fg_gather_is_full(h2->gather, piece))
        fg_h2_hand_on_gathered(h2);
    h2->gather_id = stream_id;
    if (!fg_gather_add(h2->gather, piece))
        hand_on(h2, stream_id, piece);
    return 0;
}

/*
 * That a server which is about to go, or one whose limit was not known yet, takes no more streams
 * says nothing about it. One that refuses others is no better than one that resets them.
 */
static enum fg_retry_cause cause_of_refusal(const struct fg_h2 *h2,
                                            const struct fg_proxy_attempt *attempt)
{
    return h2->is_draining || attempt->is_early ? FG_RETRY_UNHANDLED : FG_RETRY_REFUSED;
}

/* Streams that end in any other way than by END_STREAM, which on_frame_recv has seen. */
static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code,
                           void *user_data)
{
    struct fg_h2 *h2 = user_data;
    if (h2->gather != NULL)
        fg_h2_hand_on_gathered(h2);
    struct fg_proxy_attempt *attempt = fg_h2_attempt_of(session, stream_id);
    if (attempt == NULL)
        return 0;
    fg_h2_forget(h2, attempt);
    if (code == NGHTTP2_REFUSED_STREAM)
        fg_proxy_request_on_lost(attempt, cause_of_refusal(h2, attempt), FG_FAILURE_RESET,
                                 "the server refused the stream");
    else
        fg_proxy_request_on_lost(attempt, FG_RETRY_RESET, FG_FAILURE_RESET,
                                 "the server reset the stream before its answer was complete");
    return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
                            void *user_data)
{
    struct fg_h2 *h2 = user_data;
    (void)session;
    (void)frame;
    (void)error;
    fg_counter_add_owned(&h2->upstream->thread->metrics->malformed, 1);
    return 0;
}

void fg_h2_set_answer_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
}
