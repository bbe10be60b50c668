/*
 * h2_answer.c: what an HTTP/2 server says, told to the attempts whose streams it is about.
 * Job      read and check heads within their limits (backends/h2_check.h), pass bodies on, tell an
 *          end from an abort.
 * Thread   the owning event loop, below the session: streams are ended here, connections never.
 * Never    ends an answer without END_STREAM as if it were whole. Of what is in a block the session
 *          knows nothing: it gets empty ones, and is told to check no messages.
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
#define TEXT_ROOM ((size_t)2048) /* on the stack, for what Huffman's code says */

static bool add_field(struct fg_upstream_response *response, struct fg_field field)
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
    response->fields[response->field_count++] = field;
    return true;
}

/* Of a field that was read; one that everybody's table has needs no copy. False: no memory. */
static bool add_item(struct fg_upstream_response *response, const struct fg_hpack_item *item)
{
    struct fg_field field = {item->name, item->value};
    bool is_name_lasting = (item->static_index | item->static_name) != 0;
    size_t name_len = is_name_lasting ? 0 : item->name.len;
    size_t value_len = item->static_index != 0 ? 0 : item->value.len;
    if (name_len + value_len > 0) {
        char *text = fg_arena_try_alloc(response->arena, name_len + value_len);
        if (text == NULL)
            return false;
        if (name_len > 0)
            field.name.data = memcpy(text, item->name.data, name_len);
        if (value_len > 0)
            field.value.data = memcpy(text + name_len, item->value.data, value_len);
    }
    return add_field(response, field);
}

static const char *add_to_head(struct fg_proxy_attempt *attempt, enum fg_h2_kind kind,
                               const struct fg_hpack_item *item)
{
    struct fg_upstream_response *response = &attempt->response;
    if (kind == FG_H2_STATUS || fg_upstream_response_is_dropped(fg_h2_id_of_kind(kind)))
        return NULL;
    if (response->field_count == FIELDS_MAX)
        return "too many fields in the head";
    struct fg_hpack_item kept = *item;
    if (kind == FG_H2_CONTENT_LENGTH) {
        if (attempt->check.status < 200 || attempt->check.status == 204)
            return NULL; /* of nothing, which has none (RFC 9110 section 8.6) */
        if (!fg_field_parse_length(item->value, &response->content_length))
            return "a malformed content-length";
        kept.value = fg_field_plain_length(item->value);
    }
    return add_item(response, &kept) ? NULL : "no memory for the head of the answer";
}

/* NULL, or what is wrong with it. */
static const char *take_field(struct fg_proxy_attempt *attempt, const struct fg_hpack_item *item)
{
    struct fg_upstream_response *response = &attempt->response;
    bool is_trailer = attempt->head_ns > 0;
    response->head_bytes += item->name.len + item->value.len + FIELD_OVERHEAD;
    if (response->head_bytes > response->head_bytes_max)
        return "the head is larger than the limit";
    uint8_t note = fg_h2_note_of_item(item);
    if (!fg_h2_check_answer_field(&attempt->check, note, item->value, is_trailer))
        return "a field that may not stand there";
    if (item->is_never &&
        !fg_never_indexed_add(&response->never_indexed, response->arena, item->name))
        return "no memory for the head of the answer";
    if (!is_trailer)
        return add_to_head(attempt, fg_h2_kind_of_note(note), item);
    return fg_trailers_add(&response->trailers, response->arena, item->name, item->value) == FG_OK
               ? NULL
               : "a malformed or too large trailer section";
}

/*
 * One byte can name a field of 4 KiB again: what is far beyond any head ends the connection. Before
 * that all is read, for the table must stay in step.
 */
int fg_h2_answer_read(struct fg_h2 *h2, struct fg_proxy_attempt *attempt)
{
    uint64_t bytes = 0,
             bytes_max = FG_H2_BOMB_HEADS * h2->upstream->thread->proxy->conf.header_bytes_max;
    struct fg_h2_input *input = &h2->input;
    char room[TEXT_ROOM];
    struct fg_hpack_item item;
    enum fg_hpack_found found;
    input->is_unread = false;
    fg_hpack_reader_begin(&h2->reader, input->block.data, input->block.len, room, sizeof(room));
    while ((found = fg_hpack_reader_next(&h2->reader, &item)) == FG_HPACK_FIELD) {
        bytes += item.name.len + item.value.len;
        if (bytes > bytes_max)
            return NGHTTP2_ERR_FLOODED;
        const char *problem = attempt == NULL ? NULL : take_field(attempt, &item);
        if (problem == NULL)
            continue;
        fg_h2_lose_malformed(h2, attempt, problem);
        attempt = NULL; /* it may be another one by now */
    }
    if (found == FG_HPACK_NO_MEMORY)
        return NGHTTP2_ERR_NOMEM;
    input->has_bad_table = found == FG_HPACK_MALFORMED;
    if (input->has_bad_table)
        h2->is_draining = true;
    if (input->has_bad_table && attempt != NULL) /* nobody may take this for a head that is whole */
        fg_h2_lose_malformed(h2, attempt, "a header block that is none");
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct fg_proxy_attempt *attempt = fg_h2_attempt_of(session, frame->hd.stream_id);
    if (attempt != NULL) {
        attempt->has_response_bytes = true;
        if (attempt->head_ns == 0) {
            attempt->response.status = 0;
            attempt->response.field_count = 0;
            attempt->check = FG_H2_CHECK_INIT;
        }
    }
    return fg_h2_answer_read(user_data, attempt);
}

/* The answer is complete; what of the request was not sent has no reader (an early answer), nor has
 * what the server may still say. */
static void end_stream(struct fg_h2 *h2, struct fg_proxy_attempt *attempt, bool is_end)
{
    int32_t stream_id = attempt->stream_id;
    fg_h2_forget(h2, attempt);
    if (!is_end || nghttp2_session_get_stream_local_close(h2->session, stream_id) == 0)
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
    struct fg_span key = fg_exchange_field(attempt->request->ex, FG_SPAN("sec-websocket-key"));
    struct fg_span accept = fg_request_websocket_accept(response->arena, key);
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
           (accept.len == 0 ||
            add_field(response, (struct fg_field){FG_SPAN("sec-websocket-accept"), accept}));
}

static enum fg_h2_asked asked_of(const struct fg_proxy_attempt *attempt)
{
    if (attempt->request->is_upgrade)
        return FG_H2_ASKED_TUNNEL;
    return attempt->response.is_head_request ? FG_H2_ASKED_HEAD : FG_H2_ASKED_ALL;
}

/* False: the attempt is over. */
static bool take_head(struct fg_h2 *h2, struct fg_proxy_attempt *attempt, bool is_end)
{
    struct fg_upstream_response *response = &attempt->response;
    bool is_trailer = attempt->head_ns > 0;
    bool is_fine = is_trailer ? !attempt->request->is_tunnel && /* RFC 9113 section 8.5 */
                                    fg_h2_check_trailers(&attempt->check, is_end)
                              : fg_h2_check_answer_head(&attempt->check, is_end, asked_of(attempt));
    if (!is_fine) {
        fg_h2_lose_malformed(h2, attempt, "fields that do not make an answer");
        return false;
    }
    if (is_trailer)
        return true;
    response->status = attempt->check.status;
    if (response->status >= 200 && (is_end || response->status == 205)) { /* as in HTTP/1 */
        end_stream(h2, attempt, is_end);
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

/* Behind a head, and as long as it said (RFC 9113 section 8.1.1). False: the attempt is over. */
static bool keeps_length(struct fg_h2 *h2, struct fg_proxy_attempt *attempt, size_t len,
                         bool is_end)
{
    if (attempt->head_ns > 0 && fg_h2_check_content(&attempt->check, len) &&
        (!is_end || fg_h2_check_end(&attempt->check)))
        return true;
    fg_h2_lose_malformed(h2, attempt, "content without a head, or of another length");
    return false;
}

/* An answer that gets on has more time; empty DATA is no more than silence. */
static bool brings_content(const nghttp2_frame *frame)
{
    return frame->hd.type == NGHTTP2_HEADERS || frame->hd.length > frame->data.padlen;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct fg_h2 *h2 = user_data;
    bool is_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type != NGHTTP2_DATA || is_end)
        fg_h2_hand_on_gathered(h2);
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        h2->cut_id = frame->hd.stream_id;
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
    bool goes_on = frame->hd.type == NGHTTP2_HEADERS ? take_head(h2, attempt, is_end)
                                                     : keeps_length(h2, attempt, 0, is_end);
    if (!goes_on)
        return 0;
    if (!is_end) {
        if (brings_content(frame))
            fg_attempt_set_timeout(attempt);
        return 0;
    }
    end_stream(h2, attempt, true);
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
    struct fg_proxy_attempt *attempt = fg_h2_attempt_of(session, stream_id);
    if (attempt == NULL || len == 0 || !keeps_length(h2, attempt, len, false)) {
        nghttp2_session_consume_stream(session, stream_id, len);
        return 0;
    }
    fg_h2_watch_earn(h2, 1);
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
    if (stream_id != h2->cut_id && nghttp2_session_get_stream_remote_close(session, stream_id) == 0)
        fg_h2_watch_note_reset(h2, stream_id);
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
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
}
