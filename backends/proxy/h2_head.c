/*
 * h2_head.c: heads of requests and their trailers, in frames of ours among the session's.
 * Job      keep the fields until the session makes their frame, and put one with the same flags in
 *          that one's place, its fields by backends/hpack.c.
 * Thread   the owning event loop.
 * Memory   fields lie in the exchange's arena.
 * Never    lets the session touch the server's table of fields: that has one writer.
 *
 *    submit --> attempt->due_fields --note, when the session's frame is made--> h2->due --put-->
 *
 * The session is told the method alone, by which it judges the answer. Order, flow control and the
 * states of streams stay its business, and a head that it drops is never put into the table. If its
 * own frame ever went out, it would be no request.
 */
#include "h2_internal.h"

#include <assert.h>
#include <string.h>

#define FRAME_HEAD ((size_t)9)

static nghttp2_nv make_nv(const struct fg_field *field)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)field->name.data,
                        .value = (uint8_t *)(uintptr_t)field->value.data,
                        .namelen = field->name.len,
                        .valuelen = field->value.len,
                        .flags = NGHTTP2_NV_FLAG_NO_INDEX | NGHTTP2_NV_FLAG_NO_COPY_NAME |
                                 NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

static size_t bytes_of(const struct fg_field *fields, size_t count)
{
    size_t text_bytes = 0;
    for (size_t i = 0; i < count; i++)
        text_bytes += fields[i].name.len + fields[i].value.len;
    return FRAME_HEAD + fg_hpack_bound(count, text_bytes);
}

/*
 * What the session is told of fields: the first of them, where a frame of ours will take the place
 * of its own, or all, marked so that it remembers none. The number; 0: no memory.
 */
static size_t tell(struct fg_proxy_attempt *attempt, const struct fg_field *fields, size_t count,
                   nghttp2_nv **nva)
{
    bool is_ours = bytes_of(fields, count) <= FG_H2_HEAD_MAX;
    size_t told = is_ours ? 1 : count;
    *nva = fg_arena_try_alloc(attempt->request->ex->arena, told * sizeof(**nva));
    if (*nva == NULL)
        return 0;
    for (size_t i = 0; i < told; i++)
        (*nva)[i] = make_nv(&fields[i]);
    attempt->due_fields = is_ours ? fields : NULL;
    attempt->due_field_count = count;
    return told;
}

int32_t fg_h2_head_submit(struct fg_h2 *h2, struct fg_proxy_attempt *attempt,
                          const struct fg_field *fields, size_t count,
                          const nghttp2_data_provider *body)
{
    assert(count > 0 && fg_span_equal(fields[0].name, FG_SPAN(":method")));
    nghttp2_nv *nva = NULL;
    size_t told = tell(attempt, fields, count, &nva);
    return told == 0 ? NGHTTP2_ERR_NOMEM
                     : nghttp2_submit_request(h2->session, NULL, nva, told, body, attempt);
}

bool fg_h2_head_submit_trailers(struct fg_h2 *h2, struct fg_proxy_attempt *attempt)
{
    const struct fg_exchange *ex = attempt->request->ex;
    nghttp2_nv *nva = NULL;
    size_t told = ex->trailer_count == 0 ? 0 : tell(attempt, ex->trailers, ex->trailer_count, &nva);
    return told > 0 && nghttp2_submit_trailer(h2->session, attempt->stream_id, nva, told) == 0;
}

void fg_h2_head_note(struct fg_h2 *h2, struct fg_proxy_attempt *attempt)
{
    attempt->is_on_wire = true;
    if (attempt->due_fields != NULL)
        h2->due = attempt;
}

size_t fg_h2_head_put(struct fg_h2 *h2, const uint8_t *made, uint8_t *to)
{
    struct fg_proxy_attempt *attempt = h2->due;
    fg_hpack_prefetch(&h2->hpack);
    size_t len = fg_hpack_write(&h2->hpack, 0, attempt->due_fields, attempt->due_field_count,
                                attempt->request->ex->never_indexed, to + FRAME_HEAD);
    memcpy(to, made, FRAME_HEAD);
    for (unsigned i = 0; i < 3; i++)
        to[i] = (uint8_t)(len >> (16 - 8 * i));
    attempt->due_fields = NULL;
    h2->due = NULL;
    return FRAME_HEAD + len;
}
