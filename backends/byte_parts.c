/*
 * byte_parts.c: see byte_parts.h.
 */
#include "backends/byte_parts.h"

#include <inttypes.h>

#define PART_BYTES 112u /* of a part's head, but for the type */

/* Nobody who can choose what is in an object can know it. */
static struct fg_span make_boundary(const struct fg_exchange *ex, uint64_t now_ns)
{
    uint64_t high = fg_span_hash(ex->request_id, now_ns);
    uint64_t low = fg_span_hash(ex->request_id, high ^ (uint64_t)(uintptr_t)ex);
    return fg_arena_try_printf(ex->arena, "%016" PRIx64 "%016" PRIx64, high, low);
}

uint64_t fg_byte_parts_gap(struct fg_span content_type)
{
    return PART_BYTES + content_type.len;
}

static struct fg_span make_head(struct fg_arena *arena, struct fg_span boundary,
                                struct fg_span content_type, const struct fg_byte_run *run,
                                uint64_t size)
{
    bool has_type = content_type.data != NULL;
    struct fg_span type = has_type ? content_type : FG_SPAN("");
    return fg_arena_try_printf(
        arena,
        "\r\n--%.*s\r\n%s%.*s%scontent-range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n\r\n",
        FG_SPAN_ARGS(boundary), has_type ? "content-type: " : "", FG_SPAN_ARGS(type),
        has_type ? "\r\n" : "", run->first, run->last, size);
}

const struct fg_byte_parts *fg_byte_parts_make(const struct fg_exchange *ex,
                                               struct fg_span content_type,
                                               const struct fg_byte_run *runs, size_t count,
                                               uint64_t size, uint64_t now_ns)
{
    struct fg_arena *arena = ex->arena;
    struct fg_byte_parts *parts = fg_arena_try_alloc(arena, sizeof(*parts));
    struct fg_byte_run *own_runs = fg_arena_try_alloc(arena, count * sizeof(*own_runs));
    struct fg_span *heads = fg_arena_try_alloc(arena, count * sizeof(*heads));
    struct fg_span boundary = make_boundary(ex, now_ns);
    if (parts == NULL || own_runs == NULL || heads == NULL || boundary.data == NULL)
        return NULL;
    *parts = (struct fg_byte_parts){
        .runs = own_runs,
        .heads = heads,
        .count = count,
        .tail = fg_arena_try_printf(arena, "\r\n--%.*s--\r\n", FG_SPAN_ARGS(boundary)),
        .content_type = fg_arena_try_printf(arena, "multipart/byteranges; boundary=%.*s",
                                            FG_SPAN_ARGS(boundary)),
    };
    if (parts->tail.data == NULL || parts->content_type.data == NULL)
        return NULL;
    memcpy(own_runs, runs, count * sizeof(*runs));
    parts->len = parts->tail.len;
    for (size_t i = 0; i < count; i++) {
        heads[i] = make_head(arena, boundary, content_type, &runs[i], size);
        if (heads[i].data == NULL)
            return NULL;
        parts->len += heads[i].len + (runs[i].last - runs[i].first + 1);
    }
    return parts;
}
