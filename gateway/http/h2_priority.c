/*
 * h2_priority.c: PRIORITY_UPDATE, read by ourselves.
 * Job      one for a stream that is open changes the order of answers; one for a stream to come is
 *          kept and applied when the stream opens, over what its Priority field says.
 *          More of these than may be open end the connection, as section 7.1 wants.
 * Thread   the loop's, inside nghttp2_session_mem_recv.
 * Never    lets the session see one: a stream that such a frame names before it opens stays in the
 *          library's list of idle ones (1.52) while it is open, may be dropped from there without
 *          a word, and is still linked there when its memory has been given back.
 * Memory   a block of limits.streams_per_connection_max entries from the first frame for a stream
 *          to come until the connection ends.
 * Source   RFC 9218 sections 7 and 7.1.
 */
#include "http/h2_internal.h"

#include "http/priority_field.h"

#include <stdlib.h>

#define ID_BYTES ((size_t)4)

struct fg_h2_waiting {
    int32_t id;
    struct fg_priority_field priority;
};

static int on_chunk(nghttp2_session *session, const nghttp2_frame_hd *hd, const uint8_t *data,
                    size_t len, void *user_data)
{
    (void)session;
    (void)hd;
    struct fg_h2_update *update = &((struct fg_h2 *)user_data)->update;
    size_t room = sizeof(update->text) - update->len;
    size_t part = len < room ? len : room;
    memcpy(update->text + update->len, data, part);
    update->len += part;
    update->is_cut |= part < len;
    return 0;
}

/* All of it is there: on_frame_recv comes next. */
static int on_unpack(nghttp2_session *session, void **payload, const nghttp2_frame_hd *hd,
                     void *user_data)
{
    (void)session;
    (void)hd;
    (void)user_data;
    *payload = NULL;
    return 0;
}

void fg_h2_set_priority_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_extension_chunk_recv_callback(callbacks, on_chunk);
    nghttp2_session_callbacks_set_unpack_extension_callback(callbacks, on_unpack);
}

static void prioritize(struct fg_h2 *h2, int32_t id, struct fg_priority_field priority)
{
    const nghttp2_extpri extpri = {.urgency = priority.urgency, .inc = priority.is_incremental};
    (void)nghttp2_session_change_extpri_stream_priority(h2->session, id, &extpri, 1);
}

/* Those that can open no more, since a later one has. */
static void drop_passed(struct fg_h2 *h2)
{
    size_t kept = 0;
    for (size_t i = 0; i < h2->waiting_count; i++) {
        if (h2->waiting[i].id > h2->newest_id)
            h2->waiting[kept++] = h2->waiting[i];
    }
    h2->waiting_count = kept;
}

static size_t count_streams(const struct fg_h2 *h2)
{
    size_t count = 0;
    for (const struct fg_list *it = h2->streams.next; it != &h2->streams; it = it->next)
        count++;
    return count;
}

/* False: more streams are prioritized and open than may be open at once. */
static bool keep_waiting(struct fg_h2 *h2, int32_t id, struct fg_priority_field priority)
{
    drop_passed(h2);
    for (size_t i = 0; i < h2->waiting_count; i++) {
        if (h2->waiting[i].id == id) {
            h2->waiting[i].priority = priority;
            return true;
        }
    }
    if (h2->waiting == NULL) {
        h2->waiting_max = h2->streams_max;
        h2->waiting = calloc(h2->waiting_max, sizeof(*h2->waiting));
        if (h2->waiting == NULL)
            return true; /* no memory for what is only a wish */
    }
    if (h2->waiting_count + count_streams(h2) >= h2->waiting_max)
        return false;
    h2->waiting[h2->waiting_count++] = (struct fg_h2_waiting){id, priority};
    return true;
}

static uint32_t take(struct fg_h2 *h2, const struct fg_h2_update *update, int32_t frame_stream_id)
{
    uint32_t id = 0;
    struct fg_priority_field priority;
    if (frame_stream_id != 0)
        return NGHTTP2_PROTOCOL_ERROR;
    if (update->len < ID_BYTES)
        return NGHTTP2_FRAME_SIZE_ERROR;
    for (size_t i = 0; i < ID_BYTES; i++)
        id = id << 8 | update->text[i];
    id &= 0x7fffffff;
    if (id % 2 == 0) /* none, or a push, of which there are none */
        return NGHTTP2_PROTOCOL_ERROR;
    struct fg_span text =
        fg_span_make((const char *)update->text + ID_BYTES, update->len - ID_BYTES);
    if (update->is_cut || !fg_priority_field_parse(text, &priority))
        return NGHTTP2_NO_ERROR;
    if ((int32_t)id > h2->newest_id)
        return keep_waiting(h2, (int32_t)id, priority) ? NGHTTP2_NO_ERROR : NGHTTP2_PROTOCOL_ERROR;
    prioritize(h2, (int32_t)id, priority);
    return NGHTTP2_NO_ERROR;
}

bool fg_h2_take_update(struct fg_h2 *h2, int32_t frame_stream_id)
{
    h2->failure_code = take(h2, &h2->update, frame_stream_id);
    h2->update.len = 0;
    h2->update.is_cut = false;
    return h2->failure_code == NGHTTP2_NO_ERROR;
}

void fg_h2_apply_priority(struct fg_h2 *h2, struct fg_stream *stream)
{
    bool is_updated = false;
    for (size_t i = 0; i < h2->waiting_count; i++) {
        if (h2->waiting[i].id == stream->id) {
            prioritize(h2, stream->id, h2->waiting[i].priority);
            is_updated = true;
        }
    }
    if (h2->waiting_count > 0)
        drop_passed(h2);
    if (!is_updated && stream->has_priority && !stream->has_bad_priority)
        prioritize(h2, stream->id, stream->priority);
}
