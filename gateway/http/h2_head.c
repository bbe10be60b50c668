/*
 * h2_head.c: heads of answers, in frames of ours among the session's.
 * Job      keep what a head says until the session makes its frame, and put one with the same flags
 *          in that one's place, its fields by hpack.c.
 * Thread   the loop's.
 * Memory   fields lie in the request's arena, which goes behind the stream.
 * Never    lets the session touch the client's table of fields: that has one writer.
 *
 *    say --> stream->said_first ... <--note_head, in order-- the session's frame is made
 *                                        `--> h2->due --put_due--> out
 *
 * The session is given heads that say nothing. So the order of frames, flow control and the states
 * of streams stay its business, and a head that it drops is never put into the table.
 */
#include "http/h2_internal.h"

#include "http/fields.h"

#include <assert.h>

#define FIELDS_ON_STACK ((size_t)48)

static nghttp2_nv make_nv(struct fg_span name, struct fg_span value, uint8_t flags)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.data,
                        .value = (uint8_t *)(uintptr_t)value.data,
                        .namelen = name.len,
                        .valuelen = value.len,
                        .flags = flags};
}

/* One byte in the session's frame, and nothing in its table: ":status: 200" is in everybody's. */
static nghttp2_nv nothing(void)
{
    return make_nv(FG_SPAN(":status"), FG_SPAN("200"),
                   NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE);
}

/*
 * What goes to this client, framing left out; a length alone where there is a body to have it. What
 * values hold is looked at where they are written.
 */
static void choose_fields(struct fg_stream *stream, const struct fg_field *fields,
                          size_t field_count, bool is_framed, struct fg_field *chosen,
                          struct fg_said_head *said)
{
    size_t count = 0, text_bytes = 0;
    for (size_t i = 0; i < field_count; i++) {
        enum fg_field_id id = fg_field_may_be_framing(fields[i].name)
                                  ? fg_field_identify(fields[i].name)
                                  : FG_FIELD_OTHER;
        if (fg_field_is_hop_by_hop(id))
            continue;
        if (id == FG_FIELD_CONTENT_LENGTH) {
            int64_t length;
            if (!is_framed || stream->response_left != -1 ||
                !fg_field_parse_length(fields[i].value, &length))
                continue;
            stream->response_left = length;
        }
        text_bytes += fields[i].name.len + fields[i].value.len;
        chosen[count++] = fields[i];
    }
    said->count = count;
    said->bytes = FG_H2_FRAME_HEAD + fg_hpack_bound(count, text_bytes);
}

/* False: some are still the caller's. */
static bool copy_texts(struct fg_arena *arena, struct fg_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct fg_span name = fg_arena_try_copy(arena, fields[i].name);
        struct fg_span value = fg_arena_try_copy(arena, fields[i].value);
        if (name.data == NULL || value.data == NULL)
            return false;
        fields[i] = (struct fg_field){name, value};
    }
    return true;
}

static void push(struct fg_stream *stream, struct fg_said_head *said)
{
    struct fg_said_head **end = &stream->said_first;
    while (*end != NULL)
        end = &(*end)->next;
    said->next = NULL;
    *end = said;
}

/* NULL: no room, or too large for a frame of ours. */
static struct fg_said_head *make_unframed(struct fg_stream *stream, unsigned status,
                                          const struct fg_field *fields, size_t field_count)
{
    struct fg_arena *arena = stream->req.ex.arena;
    struct fg_said_head *said =
        fg_arena_try_alloc(arena, sizeof(*said) + field_count * sizeof(*fields));
    if (said == NULL)
        return NULL;
    struct fg_field *kept = (struct fg_field *)(said + 1);
    *said = (struct fg_said_head){
        .fields = kept, .status = status, .never = stream->req.ex.answer_never_indexed};
    choose_fields(stream, fields, field_count, false, kept, said);
    return said->bytes <= FG_H2_HEAD_MAX && copy_texts(arena, kept, said->count) ? said : NULL;
}

bool fg_h2_say_interim(struct fg_h2 *h2, struct fg_stream *stream, unsigned status,
                       const struct fg_field *fields, size_t field_count)
{
    const nghttp2_nv nv = nothing();
    struct fg_said_head *said = make_unframed(stream, status, fields, field_count);
    if (said == NULL ||
        nghttp2_submit_headers(h2->session, NGHTTP2_FLAG_NONE, stream->id, NULL, &nv, 1, NULL) != 0)
        return false;
    push(stream, said);
    return true;
}

bool fg_h2_say_trailers(struct fg_h2 *h2, struct fg_stream *stream)
{
    const nghttp2_nv nv = nothing();
    struct fg_said_head *said =
        make_unframed(stream, 0, stream->response_trailers, stream->response_trailer_count);
    stream->response_trailer_count = 0;
    if (said == NULL || said->count == 0 ||
        nghttp2_submit_trailer(h2->session, stream->id, &nv, 1) != 0)
        return false;
    push(stream, said);
    return true;
}

/*
 * The head by the session's own hand, for one that is too large for a frame of ours or that the
 * request's memory has no room for. Its fields are never remembered.
 */
static bool submit_copied(struct fg_h2 *h2, struct fg_stream *stream, unsigned status,
                          const struct fg_field *fields, size_t count,
                          const nghttp2_data_provider *body)
{
    nghttp2_nv on_stack[FIELDS_ON_STACK];
    nghttp2_nv *nva = on_stack;
    const char digits[3] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10),
                            (char)('0' + status % 10)};
    if (count >= FIELDS_ON_STACK) {
        nva = fg_arena_try_alloc(stream->req.ex.arena, (count + 1) * sizeof(*nva));
        if (nva == NULL)
            return false;
    }
    nva[0] = make_nv(FG_SPAN(":status"), fg_span_make(digits, 3), NGHTTP2_NV_FLAG_NO_INDEX);
    size_t used = 1;
    for (size_t i = 0; i < count; i++) {
        if (fg_field_value_is_valid(fields[i].value))
            nva[used++] = make_nv(fields[i].name, fields[i].value, NGHTTP2_NV_FLAG_NO_INDEX);
    }
    return nghttp2_submit_response(h2->session, stream->id, nva, used, body) == 0;
}

bool fg_h2_say_head(struct fg_h2 *h2, struct fg_stream *stream, unsigned status,
                    const struct fg_field *fields, size_t field_count,
                    const nghttp2_data_provider *body)
{
    struct fg_field on_stack[FIELDS_ON_STACK];
    struct fg_request *req = &stream->req;
    struct fg_field *kept = fg_arena_try_alloc(req->ex.arena, field_count * sizeof(*kept) + 1);
    struct fg_field *chosen = kept != NULL ? kept : on_stack;
    if (kept == NULL && field_count > FIELDS_ON_STACK)
        return false;
    struct fg_said_head *said = &stream->said;
    *said = (struct fg_said_head){.status = status, .never = req->ex.answer_never_indexed};
    choose_fields(stream, fields, field_count, true, chosen, said);
    if (stream->is_closed)
        return true;
    push(stream, said);
    bool is_ours = kept != NULL && said->bytes <= FG_H2_HEAD_MAX &&
                   (req->has_lasting_fields || copy_texts(req->ex.arena, kept, said->count));
    if (!is_ours)
        return submit_copied(h2, stream, status, chosen, said->count, body);
    const nghttp2_nv nv = nothing();
    said->fields = kept;
    return nghttp2_submit_response(h2->session, stream->id, &nv, 1, body) == 0;
}

void fg_h2_note_head(struct fg_h2 *h2, struct fg_stream *stream)
{
    const struct fg_said_head *said = stream->said_first;
    if (said == NULL)
        return;
    if (said->fields != NULL)
        h2->due = stream;
    else
        stream->said_first = said->next;
}

bool fg_h2_put_due(struct fg_h2 *h2)
{
    struct fg_stream *stream = h2->due;
    const struct fg_said_head *said = stream->said_first;
    uint8_t *frame = (uint8_t *)h2->to;
    if (h2->room < said->bytes)
        return false;
    size_t len = fg_hpack_write(&h2->hpack, said->status, said->fields, said->count, said->never,
                                frame + FG_H2_FRAME_HEAD);
    memcpy(frame, h2->due_frame, FG_H2_FRAME_HEAD);
    for (unsigned i = 0; i < 3; i++)
        frame[i] = (uint8_t)(len >> (16 - 8 * i));
    h2->to += FG_H2_FRAME_HEAD + len;
    h2->room -= FG_H2_FRAME_HEAD + len;
    stream->said_first = said->next;
    h2->due = NULL;
    return true;
}
