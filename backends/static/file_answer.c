/*
 * file_answer.c: the conditions are looked at in the order of RFC 9110 section 13.2.2.
 */
#include "file_answer.h"

#include "policies/cache/etag.h"
#include "policies/cache/http_date.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- names ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Returns the decoded length, or SIZE_MAX. */
static size_t decode(struct fg_span path, char *to)
{
    size_t len = 0;
    for (size_t i = 0; i < path.len; i++) {
        int c = (unsigned char)path.data[i];
        if (c == '%') {
            int high = path.len - i > 2 ? hex_value(path.data[i + 1]) : -1;
            int low = high >= 0 ? hex_value(path.data[i + 2]) : -1;
            if (low < 0)
                return SIZE_MAX;
            c = high * 16 + low;
            i += 2;
            if (c == '/')
                return SIZE_MAX;
        }
        if (c < 0x20 || c == 0x7f)
            return SIZE_MAX;
        to[len++] = (char)c;
    }
    return len;
}

enum fg_status fg_file_name_of(struct fg_arena *arena, struct fg_span path, const char *index,
                               struct fg_span *name)
{
    while (path.len > 0 && path.data[0] == '/')
        path = fg_span_make(path.data + 1, path.len - 1);
    size_t index_len = strlen(index);
    if (path.len > SIZE_MAX - index_len - 1)
        return FG_ERR_NO_MEMORY;
    char *text = fg_arena_try_alloc(arena, path.len + index_len + 1);
    if (text == NULL)
        return FG_ERR_NO_MEMORY;
    size_t len = decode(path, text);
    if (len == SIZE_MAX)
        return FG_ERR_NOT_FOUND;
    for (size_t i = 0; i < len; i++) {
        bool is_segment_start = i == 0 || text[i - 1] == '/';
        if (is_segment_start && (text[i] == '.' || text[i] == '/'))
            return FG_ERR_NOT_FOUND; /* hidden, "..", or an empty segment */
    }
    if (len == 0 || text[len - 1] == '/') {
        memcpy(text + len, index, index_len);
        len += index_len;
    }
    text[len] = '\0';
    *name = fg_span_make(text, len);
    return FG_OK;
}

struct fg_span fg_file_content_type(struct fg_span name)
{
    static const struct {
        struct fg_span extension;
        struct fg_span type;
    } types[] = {
        {FG_SPAN_LITERAL("html"), FG_SPAN_LITERAL("text/html; charset=utf-8")},
        {FG_SPAN_LITERAL("htm"), FG_SPAN_LITERAL("text/html; charset=utf-8")},
        {FG_SPAN_LITERAL("css"), FG_SPAN_LITERAL("text/css; charset=utf-8")},
        {FG_SPAN_LITERAL("js"), FG_SPAN_LITERAL("text/javascript; charset=utf-8")},
        {FG_SPAN_LITERAL("mjs"), FG_SPAN_LITERAL("text/javascript; charset=utf-8")},
        {FG_SPAN_LITERAL("json"), FG_SPAN_LITERAL("application/json")},
        {FG_SPAN_LITERAL("map"), FG_SPAN_LITERAL("application/json")},
        {FG_SPAN_LITERAL("webmanifest"), FG_SPAN_LITERAL("application/manifest+json")},
        {FG_SPAN_LITERAL("svg"), FG_SPAN_LITERAL("image/svg+xml; charset=utf-8")},
        {FG_SPAN_LITERAL("png"), FG_SPAN_LITERAL("image/png")},
        {FG_SPAN_LITERAL("jpg"), FG_SPAN_LITERAL("image/jpeg")},
        {FG_SPAN_LITERAL("jpeg"), FG_SPAN_LITERAL("image/jpeg")},
        {FG_SPAN_LITERAL("gif"), FG_SPAN_LITERAL("image/gif")},
        {FG_SPAN_LITERAL("webp"), FG_SPAN_LITERAL("image/webp")},
        {FG_SPAN_LITERAL("avif"), FG_SPAN_LITERAL("image/avif")},
        {FG_SPAN_LITERAL("ico"), FG_SPAN_LITERAL("image/x-icon")},
        {FG_SPAN_LITERAL("woff"), FG_SPAN_LITERAL("font/woff")},
        {FG_SPAN_LITERAL("woff2"), FG_SPAN_LITERAL("font/woff2")},
        {FG_SPAN_LITERAL("ttf"), FG_SPAN_LITERAL("font/ttf")},
        {FG_SPAN_LITERAL("otf"), FG_SPAN_LITERAL("font/otf")},
        {FG_SPAN_LITERAL("txt"), FG_SPAN_LITERAL("text/plain; charset=utf-8")},
        {FG_SPAN_LITERAL("md"), FG_SPAN_LITERAL("text/markdown; charset=utf-8")},
        {FG_SPAN_LITERAL("csv"), FG_SPAN_LITERAL("text/csv; charset=utf-8")},
        {FG_SPAN_LITERAL("xml"), FG_SPAN_LITERAL("application/xml")},
        {FG_SPAN_LITERAL("pdf"), FG_SPAN_LITERAL("application/pdf")},
        {FG_SPAN_LITERAL("wasm"), FG_SPAN_LITERAL("application/wasm")},
        {FG_SPAN_LITERAL("mp3"), FG_SPAN_LITERAL("audio/mpeg")},
        {FG_SPAN_LITERAL("mp4"), FG_SPAN_LITERAL("video/mp4")},
        {FG_SPAN_LITERAL("webm"), FG_SPAN_LITERAL("video/webm")},
        {FG_SPAN_LITERAL("zip"), FG_SPAN_LITERAL("application/zip")},
    };
    size_t dot = name.len;
    while (dot > 0 && name.data[dot - 1] != '.' && name.data[dot - 1] != '/')
        dot--;
    if (dot > 0 && name.data[dot - 1] == '.') {
        struct fg_span extension = fg_span_make(name.data + dot, name.len - dot);
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
            if (fg_span_equal_nocase(extension, types[i].extension))
                return types[i].type;
        }
    }
    return FG_SPAN("application/octet-stream");
}

struct fg_span fg_file_coding_suffix(enum fg_coding coding)
{
    static const struct fg_span suffixes[FG_CODING_COUNT] = {
        [FG_CODING_IDENTITY] = FG_SPAN_LITERAL(""),
        [FG_CODING_GZIP] = FG_SPAN_LITERAL(".gz"),
        [FG_CODING_ZSTD] = FG_SPAN_LITERAL(".zst"),
        [FG_CODING_BR] = FG_SPAN_LITERAL(".br"),
    };
    return suffixes[coding];
}

/* ---- conditions ---- */

struct validators {
    struct fg_span etag;
    struct fg_span last_modified;
    int64_t modified_s;
    int64_t now_s;
};

bool fg_file_is_conditional(const struct fg_exchange *ex)
{
    static const struct fg_span names[] = {
        FG_SPAN_LITERAL("if-none-match"), FG_SPAN_LITERAL("if-modified-since"),
        FG_SPAN_LITERAL("range"),         FG_SPAN_LITERAL("if-match"),
        FG_SPAN_LITERAL("if-range"),      FG_SPAN_LITERAL("if-unmodified-since"),
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (fg_exchange_field(ex, names[i]).data != NULL)
            return true;
    }
    return false;
}

static bool date_of(struct fg_span value, int64_t now_s, int64_t *date_s)
{
    return value.data != NULL && fg_http_date_parse(value.data, value.len, now_s, date_s);
}

typedef bool (*names_fn)(const char *list, size_t list_len, const char *etag, size_t etag_len);

/* Does one of the fields of that name, of which there is at least one, list the tag? */
static bool is_named(const struct fg_exchange *ex, struct fg_span name, names_fn names,
                     struct fg_span etag)
{
    for (size_t i = 0; i < ex->field_count; i++) {
        struct fg_span list = ex->fields[i].value;
        if (fg_span_equal(ex->fields[i].name, name) &&
            names(list.data, list.len, etag.data, etag.len))
            return true;
    }
    return false;
}

static unsigned decide_status(const struct fg_exchange *ex, const struct validators *own)
{
    int64_t since_s;
    static const struct fg_span if_match = FG_SPAN_LITERAL("if-match");
    static const struct fg_span if_none_match = FG_SPAN_LITERAL("if-none-match");
    if (fg_exchange_field(ex, if_match).data != NULL) {
        if (!is_named(ex, if_match, fg_etag_if_match, own->etag))
            return 412;
    } else if (date_of(fg_exchange_single_field(ex, FG_SPAN("if-unmodified-since")), own->now_s,
                       &since_s) &&
               own->modified_s > since_s) {
        return 412;
    }
    if (fg_exchange_field(ex, if_none_match).data != NULL) {
        if (is_named(ex, if_none_match, fg_etag_if_none_match, own->etag))
            return 304;
    } else if (date_of(fg_exchange_single_field(ex, FG_SPAN("if-modified-since")), own->now_s,
                       &since_s) &&
               own->modified_s <= since_s) {
        return 304;
    }
    return 200;
}

/* ---- ranges ---- */

/* If-Range: only when the client's copy is certainly of this file. */
static bool is_range_wanted(const struct fg_exchange *ex, const struct validators *own)
{
    static const struct fg_span name = FG_SPAN_LITERAL("if-range");
    if (fg_exchange_field(ex, name).data == NULL)
        return true;
    struct fg_span if_range = fg_exchange_single_field(ex, name);
    if (if_range.len > 0 && if_range.data[0] == '"')
        return fg_etag_equal_strong(if_range.data, if_range.len, own->etag.data, own->etag.len);
    int64_t date_s;
    /* A date is a strong validator only when the file has rested since. */
    return date_of(if_range, own->now_s, &date_s) && date_s == own->modified_s &&
           own->now_s > own->modified_s + 1;
}

/* ---- the answer ---- */

static void add(struct fg_file_answer *answer, struct fg_span name, struct fg_span value)
{
    answer->fields[answer->field_count++] = (struct fg_field){name, value};
}

static bool add_content_range(struct fg_file_answer *answer, struct fg_span text)
{
    add(answer, FG_SPAN("content-range"), text);
    return text.data != NULL;
}

/* Several: as parts, unless these are longer than the whole is. */
static bool apply_parts(const struct fg_exchange *ex, struct fg_span type, uint64_t now_ns,
                        const struct fg_byte_run *runs, size_t count, struct fg_file_answer *answer)
{
    const struct fg_byte_parts *parts =
        fg_byte_parts_make(ex, type, runs, count, answer->body_bytes, now_ns);
    if (parts == NULL)
        return false;
    if (parts->len >= answer->body_bytes)
        return true;
    answer->status = 206;
    answer->body_bytes = parts->len;
    answer->parts = parts;
    return true;
}

/* 206 or 416 in place of 200, with their field. */
static bool apply_range(struct fg_exchange *ex, const struct validators *own, struct fg_span type,
                        const struct fg_file_rules *rules, struct fg_file_answer *answer)
{
    struct fg_span range = fg_exchange_single_field(ex, FG_SPAN("range"));
    struct fg_byte_run runs[FG_BYTE_RANGES_MAX];
    uint64_t size = answer->body_bytes;
    size_t count = 0;
    if (ex->method != FG_METHOD_GET || range.data == NULL || !is_range_wanted(ex, own))
        return true;
    switch (fg_byte_ranges_parse(range.data, range.len, size, fg_byte_parts_gap(type),
                                 rules->ranges_max, runs, &count)) {
    case FG_BYTE_RANGE_IGNORED:
        return true;
    case FG_BYTE_RANGE_OUTSIDE:
        answer->status = 416;
        answer->body_bytes = 0;
        return add_content_range(answer, fg_arena_try_printf(ex->arena, "bytes */%" PRIu64, size));
    case FG_BYTE_RANGE_TAKEN:
        break;
    }
    if (count > 1)
        return apply_parts(ex, type, rules->now_ns, runs, count, answer);
    answer->status = 206;
    answer->first_byte = runs[0].first;
    answer->body_bytes = runs[0].last - runs[0].first + 1;
    return add_content_range(answer, fg_arena_try_printf(ex->arena,
                                                         "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
                                                         runs[0].first, runs[0].last, size));
}

/* Size and time, but not the inode: the same file on two machines has the same tag. Each coding has
 * its own (RFC 9110 section 8.8.3.3). */
static bool make_validators(struct fg_exchange *ex, const struct fg_file_facts *facts,
                            int64_t now_s, struct validators *own)
{
    char date[FG_HTTP_DATE_BYTES];
    fg_http_date_format(facts->modified_s, date);
    bool is_coded = facts->coding != FG_CODING_IDENTITY;
    own->etag =
        fg_arena_try_printf(ex->arena, "\"%" PRIx64 "-%" PRIx64 "%08" PRIx32 "%s%s\"",
                            facts->size_bytes, (uint64_t)facts->modified_s, facts->modified_ns,
                            is_coded ? "-" : "", is_coded ? fg_coding_name(facts->coding) : "");
    own->last_modified = fg_arena_try_copy(ex->arena, fg_span_from_string(date));
    own->modified_s = facts->modified_s;
    own->now_s = now_s;
    return own->etag.data != NULL && own->last_modified.data != NULL;
}

bool fg_file_answer_make(struct fg_exchange *ex, const struct fg_file_facts *facts,
                         struct fg_span name, const struct fg_file_rules *rules,
                         struct fg_file_answer *answer)
{
    struct validators own;
    struct fg_span type = fg_file_content_type(name);
    *answer = (struct fg_file_answer){0};
    if (!make_validators(ex, facts, rules->now_s, &own))
        return false;
    answer->status = decide_status(ex, &own);
    answer->body_bytes = answer->status == 200 ? facts->size_bytes : 0;
    if (answer->status == 200 && !apply_range(ex, &own, type, rules, answer))
        return false;
    if (answer->status == 412 || answer->status == 416) {
        add(answer, FG_SPAN("content-length"), FG_SPAN("0"));
        return true;
    }
    add(answer, FG_SPAN("etag"), own.etag);
    add(answer, FG_SPAN("last-modified"), own.last_modified);
    if (rules->cache_control.len > 0)
        add(answer, FG_SPAN("cache-control"), rules->cache_control);
    if (rules->varies)
        add(answer, FG_SPAN("vary"), FG_SPAN("accept-encoding"));
    if (answer->status == 304)
        return true;
    if (facts->coding != FG_CODING_IDENTITY)
        add(answer, FG_SPAN("content-encoding"),
            fg_span_from_string(fg_coding_name(facts->coding)));
    add(answer, FG_SPAN("content-type"),
        answer->parts != NULL ? answer->parts->content_type : type);
    add(answer, FG_SPAN("accept-ranges"), FG_SPAN("bytes"));
    add(answer, FG_SPAN("x-content-type-options"), FG_SPAN("nosniff"));
    struct fg_span length = fg_arena_try_u64(ex->arena, answer->body_bytes);
    add(answer, FG_SPAN("content-length"), length);
    return length.data != NULL;
}
