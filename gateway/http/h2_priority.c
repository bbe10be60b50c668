/*
 * h2_priority.c: PRIORITY_UPDATE, read by ourselves.
 * Job      one for a stream that is open changes the order of answers; one for a stream to come is
 *          kept and applied when the stream opens, over what its Priority field says.
 *          More of these than may be open end the connection, as section 7.1 wants.
 * Thread   the loop's.
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
    if (h2->waiting_count + h2->wires.count >= h2->waiting_max)
        return false;
    h2->waiting[h2->waiting_count++] = (struct fg_h2_waiting){id, priority};
    return true;
}

static void prioritize_open(struct fg_h2 *h2, int32_t id, struct fg_priority_field priority)
{
    struct fg_h2_wire *wire = fg_h2_wires_find(&h2->wires, id);
    if (wire != NULL)
        fg_h2_wires_prioritize(&h2->wires, wire, priority);
}

void fg_h2_take_update(struct fg_h2 *h2, int32_t frame_stream_id, const uint8_t *payload,
                       size_t len, bool is_cut)
{
    struct fg_priority_field priority;
    int32_t id = len < ID_BYTES ? 0 : fg_h2_read_u31(payload);
    if (frame_stream_id == 0 && len < ID_BYTES) {
        fg_h2_fail(h2, NGHTTP2_FRAME_SIZE_ERROR, "a priority update of no stream");
        return;
    }
    if (frame_stream_id != 0 || id % 2 == 0) { /* none, or a push, of which there are none */
        fg_h2_fail(h2, NGHTTP2_PROTOCOL_ERROR, "a priority update that cannot be");
        return;
    }
    struct fg_span text = fg_span_make((const char *)payload + ID_BYTES, len - ID_BYTES);
    if (is_cut || !fg_priority_field_parse(text, &priority))
        return;
    if (id <= h2->newest_id)
        prioritize_open(h2, id, priority);
    else if (!keep_waiting(h2, id, priority))
        fg_h2_fail(h2, NGHTTP2_PROTOCOL_ERROR, "priorities of more streams than may be open");
}

void fg_h2_apply_priority(struct fg_h2 *h2, struct fg_stream *stream)
{
    bool is_updated = false;
    for (size_t i = 0; i < h2->waiting_count; i++) {
        if (h2->waiting[i].id == stream->wire.id) {
            fg_h2_wires_prioritize(&h2->wires, &stream->wire, h2->waiting[i].priority);
            is_updated = true;
        }
    }
    if (h2->waiting_count > 0)
        drop_passed(h2);
    if (!is_updated && stream->has_priority && !stream->has_bad_priority)
        fg_h2_wires_prioritize(&h2->wires, &stream->wire, stream->priority);
}
