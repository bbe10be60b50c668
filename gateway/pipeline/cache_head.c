/*
 * cache_head.c: reading header fields for the cache.
 */
#include "cache_head.h"

#include "base/clock.h"
#include "cache_key.h"
#include "policies/cache/etag.h"
#include "policies/cache/http_date.h"
#include "policies/cache/vary.h"

#define FIELDS_MAX ((size_t)96)
#define NAMES_MAX ((size_t)1024) /* bytes of Vary, and of tags */

/* ---- requests ---- */

static enum fg_cache_method method_of(const struct fg_exchange *ex)
{
    switch (ex->method) {
    case FG_METHOD_GET:
        return FG_CACHE_METHOD_GET;
    case FG_METHOD_HEAD:
        return FG_CACHE_METHOD_HEAD;
    case FG_METHOD_OPTIONS:
    case FG_METHOD_TRACE:
        return FG_CACHE_METHOD_OTHER_SAFE;
    case FG_METHOD_POST:
    case FG_METHOD_PUT:
    case FG_METHOD_DELETE:
    case FG_METHOD_CONNECT:
    case FG_METHOD_PATCH:
    case FG_METHOD_OTHER:
        break;
    }
    return FG_CACHE_METHOD_UNSAFE;
}

struct fg_cache_request fg_cache_read_request(const struct fg_exchange *ex)
{
    /* A user known by other means than that field has answers of his own as well. */
    struct fg_cache_request request = {.method = method_of(ex),
                                       .has_authorization = ex->user_id.len > 0};
    fg_cache_control_init(&request.control);
    for (size_t i = 0; i < ex->field_count; i++) {
        struct fg_span name = ex->fields[i].name, value = ex->fields[i].value;
        if (fg_span_equal(name, FG_SPAN("cache-control"))) {
            fg_cache_control_parse(&request.control, value.data, value.len);
            request.has_cache_control = true;
        } else if (fg_span_equal(name, FG_SPAN("authorization"))) {
            request.has_authorization = true;
        } else if (fg_span_equal(name, FG_SPAN("cookie"))) {
            request.has_cookie = true;
        } else if (fg_span_equal(name, FG_SPAN("pragma"))) {
            struct fg_cache_control pragma; /* of the same form; only this one has a meaning */
            fg_cache_control_init(&pragma);
            fg_cache_control_parse(&pragma, value.data, value.len);
            request.has_pragma_no_cache |= pragma.no_cache;
        }
    }
    return request;
}

/* ---- responses ---- */

enum field {
    FIELD_OTHER,
    FIELD_CACHE_CONTROL,
    FIELD_CDN_CACHE_CONTROL,
    FIELD_DATE,
    FIELD_EXPIRES,
    FIELD_LAST_MODIFIED,
    FIELD_ETAG,
    FIELD_AGE,
    FIELD_SET_COOKIE,
    FIELD_VARY,
    FIELD_CONTENT_ENCODING,
    FIELD_CONTENT_LENGTH,
    FIELD_DIGEST,
    FIELD_CONTENT_TYPE,
    FIELD_ACCEPT_RANGES,
    FIELD_SURROGATE_KEY,
    FIELD_CACHE_TAG,
    FIELD_PROXY, /* about us, or the proxy behind us (RFC 9111 section 3.1) */
    FIELD_TRAILER,
};

static enum field identify(struct fg_span name)
{
    static const struct {
        struct fg_span name;
        enum field field;
    } known[] = {
        {FG_SPAN_LITERAL("cache-control"), FIELD_CACHE_CONTROL},
        {FG_SPAN_LITERAL("cdn-cache-control"), FIELD_CDN_CACHE_CONTROL},
        {FG_SPAN_LITERAL("date"), FIELD_DATE},
        {FG_SPAN_LITERAL("expires"), FIELD_EXPIRES},
        {FG_SPAN_LITERAL("last-modified"), FIELD_LAST_MODIFIED},
        {FG_SPAN_LITERAL("etag"), FIELD_ETAG},
        {FG_SPAN_LITERAL("age"), FIELD_AGE},
        {FG_SPAN_LITERAL("set-cookie"), FIELD_SET_COOKIE},
        {FG_SPAN_LITERAL("vary"), FIELD_VARY},
        {FG_SPAN_LITERAL("content-encoding"), FIELD_CONTENT_ENCODING},
        {FG_SPAN_LITERAL("content-length"), FIELD_CONTENT_LENGTH},
        {FG_SPAN_LITERAL("content-type"), FIELD_CONTENT_TYPE},
        {FG_SPAN_LITERAL("content-digest"), FIELD_DIGEST}, /* RFC 9530 */
        {FG_SPAN_LITERAL("repr-digest"), FIELD_DIGEST},
        {FG_SPAN_LITERAL("digest"), FIELD_DIGEST},
        {FG_SPAN_LITERAL("content-md5"), FIELD_DIGEST},
        {FG_SPAN_LITERAL("accept-ranges"), FIELD_ACCEPT_RANGES},
        {FG_SPAN_LITERAL("surrogate-key"), FIELD_SURROGATE_KEY},
        {FG_SPAN_LITERAL("cache-tag"), FIELD_CACHE_TAG},
        {FG_SPAN_LITERAL("proxy-authenticate"), FIELD_PROXY},
        {FG_SPAN_LITERAL("proxy-authentication-info"), FIELD_PROXY},
        {FG_SPAN_LITERAL("proxy-authorization"), FIELD_PROXY},
        {FG_SPAN_LITERAL("trailer"), FIELD_TRAILER},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (fg_span_equal(name, known[i].name))
            return known[i].field;
    }
    return FIELD_OTHER;
}

/* A growing text in the arena with a bound. */
struct list {
    char text[NAMES_MAX];
    size_t len;
    bool is_full;
};

static void add_name(struct list *list, struct fg_span name, char separator, bool is_lower)
{
    if (name.len == 0)
        return;
    if (name.len + 1 > sizeof(list->text) - list->len) {
        list->is_full = true;
        return;
    }
    if (list->len > 0)
        list->text[list->len++] = separator;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        list->text[list->len++] = is_lower && c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
}

/* What one pass over the fields finds. */
struct reading {
    struct fg_cache_draft *draft;
    int64_t wall_s;
    bool has_age;
    bool has_digest; /* of the bytes as they came */
    bool is_encoded; /* though we asked for the plain form: so for everybody */
    bool varies_by_encoding;
    bool is_text;  /* of a type that is worth compressing */
    bool is_small; /* too small for that, and says so */
    struct list vary;
    struct list tags;
    struct fg_cache_control targeted; /* CDN-Cache-Control */
    bool has_targeted;
    bool has_bad_targeted;
};

static void read_vary(struct reading *reading, struct fg_span value)
{
    const char *name;
    size_t at = 0, len;
    while (fg_vary_next(value.data, value.len, &at, &name, &len)) {
        struct fg_span one = fg_span_make(name, len);
        if (fg_span_equal(one, FG_SPAN("*")))
            reading->draft->response.has_vary_star = true;
        else if (fg_span_equal_nocase(one, FG_SPAN("accept-encoding")))
            reading->varies_by_encoding = true; /* we ask for the plain form and encode ourselves */
        else
            add_name(&reading->vary, one, ',', true);
    }
}

static void read_tags(struct reading *reading, struct fg_span value, char separator)
{
    while (value.data != NULL)
        add_name(&reading->tags, fg_span_trim(fg_span_split(&value, separator)), ' ', false);
}

static bool is_compressible(const struct fg_cache_conf *conf, struct fg_span type)
{
    for (size_t i = 0; i < conf->compress_type_count; i++) {
        struct fg_span prefix = fg_span_from_string(conf->compress_types[i]);
        if (type.len >= prefix.len &&
            fg_span_equal_nocase(fg_span_make(type.data, prefix.len), prefix))
            return true;
    }
    return false;
}

static bool is_below(struct fg_span length, uint64_t bytes_min)
{
    uint64_t bytes;
    return fg_span_parse_u64(length, &bytes) && bytes < bytes_min;
}

static void read_date(struct fg_span value, int64_t wall_s, bool *has, int64_t *to)
{
    *has = fg_http_date_parse(value.data, value.len, wall_s, to);
}

/* Too large to be held is as old as can be; what is no number counts for nothing. */
static void read_age(struct fg_span text, uint32_t *age_s)
{
    uint64_t age = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return;
        age = age * 10 + (uint64_t)(text.data[i] - '0');
        if (age > UINT32_MAX)
            age = UINT32_MAX;
    }
    *age_s = (uint32_t)age;
}

/* True: the field is kept as it is. */
static bool read_field(struct reading *reading, const struct fg_cache_conf *conf,
                       struct fg_span name, struct fg_span value)
{
    struct fg_cache_response *response = &reading->draft->response;
    switch (identify(name)) {
    case FIELD_CACHE_CONTROL:
        fg_cache_control_parse(&response->control, value.data, value.len);
        return true;
    case FIELD_CDN_CACHE_CONTROL:
        reading->has_targeted = true;
        if (!fg_cache_control_parse_targeted(&reading->targeted, value.data, value.len))
            reading->has_bad_targeted = true;
        return true;
    case FIELD_DATE:
        if (response->has_date)
            return false; /* the first that is one counts, and is passed on alone */
        read_date(value, reading->wall_s, &response->has_date, &response->date_s);
        return response->has_date;
    case FIELD_EXPIRES:
        /* Twice, or no date: long past (section 5.3). */
        if (response->has_expires ||
            !fg_http_date_parse(value.data, value.len, reading->wall_s, &response->expires_s))
            response->expires_s = 0;
        response->has_expires = true;
        return true;
    case FIELD_LAST_MODIFIED:
        read_date(value, reading->wall_s, &response->has_last_modified, &response->last_modified_s);
        return true;
    case FIELD_ETAG:
        response->has_etag = fg_etag_is_valid(value.data, value.len);
        return true; /* one that names nothing goes on as a field like any other */
    case FIELD_AGE:  /* the first value of the first line (section 5.1) */
        if (!reading->has_age)
            read_age(fg_span_trim(fg_span_split(&value, ',')), &response->age_s);
        reading->has_age = true;
        return false;
    case FIELD_SET_COOKIE:
        response->has_set_cookie = true;
        return true;
    case FIELD_VARY:
        read_vary(reading, value);
        return true;
    case FIELD_CONTENT_ENCODING:
        if (fg_span_equal_nocase(value, FG_SPAN("identity")))
            return false; /* none, said in a way that nobody should (RFC 9110 section 8.4.1) */
        reading->is_encoded = true;
        return true;
    case FIELD_DIGEST:
        reading->has_digest = true;
        return true;
    case FIELD_CONTENT_TYPE:
        reading->is_text = is_compressible(conf, value);
        return true;
    case FIELD_SURROGATE_KEY:
        read_tags(reading, value, ' ');
        return false;
    case FIELD_CACHE_TAG:
        read_tags(reading, value, ',');
        return false;
    case FIELD_CONTENT_LENGTH:
        reading->is_small = is_below(value, conf->compress_bytes_min);
        return false;
    case FIELD_ACCEPT_RANGES:
    case FIELD_PROXY:
    case FIELD_TRAILER: /* there are none in what is stored */
        return false;
    case FIELD_OTHER:
        break;
    }
    return true;
}

/* Date, Vary and Accept-Ranges where we have something to say. False without memory. */
static bool add_own_fields(struct reading *reading, const struct fg_exchange *ex,
                           struct fg_field *kept, size_t *count)
{
    struct fg_cache_draft *draft = reading->draft;
    if (!draft->response.has_date) { /* RFC 9110 section 6.6.1 */
        char date[FG_HTTP_DATE_BYTES];
        fg_http_date_format(reading->wall_s, date);
        kept[*count] = (struct fg_field){FG_SPAN("date"),
                                         fg_arena_try_copy(ex->arena, fg_span_from_string(date))};
        if (kept[(*count)++].value.data == NULL)
            return false;
        draft->response.has_date = true;
        draft->response.date_s = reading->wall_s;
    }
    /* The origin's own lines stay as they are: whoever is behind us may read them. */
    if (draft->is_compressible && !reading->varies_by_encoding)
        kept[(*count)++] = (struct fg_field){FG_SPAN("vary"), FG_SPAN("accept-encoding")};
    if (draft->status == 200)
        kept[(*count)++] = (struct fg_field){FG_SPAN("accept-ranges"), FG_SPAN("bytes")};
    return true;
}

static bool copy_lists(struct reading *reading, const struct fg_exchange *ex)
{
    struct fg_cache_draft *draft = reading->draft;
    char selects[FG_CACHE_SELECTS_MAX];
    if (reading->vary.is_full)
        return false;
    draft->vary = fg_arena_try_copy(ex->arena, fg_span_make(reading->vary.text, reading->vary.len));
    size_t len = fg_cache_key_selects(ex, draft->vary, selects);
    draft->is_too_odd = len == SIZE_MAX;
    if (draft->is_too_odd)
        return false;
    draft->selects = fg_arena_try_copy(ex->arena, fg_span_make(selects, len));
    draft->tags = fg_arena_try_copy(ex->arena, fg_span_make(reading->tags.text, reading->tags.len));
    return draft->vary.data != NULL && draft->selects.data != NULL && draft->tags.data != NULL;
}

/* What is said to caches like ours alone goes before what is said to all (RFC 9213 section 2.2).
 * Whether a response may be transformed is no matter of caching. */
static void choose_control(const struct reading *reading, const struct fg_cache_conf *conf)
{
    struct fg_cache_response *response = &reading->draft->response;
    if (!conf->obeys_cdn_cache_control || !reading->has_targeted || reading->has_bad_targeted)
        return;
    bool no_transform = response->control.no_transform;
    response->control = reading->targeted;
    response->control.no_transform |= no_transform;
    response->has_expires = false;
}

bool fg_cache_draft_make(struct fg_cache_draft *draft, const struct fg_exchange *ex,
                         const struct fg_cache_conf *conf, unsigned status,
                         const struct fg_field *fields, size_t field_count, int64_t wall_s)
{
    struct reading reading;
    reading.draft = draft;
    reading.wall_s = wall_s;
    reading.has_age = false;
    reading.has_digest = false;
    reading.is_encoded = false;
    reading.varies_by_encoding = false;
    reading.is_text = reading.is_small = false;
    reading.vary.len = reading.tags.len = 0;
    reading.vary.is_full = reading.tags.is_full = false;
    reading.has_targeted = reading.has_bad_targeted = false;
    fg_cache_control_init(&reading.targeted);
    *draft = (struct fg_cache_draft){.status = status};
    fg_cache_response_init(&draft->response);
    draft->response.status = status;
    struct fg_field *kept = fg_arena_try_alloc(ex->arena, (field_count + 3) * sizeof(*kept));
    if (kept == NULL)
        return false;
    size_t count = 0;
    for (size_t i = 0; i < field_count; i++) {
        if (read_field(&reading, conf, fields[i].name, fields[i].value))
            kept[count++] = fields[i];
    }
    choose_control(&reading, conf);
    draft->is_compressible = reading.is_text && !reading.is_small && !reading.is_encoded &&
                             !reading.has_digest && !draft->response.control.no_transform &&
                             conf->compress_codings != 0;
    bool is_fine = copy_lists(&reading, ex) && add_own_fields(&reading, ex, kept, &count);
    draft->fields = kept;
    draft->field_count = count;
    return is_fine && count <= FIELDS_MAX;
}

/* ---- 304 ---- */

static bool is_named_in(struct fg_span name, const struct fg_field *fields, size_t field_count)
{
    for (size_t i = 0; i < field_count; i++) {
        if (fg_span_equal(fields[i].name, name))
            return true;
    }
    return false;
}

/*
 * Does the validator name something else than what is stored (RFC 9111 section 4.3.4)? A tag that
 * fits outweighs a date: machines that serve the same often have it from different times. A date
 * alone that differs is of an older or newer form, even where the server takes it for unchanged:
 * most compare with "not later".
 */
static bool is_of_another(const struct fg_cache_object *stored, struct fg_span name,
                          struct fg_span value)
{
    if (stored->etag.data != NULL)
        return fg_span_equal(name, FG_SPAN("etag")) &&
               !fg_etag_equal_weak(value.data, value.len, stored->etag.data, stored->etag.len);
    return stored->last_modified.data != NULL && fg_span_equal(name, FG_SPAN("last-modified")) &&
           !fg_span_equal(value, stored->last_modified);
}

const struct fg_field *fg_cache_merge_304(const struct fg_exchange *ex,
                                          const struct fg_cache_object *stored,
                                          const struct fg_field *fields, size_t field_count,
                                          size_t *merged_count)
{
    size_t count = 0;
    struct fg_field *merged = fg_arena_try_alloc(
        ex->arena, (stored->head.field_count + field_count) * sizeof(*merged) + 1);
    if (merged == NULL)
        return NULL;
    for (size_t i = 0; i < field_count; i++) {
        struct fg_span name = fields[i].name, value = fields[i].value;
        if (is_of_another(stored, name, value))
            return NULL;
        if (!fg_cache_is_kept_by_304(name.data, name.len))
            merged[count++] = fields[i];
    }
    for (size_t i = 0; i < stored->head.field_count; i++) {
        struct fg_span name = stored->head.fields[i].name;
        bool is_replaced =
            !fg_cache_is_kept_by_304(name.data, name.len) &&
            (is_named_in(name, fields, field_count) || fg_span_equal(name, FG_SPAN("date")));
        if (!is_replaced)
            merged[count++] = stored->head.fields[i];
    }
    *merged_count = count;
    return merged;
}
