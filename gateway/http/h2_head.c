/*
 * h2_head.c: heads of answers.
 * Job      choose the fields of a head that go to this client, keep them until there is room for
 *          their frame, and put it there, its fields by hpack.c.
 * Thread   the loop's.
 * Memory   fields lie in the request's arena, or, where that is full, in a block of the loop's; a
 *          head that is too large for one frame is made in another one, from which it goes out.
 * Never    puts a head that is dropped into the client's table of fields: it is coded only when it
 *          goes out.
 *
 *    say --> stream->said_first ... --put_head, in order--> out
 */
#include "http/h2_internal.h"

#include "http/fields.h"

#include <assert.h>

/* One that is larger has memory of its own. What produce is first given has room for one. */
#define SHORT_MAX ((size_t)4000)
#define LONG_FRAME FG_H2_FRAME_BYTES /* the first frames of a head that has several */

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

/* Memory for a head with so many fields: the request's, or, if that is used up, the loop's. */
static struct fg_said_head *make_said(struct fg_h2 *h2, struct fg_stream *stream,
                                      const struct fg_field *fields, size_t field_count,
                                      bool are_copied)
{
    struct fg_said_head *said;
    size_t bytes = sizeof(*said) + field_count * sizeof(*fields);
    for (size_t i = 0; are_copied && i < field_count; i++)
        bytes += fields[i].name.len + fields[i].value.len;
    said = fg_arena_try_alloc(stream->req.ex.arena, bytes);
    if (said != NULL) {
        *said = (struct fg_said_head){.block = NULL};
        return said;
    }
    said = fg_block_pool_alloc(&h2->codec.transport->env->blocks, bytes);
    if (said != NULL)
        *said = (struct fg_said_head){.block = said};
    return said;
}

static void free_said(struct fg_h2 *h2, struct fg_said_head *said)
{
    if (said->block != NULL)
        fg_block_pool_free(&h2->codec.transport->env->blocks, said->block);
}

static struct fg_span copy_text(char **to, struct fg_span text)
{
    struct fg_span copy = fg_span_make(*to, text.len);
    if (text.len > 0)
        memcpy(*to, text.data, text.len);
    *to += text.len;
    return copy;
}

static void copy_texts(struct fg_field *fields, size_t count, char *to)
{
    for (size_t i = 0; i < count; i++) {
        fields[i].name = copy_text(&to, fields[i].name);
        fields[i].value = copy_text(&to, fields[i].value);
    }
}

enum outcome { SAID, SAID_NOTHING, SAID_NO_MEMORY };

static enum outcome say(struct fg_h2 *h2, struct fg_stream *stream, unsigned status,
                        const struct fg_field *fields, size_t field_count, bool is_framed,
                        bool is_last)
{
    bool are_copied = !is_framed || !stream->req.has_lasting_fields;
    struct fg_said_head *said = make_said(h2, stream, fields, field_count, are_copied);
    if (said == NULL)
        return SAID_NO_MEMORY;
    struct fg_field *kept = (struct fg_field *)(said + 1);
    said->fields = kept;
    said->status = status;
    said->is_last = is_last;
    said->never = stream->req.ex.answer_never_indexed;
    choose_fields(stream, fields, field_count, is_framed, kept, said);
    if (are_copied)
        copy_texts(kept, said->count, (char *)(kept + field_count));
    if (status == 0 && said->count == 0) { /* trailers that say nothing */
        free_said(h2, said);
        return SAID_NOTHING;
    }
    struct fg_said_head **end = &stream->said_first;
    while (*end != NULL)
        end = &(*end)->next;
    *end = said;
    fg_h2_wires_set_due(&h2->wires, &stream->wire);
    return SAID;
}

bool fg_h2_say_interim(struct fg_h2 *h2, struct fg_stream *stream, unsigned status,
                       const struct fg_field *fields, size_t field_count)
{
    return say(h2, stream, status, fields, field_count, false, false) == SAID;
}

bool fg_h2_say_trailers(struct fg_h2 *h2, struct fg_stream *stream)
{
    size_t count = stream->response_trailer_count;
    stream->response_trailer_count = 0;
    enum outcome outcome = say(h2, stream, 0, stream->response_trailers, count, false, true);
    if (outcome == SAID_NO_MEMORY) /* without them it would look whole */
        fg_h2_reset(h2, stream, NGHTTP2_INTERNAL_ERROR);
    stream->has_said_trailers = outcome == SAID;
    return stream->has_said_trailers;
}

bool fg_h2_say_head(struct fg_h2 *h2, struct fg_stream *stream, unsigned status,
                    const struct fg_field *fields, size_t field_count, bool is_last)
{
    return say(h2, stream, status, fields, field_count, true, is_last) == SAID;
}

static void drop_first(struct fg_h2 *h2, struct fg_stream *stream)
{
    struct fg_said_head *said = stream->said_first;
    stream->said_first = said->next;
    free_said(h2, said);
}

void fg_h2_drop_heads(struct fg_h2 *h2, struct fg_stream *stream)
{
    while (stream->said_first != NULL)
        drop_first(h2, stream);
}

/*
 * The block is there behind room for the heads of all its frames: those of the first ones are put
 * before their parts, which move towards the beginning.
 */
static size_t cut_in_frames(uint8_t *to, const uint8_t *block, size_t len, uint8_t flags,
                            int32_t id)
{
    uint8_t *at = to;
    for (size_t from = 0; from == 0 || from < len; from += LONG_FRAME) {
        size_t part = len - from < LONG_FRAME ? len - from : LONG_FRAME;
        bool is_last = from + part == len;
        uint8_t type = from == 0 ? NGHTTP2_HEADERS : NGHTTP2_CONTINUATION;
        uint8_t end = is_last ? NGHTTP2_FLAG_END_HEADERS : 0;
        fg_h2_write_head(at, part, type, from == 0 ? flags | end : end, id);
        memmove(at + FG_H2_FRAME_HEAD, block + from, part);
        at += FG_H2_FRAME_HEAD + part;
    }
    return (size_t)(at - to);
}

/* By itself, where a buffer has no room for the largest that it may be. */
static bool put_long(struct fg_h2 *h2, int32_t id, const struct fg_said_head *said, uint8_t flags)
{
    size_t heads = (said->bytes / LONG_FRAME + 1) * FG_H2_FRAME_HEAD;
    uint8_t *data = fg_block_pool_alloc(&h2->codec.transport->env->blocks, heads + said->bytes);
    if (data == NULL)
        return false;
    size_t len = fg_hpack_write(&h2->hpack, said->status, said->fields, said->count, said->never,
                                data + heads);
    assert(h2->long_head.data == NULL);
    h2->long_head = (struct fg_h2_bytes){.data = data,
                                         .len = cut_in_frames(data, data + heads, len, flags, id)};
    return true;
}

static void put_short(struct fg_h2 *h2, int32_t id, const struct fg_said_head *said, uint8_t flags)
{
    uint8_t *frame = (uint8_t *)h2->to;
    size_t len = fg_hpack_write(&h2->hpack, said->status, said->fields, said->count, said->never,
                                frame + FG_H2_FRAME_HEAD);
    fg_h2_write_head(frame, len, NGHTTP2_HEADERS, flags | NGHTTP2_FLAG_END_HEADERS, id);
    h2->to += FG_H2_FRAME_HEAD + len;
    h2->room -= FG_H2_FRAME_HEAD + len;
}

enum fg_h2_put fg_h2_put_head(struct fg_h2 *h2, struct fg_stream *stream, bool *is_last)
{
    const struct fg_said_head *said = stream->said_first;
    uint8_t flags = said->is_last ? NGHTTP2_FLAG_END_STREAM : 0;
    if (said->bytes <= SHORT_MAX && said->bytes > h2->room)
        return FG_H2_PUT_NO_ROOM;
    if (said->bytes <= SHORT_MAX)
        put_short(h2, stream->wire.id, said, flags);
    else if (!put_long(h2, stream->wire.id, said, flags))
        return FG_H2_PUT_NO_MEMORY;
    *is_last = said->is_last;
    drop_first(h2, stream);
    return FG_H2_PUT_DONE;
}
