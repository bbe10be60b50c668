/*
 * cache_serve.c: conditions, ranges and codings of what the cache holds.
 * Job      decide between 200, 206, 304 and 416; choose a coding; send without copying.
 * Thread   the request's loop.
 * Source   RFC 9111 section 4.3.2; RFC 9110 sections 8.8.3 (a tag for each coding), 12.5.3, 13 and
 *          14. Ranges are of the plain form: a client that has part of a coding gets the whole. So
 *          does one that asks for several of what is still on its way.
 */
#include "cache_serve.h"

#include "backends/byte_parts.h"
#include "cache_compress.h"
#include "cache_unread.h"
#include "policies/cache/etag.h"
#include "policies/cache/http_date.h"

#include <inttypes.h>

#define OWN_FIELDS 6u
#define FIELDS_ON_STACK 48u
#define TAG_BYTES ((size_t)256)

/* What of the object to send. */
struct choice {
    unsigned status;
    enum fg_coding coding;
    uint64_t first;
    uint64_t len;
    bool is_length_known;
    struct fg_span content_range;
    const struct fg_byte_parts *parts; /* several ranges; NULL: one, or the whole */
};

/* ---- conditions ---- */

/* "v1" is "v1;gz" when encoded. */
static struct fg_span tag_of(const struct fg_cache_object *object, enum fg_coding coding,
                             char text[TAG_BYTES])
{
    struct fg_span etag = object->etag;
    if (etag.data == NULL || coding == FG_CODING_IDENTITY || etag.len + 4 > TAG_BYTES)
        return etag;
    memcpy(text, etag.data, etag.len - 1);
    memcpy(text + etag.len - 1, fg_etag_suffix(coding), FG_ETAG_SUFFIX_BYTES);
    text[etag.len + 2] = '"';
    return fg_span_make(text, etag.len + FG_ETAG_SUFFIX_BYTES);
}

/*
 * What the client takes of the codings that we make; false: nothing but the plain form, which is
 * also what it wants that asks for no-transform (RFC 9111 section 5.2.1.6).
 */
static bool read_accepted(const struct fg_flow *flow, const struct fg_cache_object *object,
                          struct fg_accept_encoding *accept)
{
    const struct fg_exchange *ex = &flow->req->ex;
    bool has_field = false;
    struct fg_cache_control asked;
    fg_cache_control_init(&asked);
    fg_accept_encoding_init(accept);
    for (size_t i = 0; object->head.is_compressible && i < ex->field_count; i++) {
        struct fg_span name = ex->fields[i].name, value = ex->fields[i].value;
        if (fg_span_equal(name, FG_SPAN("cache-control"))) {
            fg_cache_control_parse(&asked, value.data, value.len);
        } else if (fg_span_equal(name, FG_SPAN("accept-encoding"))) {
            fg_accept_encoding_parse(accept, value.data, value.len);
            has_field = true;
        }
    }
    return has_field && !asked.no_transform;
}

/*
 * The tag of any form that the client takes will do, made by now or not: it has what we have. The
 * tag of a form that it does not take would free one that it cannot use (RFC 9110 section 13.1.2).
 */
static bool is_named_in(const struct fg_flow *flow, struct fg_span list,
                        const struct fg_cache_object *object, enum fg_coding *coding)
{
    char text[TAG_BYTES];
    struct fg_accept_encoding accept;
    *coding = FG_CODING_IDENTITY;
    if (fg_etag_if_none_match(list.data, list.len, object->etag.data, object->etag.len))
        return true; /* without a tag only "*" is one for it */
    if (object->etag.data == NULL || !read_accepted(flow, object, &accept))
        return false;
    for (unsigned i = FG_CODING_IDENTITY + 1; i < FG_CODING_COUNT; i++) {
        struct fg_span tag = tag_of(object, (enum fg_coding)i, text);
        *coding = (enum fg_coding)i;
        if (accept.permille[i] > 0 && fg_etag_if_none_match(list.data, list.len, tag.data, tag.len))
            return true;
    }
    return false;
}

static bool parse_date(struct fg_span value, int64_t *date_s)
{
    return value.data != NULL &&
           fg_http_date_parse(value.data, value.len, (int64_t)(fg_clock_wall_ns() / FG_S), date_s);
}

/* True: the client has it, in that coding if it was named by its tag. */
static bool is_not_modified(const struct fg_flow *flow, const struct fg_cache_object *object,
                            enum fg_coding *coding)
{
    const struct fg_exchange *ex = &flow->req->ex;
    bool has_list = false;
    for (size_t i = 0; i < ex->field_count; i++) {
        if (!fg_span_equal(ex->fields[i].name, FG_SPAN("if-none-match")))
            continue;
        if (is_named_in(flow, ex->fields[i].value, object, coding))
            return true;
        has_list = true;
    }
    *coding = FG_CODING_IDENTITY;
    if (has_list)
        return false;
    int64_t since_s;
    const struct fg_cache_response *response = &object->head.response;
    if (!parse_date(fg_exchange_single_field(ex, FG_SPAN("if-modified-since")), &since_s))
        return false;
    /* Without Last-Modified, Date or the time it came stands in (RFC 9111 section 4.3.2). */
    if (response->has_last_modified)
        return response->last_modified_s <= since_s;
    return response->has_date && response->date_s <= since_s;
}

/* If-Range: only when what the client has is certainly of this (RFC 9110 section 13.1.5). */
static bool is_range_wanted(const struct fg_exchange *ex, const struct fg_cache_object *object)
{
    static const struct fg_span if_range = FG_SPAN_LITERAL("if-range");
    if (fg_exchange_field(ex, if_range).data == NULL)
        return true;
    struct fg_span value = fg_exchange_single_field(ex, if_range);
    if (value.len > 0 && (value.data[0] == '"' || value.data[0] == 'W'))
        return object->etag.data != NULL &&
               fg_etag_equal_strong(value.data, value.len, object->etag.data, object->etag.len);
    int64_t date_s;
    const struct fg_cache_response *response = &object->head.response;
    return response->has_last_modified && parse_date(value, &date_s) &&
           date_s == response->last_modified_s && response->has_date &&
           response->date_s > response->last_modified_s;
}

bool fg_cache_is_partial(const struct fg_exchange *ex)
{
    return fg_exchange_field(ex, FG_SPAN("range")).data != NULL ||
           fg_exchange_field(ex, FG_SPAN("if-none-match")).data != NULL ||
           fg_exchange_field(ex, FG_SPAN("if-modified-since")).data != NULL;
}

/* ---- what to send ---- */

static struct fg_span type_of(const struct fg_cache_object *object)
{
    for (size_t i = 0; i < object->head.field_count; i++) {
        if (fg_span_equal(object->head.fields[i].name, FG_SPAN("content-type")))
            return object->head.fields[i].value;
    }
    return (struct fg_span){NULL, 0};
}

/* Several: as parts, unless these are longer than the whole is. */
static void choose_parts(const struct fg_flow *flow, const struct fg_cache_object *object,
                         const struct fg_byte_run *runs, size_t count, struct choice *choice)
{
    const struct fg_byte_parts *parts = fg_byte_parts_make(
        &flow->req->ex, type_of(object), runs, count, choice->len, fg_flow_now_ns(flow));
    if (parts == NULL || parts->len >= choice->len)
        return;
    choice->status = 206;
    choice->len = parts->len;
    choice->parts = parts;
}

static void choose_range(const struct fg_flow *flow, const struct fg_cache_object *object,
                         struct fg_span range, bool may_have_parts, struct choice *choice)
{
    const struct fg_exchange *ex = &flow->req->ex;
    struct fg_byte_run runs[FG_BYTE_RANGES_MAX];
    uint64_t size = choice->len;
    size_t most = may_have_parts ? flow->thread->pipeline->config->cache.ranges_max : 1;
    size_t count = 0;
    if (ex->method != FG_METHOD_GET || !choice->is_length_known || !is_range_wanted(ex, object))
        return;
    switch (fg_byte_ranges_parse(range.data, range.len, size, fg_byte_parts_gap(type_of(object)),
                                 most, runs, &count)) {
    case FG_BYTE_RANGE_IGNORED:
        return;
    case FG_BYTE_RANGE_OUTSIDE:
        choice->status = 416;
        choice->len = 0;
        choice->content_range = fg_arena_try_printf(ex->arena, "bytes */%" PRIu64, size);
        return;
    case FG_BYTE_RANGE_TAKEN:
        break;
    }
    if (count > 1) {
        choose_parts(flow, object, runs, count, choice);
        return;
    }
    choice->status = 206;
    choice->first = runs[0].first;
    choice->len = runs[0].last - runs[0].first + 1;
    choice->content_range = fg_arena_try_printf(ex->arena, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
                                                runs[0].first, runs[0].last, size);
}

/* Of the codings that are made, the best; the best of all is asked for, once. */
static enum fg_coding choose_coding(const struct fg_flow *flow,
                                    const struct fg_cache_object *object)
{
    struct fg_accept_encoding accept;
    const struct fg_pipeline *pipeline = flow->thread->pipeline;
    const struct fg_cache_conf *conf = &pipeline->config->cache;
    if (fg_cache_body_span(object->body).len < conf->compress_bytes_min ||
        !read_accepted(flow, object, &accept))
        return FG_CODING_IDENTITY;
    unsigned wanted = conf->compress_codings & fg_cache_codings();
    unsigned made = 0;
    for (unsigned i = FG_CODING_IDENTITY + 1; i < FG_CODING_COUNT; i++) {
        if ((wanted & 1u << i) != 0 &&
            fg_cache_body_variant(object->body, (enum fg_coding)i) != NULL)
            made |= 1u << i;
    }
    enum fg_coding best = fg_accept_encoding_choose(&accept, wanted);
    if ((made & 1u << best) == 0 && best != FG_CODING_IDENTITY)
        fg_cache_compress(pipeline->cache, pipeline->helper, fg_loop_mailbox(flow->thread->loop),
                          object->body, best);
    return fg_accept_encoding_choose(&accept, made);
}

static struct choice choose(const struct fg_flow *flow, const struct fg_cache_object *object,
                            int64_t length, bool may_have_parts)
{
    const struct fg_exchange *ex = &flow->req->ex;
    struct choice choice = {.status = object->head.status,
                            .len = length < 0 ? UINT64_MAX : (uint64_t)length,
                            .is_length_known = length >= 0};
    if (choice.status != 200)
        return choice;
    if (is_not_modified(flow, object, &choice.coding)) {
        choice.status = 304;
        choice.len = 0;
        return choice;
    }
    struct fg_span range = fg_exchange_single_field(ex, FG_SPAN("range"));
    if (range.data != NULL)
        choose_range(flow, object, range, may_have_parts, &choice);
    return choice;
}

/* ---- the head ---- */

static struct fg_span age_text(const struct fg_flow *flow, const struct fg_cache_object *object)
{
    uint64_t age_ns = fg_cache_current_age_ns(object->head.initial_age_ns, object->head.stored_ns,
                                              fg_flow_now_ns(flow));
    char digits[24];
    size_t at = sizeof(digits);
    uint64_t age_s = age_ns / FG_S;
    do {
        digits[--at] = (char)('0' + age_s % 10);
        age_s /= 10;
    } while (age_s > 0);
    return fg_arena_try_copy(flow->req->ex.arena, fg_span_make(digits + at, sizeof(digits) - at));
}

/* Describes a body that is not sent (RFC 9110 section 15.4.5 wants the rest). */
static bool is_of_body(struct fg_span name)
{
    return fg_span_equal(name, FG_SPAN("content-type")) ||
           fg_span_equal(name, FG_SPAN("content-length")) ||
           fg_span_equal(name, FG_SPAN("content-language")) ||
           fg_span_equal(name, FG_SPAN("last-modified"));
}

/* Of the bytes that the origin sent in one piece, and of no part of them (RFC 9530 section 2). */
static bool is_of_all_bytes(struct fg_span name)
{
    return fg_span_equal(name, FG_SPAN("content-digest")) ||
           fg_span_equal(name, FG_SPAN("content-md5"));
}

static bool is_without_body(const struct choice *choice)
{
    return choice->status == 304 || choice->status == 416;
}

/*
 * How long the page is good says nothing of a 416, which is about the one range that was asked for:
 * with it, a cache in front of us that keeps answers by their URI would give it to everybody.
 */
static bool is_of_lifetime(struct fg_span name)
{
    return fg_span_equal(name, FG_SPAN("cache-control")) ||
           fg_span_equal(name, FG_SPAN("cdn-cache-control")) ||
           fg_span_equal(name, FG_SPAN("expires")) || fg_span_equal(name, FG_SPAN("pragma"));
}

/* Those of the object that belong to what is sent of it. */
static size_t put_stored(const struct fg_flow *flow, const struct fg_cache_object *object,
                         const struct choice *choice, struct fg_field *fields)
{
    char text[TAG_BYTES];
    size_t count = 0;
    bool is_bare = is_without_body(choice);
    for (size_t i = 0; i < object->head.field_count; i++) {
        const struct fg_field *field = &object->head.fields[i];
        if (is_bare && is_of_body(field->name) &&
            !(object->etag.data == NULL && fg_span_equal(field->name, FG_SPAN("last-modified"))))
            continue;
        if (choice->status != object->head.status && is_of_all_bytes(field->name))
            continue;
        if (choice->status == 416 && is_of_lifetime(field->name))
            continue;
        if (choice->parts != NULL && fg_span_equal(field->name, FG_SPAN("content-type")))
            continue; /* it stands in each part */
        fields[count] = *field;
        if (choice->coding != FG_CODING_IDENTITY && field->value.data == object->etag.data)
            fields[count].value =
                fg_arena_try_copy(flow->req->ex.arena, tag_of(object, choice->coding, text));
        count++;
    }
    return count;
}

/* As it was stored, by its head and body. */
static bool is_as_stored(const struct fg_cache_object *object, const struct choice *choice)
{
    return choice->status == object->head.status && choice->coding == FG_CODING_IDENTITY &&
           choice->parts == NULL && !is_without_body(choice);
}

static size_t put_fields(const struct fg_flow *flow, const struct fg_cache_object *object,
                         const struct choice *choice, struct fg_field *fields)
{
    size_t count = object->head.field_count;
    if (is_as_stored(object, choice))
        memcpy(fields, object->head.fields, count * sizeof(*fields));
    else
        count = put_stored(flow, object, choice, fields);
    /* What just came is no older than it says; for whom it was not fetched it is a stored one. */
    if (flow->cache_result != FG_CACHE_RESULT_MISS || object->head.response.age_s > 0)
        fields[count++] = (struct fg_field){FG_SPAN("age"), age_text(flow, object)};
    if (choice->status == 416)
        fields[count++] = (struct fg_field){FG_SPAN("cache-control"), FG_SPAN("no-store")};
    if (choice->content_range.data != NULL)
        fields[count++] = (struct fg_field){FG_SPAN("content-range"), choice->content_range};
    if (choice->parts != NULL)
        fields[count++] = (struct fg_field){FG_SPAN("content-type"), choice->parts->content_type};
    if (choice->coding != FG_CODING_IDENTITY && !is_without_body(choice))
        fields[count++] = (struct fg_field){FG_SPAN("content-encoding"),
                                            fg_span_from_string(fg_coding_name(choice->coding))};
    return count;
}

static struct fg_span length_text(const struct fg_flow *flow, const struct fg_cache_object *object,
                                  const struct choice *choice, bool is_whole)
{
    if (is_whole && choice->status == object->head.status && choice->coding == FG_CODING_IDENTITY)
        return object->length_text;
    return fg_arena_try_u64(flow->req->ex.arena, choice->len);
}

static void release_object(void *object)
{
    fg_cache_object_release(object);
}

bool fg_cache_hold(struct fg_flow *flow, struct fg_cache_lease *lease)
{
    if (!fg_arena_on_fini(flow->req->ex.arena, fg_cache_lease_release, lease))
        return false;
    flow->cache_held = lease->object;
    return true;
}

/* True: the object stays as long as the request, so that nothing of it need be copied. */
static bool keep(const struct fg_flow *flow, struct fg_cache_object *object)
{
    if (flow->cache_held == object)
        return true;
    if (!fg_arena_on_fini(flow->req->ex.arena, release_object, object))
        return false;
    fg_cache_object_acquire(object);
    return true;
}

/* False: it has ended, or was cut. */
static bool send_head(struct fg_flow *flow, struct fg_cache_object *object,
                      const struct choice *choice, bool is_whole)
{
    struct fg_field on_stack[FIELDS_ON_STACK];
    struct fg_field *fields = on_stack;
    struct fg_exchange *ex = &flow->req->ex;
    size_t room = object->head.field_count + OWN_FIELDS;
    fg_flow_set_state(flow, FG_FLOW_RESPONDING);
    if (room > FIELDS_ON_STACK) {
        fields = fg_arena_try_alloc(ex->arena, room * sizeof(*fields));
        if (fields == NULL) {
            fg_flow_cut(flow);
            return false;
        }
    }
    size_t count = put_fields(flow, object, choice, fields);
    if (choice->status != 304 && choice->is_length_known)
        fields[count++] = (struct fg_field){FG_SPAN("content-length"),
                                            length_text(flow, object, choice, is_whole)};
    flow->req->has_lasting_fields = keep(flow, object);
    bool is_end = choice->len == 0 || ex->method == FG_METHOD_HEAD;
    return fg_flow_send_head(flow, choice->status, fields, count, is_end) && !is_end;
}

/* ---- whole objects ---- */

/* A part is written without a copy unless it is small. */
static void send_parts(struct fg_flow *flow, const struct fg_byte_parts *parts,
                       struct fg_cache_body *body)
{
    const char *data = fg_cache_body_span(body).data;
    for (size_t i = 0; i < parts->count; i++) {
        size_t len = (size_t)(parts->runs[i].last - parts->runs[i].first + 1);
        (void)fg_response_write(flow->req, parts->heads[i].data, parts->heads[i].len);
        if (len < FG_FLOW_COPY_BYTES) {
            (void)fg_response_write(flow->req, data + parts->runs[i].first, len);
            continue;
        }
        fg_cache_body_acquire(body);
        (void)fg_response_write_shared(flow->req, data + parts->runs[i].first, len,
                                       fg_cache_body_release, body);
    }
    (void)fg_response_write(flow->req, parts->tail.data, parts->tail.len);
}

void fg_cache_serve(struct fg_flow *flow, struct fg_cache_object *object)
{
    struct fg_cache_body *body = object->body;
    struct choice choice = choose(flow, object, (int64_t)fg_cache_body_span(body).len, true);
    if (choice.status == object->head.status) {
        choice.coding = choose_coding(flow, object);
        body = fg_cache_body_variant(body, choice.coding);
        choice.len = fg_cache_body_span(body).len;
    }
    if (!send_head(flow, object, &choice, true))
        return;
    flow->cache_sent = flow->req->has_lasting_fields ? object : NULL;
    const char *data = fg_cache_body_span(body).data + choice.first;
    fg_counter_add_owned(&flow->thread->metrics->cache_bytes, choice.len);
    if (choice.parts != NULL) {
        send_parts(flow, choice.parts, body);
    } else if (choice.len < FG_FLOW_COPY_BYTES && flow->req->has_lasting_fields) {
        (void)fg_response_write_lasting(flow->req, data, (size_t)choice.len);
    } else {
        /* A variant lives as long as the body it is of; either may be what is held. */
        fg_cache_body_acquire(body);
        (void)fg_response_write_shared(flow->req, data, (size_t)choice.len, fg_cache_body_release,
                                       body);
    }
    if (choice.len >= FG_FLOW_COPY_BYTES)
        fg_cache_unread_add(flow);
    fg_flow_end_answer(flow);
}

/* ---- streams ---- */

static void leave(struct fg_flow *flow)
{
    fg_cache_reader_leave(flow->cache_reader);
    flow->cache_reader = NULL;
}

void fg_cache_serve_stream(struct fg_flow *flow, const struct fg_cache_news *news)
{
    struct choice choice = choose(flow, news->object, news->length, false);
    flow->cache_skip = choice.first;
    flow->cache_left = choice.len;
    if (!send_head(flow, news->object, &choice, false)) {
        leave(flow);
        return;
    }
    fg_cache_unread_add(flow);
    fg_cache_pump(flow);
}

/* Ends or cuts the answer when there is nothing more to come. */
static void stop(struct fg_flow *flow, bool is_complete)
{
    leave(flow);
    if (is_complete) {
        fg_flow_end_answer(flow);
        return;
    }
    flow->failed = FG_FAILED_RESET;
    fg_flow_cut(flow);
}

/* Without a copy: of thousands who read the same each would else have its buffers full. */
static void write_run(struct fg_flow *flow, const struct fg_cache_run *run)
{
    struct fg_span bytes = run->bytes;
    if (bytes.len < FG_FLOW_COPY_BYTES) {
        flow->cache_is_paused = !fg_response_write(flow->req, bytes.data, bytes.len);
    } else {
        fg_cache_body_acquire(run->body);
        flow->cache_is_paused = !fg_response_write_shared(flow->req, bytes.data, bytes.len,
                                                          fg_cache_body_release, run->body);
    }
    if (run->is_whole_body && flow->cache_shared == NULL) {
        fg_cache_body_acquire(run->body);
        flow->cache_shared = run->body;
    }
    fg_cache_reader_advance(flow->cache_reader, bytes.len);
    if (flow->cache_left != UINT64_MAX)
        flow->cache_left -= bytes.len;
}

void fg_cache_pump(struct fg_flow *flow)
{
    struct fg_cache_run run;
    while (!flow->cache_is_paused) {
        enum fg_cache_read result = fg_cache_reader_peek(flow->cache_reader, &run);
        if (result == FG_CACHE_READ_WAIT)
            return;
        if (result != FG_CACHE_READ_DATA) {
            bool is_complete = result == FG_CACHE_READ_END &&
                               (flow->cache_left == 0 || flow->cache_left == UINT64_MAX);
            stop(flow, is_complete);
            return;
        }
        if (flow->cache_skip > 0) {
            size_t len =
                flow->cache_skip < run.bytes.len ? (size_t)flow->cache_skip : run.bytes.len;
            flow->cache_skip -= len;
            fg_cache_reader_advance(flow->cache_reader, len);
            continue;
        }
        if (run.bytes.len > flow->cache_left)
            run.bytes.len = (size_t)flow->cache_left;
        write_run(flow, &run);
        if (flow->cache_left == 0) {
            stop(flow, true);
            return;
        }
    }
}
